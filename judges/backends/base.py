"""What every language-model backend is given and gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from judges.errors import UserError
from judges.schema import Message

TOKENS_IF_UNLIMITED = 4096
"""So long is a reply taken to be at most where `max_tokens` is not set, in estimates of cost and
for budgets; Anthropic's API, which wants a limit, is given this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. None is not sent to a server; a model in this process then does as
    its own generation config says."""

    max_tokens: int | None = 1024
    temperature: float | None = 0.0
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One conversation to be continued. `id` is the caller's own name for it.

    In a message, text between quotation marks of `judges.prompting.quoting` is data of others; the rest is
    ours.
    """

    id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    schema: Mapping[str, Any] | None = None
    """A JSON schema that the reply must obey; what cannot promise that raises UserError."""
    top_logprobs: int = 0
    """How many of the likeliest tokens at the answer's first place come with log-probabilities."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters, as the provider names them: reasoning_effort, say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model wrote: the answer, and apart from it the thinking before the answer.

    `finish_reason` is `stop` where the model ended by itself, `length` where it ran into
    `max_tokens` or the end of its window, and `refused` where the provider kept the answer back.
    """

    text: str
    reasoning: str = ""
    finish_reason: str = "stop"
    input_tokens: int | None = None
    """Tokens of the prompt, those that the provider had cached among them."""
    output_tokens: int | None = None
    """Tokens written, thinking among them."""
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    logprobs: tuple[tuple[str, float], ...] | None = None
    """The likeliest tokens at the answer's first place with their natural log-probabilities."""
    served: str | None = None
    """The model's name as the server gives it."""
    seconds: float | None = None
    """How long the call took, without the calls before it that failed."""
    cost_usd: float | None = None
    """What the call cost when it was made; None where the price is not known."""


def credible(listed: Sequence[tuple[str, float]] | None) -> tuple[tuple[str, float], ...] | None:
    """Log-probabilities, or None where they cannot be any: one lies above 0, or together they make
    more than certainty.

    One token may stand there twice: tokens that differ by a space before them read alike from some
    servers. 1e-6 and a hundredth are for rounding.
    """
    if not listed or not all(logprob <= 1e-6 for _, logprob in listed):  # not so for NaN
        return None
    return tuple(listed) if sum(math.exp(logprob) for _, logprob in listed) <= 1.01 else None


def is_empty(completion: Completion) -> bool:
    """Whether a server that said all was well sent nothing at all. A model that ends its turn at
    once has written a token for it."""
    return not (
        completion.text
        or completion.reasoning
        or completion.output_tokens
        or completion.finish_reason != "stop"
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that brought no completion, and why, in few words that hold no text of others."""

    reason: str


Reply = Completion | Failure


class CallFailed(Exception):
    """One call to a server failed.

    `reason` is short and the same for the same fault: it stands in annotations. `retry` says
    whether the same call can succeed later, `after` the seconds that the server asks to wait;
    `slow_down` that the server has too much to do (429, 503, 529). `detail` is what the server
    said, for whoever looks for the cause: one printable line without the key. `paid` holds the
    tokens of a reply that is of no use and is charged for all the same.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry: bool,
        after: float | None = None,
        slow_down: bool = False,
        detail: str = "",
        paid: Completion | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry
        self.after = after
        self.slow_down = slow_down
        self.detail = detail
        self.paid = paid


class ParameterRefused(UserError):
    """A server does not take a parameter; `parameter` is its key in a panel file."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server tells of a model without being paid; None for what it does not tell."""

    served: str | None = None
    """The name under which the server lists the model."""
    context: int | None = None
    """Tokens that prompt and answer can have together; Anthropic's counts the prompt alone."""
    shutdown: str | None = None
    """When the model will be gone, as a date or a time of ISO 8601."""


class OutOfMemory(Exception):
    """A batch did not fit; the runner halves it and tries again."""


class LocalLLM(Protocol):
    """A model in this process, called with one batch at a time."""

    batch_size: int

    @property
    def settings(self) -> Mapping[str, str | None]:
        """What was chosen at loading, for people to read: chat template, system prompt, …"""
        ...

    def fingerprint(self) -> Mapping[str, str]:
        """Part (weights, adapter, tokenizer, template, …) → hash of all that shapes an answer."""
        ...

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt as the model sees it."""
        ...

    def length(self, request: Request) -> int:
        """Tokens of the prompt; batches are made of requests of similar length."""
        ...

    def complete_batch(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request, in the same order; raises OutOfMemory."""
        ...

    def close(self) -> None:
        """Free the memory; the model is not used afterwards."""
        ...


class RemoteLLM(Protocol):
    """A model behind a server, called many times at once from one event loop."""

    async def complete(self, request: Request) -> Completion:
        """One call, without retries. Raises CallFailed; UserError for what no retry can mend and
        the user can: a wrong key, an unknown model, a parameter that the server refuses."""
        ...

    async def describe(self) -> ServerFacts:
        """What the server tells of the model; raises as `complete` does."""
        ...

    async def close(self) -> None:
        """Close the connections; the model is not used afterwards."""
        ...


LLM = LocalLLM | RemoteLLM
