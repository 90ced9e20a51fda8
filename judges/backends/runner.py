"""Runs requests through a model in this process, in batches that fit into its memory.

What runs them on servers is in `judges.backends.calls`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from judges.backends.base import Completion, LocalLLM, OutOfMemory, Reply, Request
from judges.errors import UserError


@dataclass(slots=True, eq=False)
class Call:
    """A request on its way, and in the end what came of it."""

    request: Request
    key: str = ""
    """The consumer's own name for it."""
    reply: Reply | None = None
    paid: list[Completion] = field(default_factory=list)
    """What is charged for: the reply, and before it those of no use and those that were late."""
    retries: int = 0
    failed: str = ""
    """Why it is made again."""
    most_tries: int = 1
    """How often it is made at most, as it fails now."""


def complete_batches(
    llm: LocalLLM, requests: Sequence[Request]
) -> Iterator[list[tuple[Request, Completion]]]:
    """The requests with their completions, in batches that fit into the model's memory.

    The longest prompts come first, so that a lack of memory shows at once and a batch holds
    prompts of similar length; the results come in that order. A batch that does not fit is tried
    again at half its size, which is then kept for the rest. Raises UserError when one prompt alone
    does not fit.
    """
    lengths = {id(request): llm.length(request) for request in requests}
    queue = sorted(requests, key=lambda request: -lengths[id(request)])
    size = max(1, llm.batch_size)
    while queue:
        batch = queue[:size]
        try:
            completions = llm.complete_batch(batch)
        except OutOfMemory:
            if len(batch) == 1:
                prompt = batch[0]
                raise UserError(
                    f"out of memory with a single prompt ({prompt.id!r}, {lengths[id(prompt)]} "
                    f"tokens, max_tokens {prompt.sampling.max_tokens}). Lower max_tokens, load the "
                    "model with dtype=bfloat16, or use a device with more memory"
                ) from None
            size = len(batch) // 2
            continue
        yield list(zip(batch, completions, strict=True))
        queue = queue[size:]
