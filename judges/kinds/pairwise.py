"""Asks a language model which of two answers is better: with reasons before the verdict, or without.

The preference is 1 where the second answer shown is better, 0 where the first is, 0.5 for a tie.
Two answers with the same text are a tie, and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from judges.asking.llm_judge import LLMJudge, require_names
from judges.asking.verdicts import Choice, Form, FormChoice, written_by
from judges.backends.base import Completion, Request
from judges.base import Shown, Verdict

_PREFERENCES = {"first": 0.0, "second": 1.0, "tie": 0.5}


@dataclass(frozen=True, kw_only=True)
class Pairwise(LLMJudge):
    """Prefers the answer that the model says is better."""

    KIND: ClassVar[str] = "pairwise"
    VERSION: ClassVar[int] = 2
    NAMES: ClassVar[frozenset[str]] = frozenset(
        {"conversation", "first", "second", "form", "gold", "criteria", "persona", "nonce"}
    )

    prompt: str = "pairwise"
    reasoning: bool = True
    """The model gives its reasons before its verdict."""
    ties: bool = True
    """The model may say that neither is better."""
    form: FormChoice = "auto"
    """How the verdict is written; `auto`: as JSON wherever a schema can be demanded, else a line."""

    def __post_init__(self) -> None:
        require_names(self, "conversation", "first", "second", "form")

    @cached_property
    def verdict_form(self) -> Form[str]:
        """How the reply must be written, and how it is read."""
        options = {"first": "the first answer is better", "second": "the second answer is better"}
        if self.ties:
            options["tie"] = "neither is better"
        return Form(written_by(self.spec, self.form), Choice(options), self.reasoning)

    def identity(self) -> Mapping[str, Any]:
        return {**super().identity(), "form": self.verdict_form.digest}

    def requests(self, shown: Shown) -> Sequence[Request]:
        if shown.first == shown.second:
            return []
        own = {"form": self.verdict_form.instructions()}
        messages, _ = self.prompt_about(shown.instruction, _answers(shown), own)
        return [
            Request(
                id="",
                messages=messages,
                sampling=self.sampling,
                schema=self.verdict_form.schema(),
                extra=self.extra,
            )
        ]

    def read(self, shown: Shown, completions: Sequence[Completion]) -> Verdict:
        if not completions:
            return Verdict(0.5)
        nonce = self.nonce_about(shown.instruction, _answers(shown))
        reading = self.verdict_form.read(completions[0].text, nonce)
        if reading.value is None:
            return Verdict(None, reading.error)
        return Verdict(_PREFERENCES[reading.value])


def _answers(shown: Shown) -> dict[str, str]:
    return {"first": shown.first, "second": shown.second}
