"""Asks a language model for one label, and reads from its probabilities how sure it is.

With the probability of a label summed over all of the listed tokens that read as it,

    preference = P(second label) / (P(first label) + P(second label))

A server lists only the likeliest tokens: a label that is not among them counts as 0, whose true
probability is at most that of the last one listed. Without either label there is no verdict. What
the model goes on to write plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from judges.asking.llm_judge import LLMJudge, require_names
from judges.backends.base import Completion, Request, credible
from judges.base import Shown, Verdict
from judges.errors import UserError

NO_LOGPROBS = "no log-probabilities in the reply"
NO_LABEL = "neither label among the likeliest tokens"
_FORM = (
    "Reply with one label and nothing else: {first_label} if the first answer is better, "
    "{second_label} if the second answer is better."
)


@dataclass(frozen=True, kw_only=True)
class PairwiseLogprob(LLMJudge):
    """Prefers by the probabilities of two labels; the model must give them, and not reason first."""

    KIND: ClassVar[str] = "pairwise_logprob"
    VERSION: ClassVar[int] = 1
    NAMES: ClassVar[frozenset[str]] = frozenset(
        {"conversation", "first", "second", "form", "gold", "criteria", "persona", "nonce"}
    )

    prompt: str = "pairwise_logprob"
    max_tokens: int | None = 1
    first_label: str = "A"
    """What the model writes where the first answer is better: one token of its vocabulary."""
    second_label: str = "B"
    top_logprobs: int = 20
    """How many of the likeliest tokens are asked for, 5 to 20: more are sold nowhere."""

    def __post_init__(self) -> None:
        require_names(self, "conversation", "first", "second", "form")
        labels = (self.first_label, self.second_label)
        if self.first_label == self.second_label or any(
            not label or label != label.strip() for label in labels
        ):
            raise UserError(
                f"judge {self.name}: first_label and second_label must be two different texts "
                f"without white space around them, not {labels[0]!r} and {labels[1]!r}"
            )
        if not 5 <= self.top_logprobs <= 20:
            raise UserError(
                f"judge {self.name}: top_logprobs must lie in 5..20, not {self.top_logprobs}"
            )

    def identity(self) -> Mapping[str, Any]:
        return {**super().identity(), "form": _FORM}

    def _settings(self) -> Sequence[str]:
        return (*super()._settings(), "first_label", "second_label", "top_logprobs")

    def requests(self, shown: Shown) -> Sequence[Request]:
        if shown.first == shown.second:
            return []
        form = _FORM.format(first_label=self.first_label, second_label=self.second_label)
        messages, _ = self.prompt_about(
            shown.instruction, {"first": shown.first, "second": shown.second}, {"form": form}
        )
        return [
            Request(
                id="",
                messages=messages,
                sampling=self.sampling,
                top_logprobs=self.top_logprobs,
                extra=self.extra,
            )
        ]

    def read(self, shown: Shown, completions: Sequence[Completion]) -> Verdict:
        if not completions:
            return Verdict(0.5)
        listed = credible(completions[0].logprobs)
        if listed is None:
            return Verdict(None, NO_LOGPROBS)
        first, second = (
            sum(math.exp(logprob) for token, logprob in listed if token.strip() == label)
            for label in (self.first_label, self.second_label)
        )
        total = first + second
        if not total:
            return Verdict(None, NO_LABEL)
        return Verdict(second / total)

    def _may_be_cut(self) -> bool:
        return True
