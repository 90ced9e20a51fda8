"""What the kinds have in common that show a language model one answer at a time.

There is one request an answer, so that no order can matter and a reference's answer, once looked
at, comes out of the cache for every model. Its verdict becomes a score in [0, 1], and two scores a
preference: see `judges.asking.scores`. Two answers with the same text are a tie, and nobody is asked.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from judges.asking.llm_judge import LLMJudge, require_names
from judges.asking.scores import check_map, preference
from judges.asking.verdicts import Form, FormChoice
from judges.backends.base import Completion, Request
from judges.base import Shown, Verdict
from judges.schema import Instruction, Message

V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class AloneJudge(LLMJudge, Generic[V]):
    """Asks about each answer alone; a kind says what its verdicts are and what they are worth."""

    sees_order: ClassVar[bool] = False

    reasoning: bool = True
    """The model gives its reasons before its verdict."""
    form: FormChoice = "auto"
    """How the verdict is written; `auto`: as JSON wherever a schema can be demanded, else a line."""
    spread: float = 0.25
    """The smaller, the nearer a small difference of the scores comes to a certain win."""
    tie_band: float = 0.05
    """Differences of the scores, which lie in 0 to 1, up to this one are ties."""

    def __post_init__(self) -> None:
        check_map(self.name, spread=self.spread, tie_band=self.tie_band)
        require_names(self, "conversation", "answer", "form")

    @abstractmethod
    def verdict_form(self, instruction: Instruction) -> Form[V]:
        """How the reply about one answer must be written, and how it is read."""

    @abstractmethod
    def score(self, instruction: Instruction, verdict: V) -> float:
        """What the verdict is worth, in [0, 1]."""

    def _settings(self) -> Sequence[str]:
        return (*super()._settings(), "reasoning", "spread", "tie_band")

    def own(self, instruction: Instruction) -> Mapping[str, str]:
        """The kind's own texts in the prompt, by name."""
        return {"form": self.verdict_form(instruction).instructions()}

    def requests(self, shown: Shown) -> Sequence[Request]:
        if shown.first == shown.second:
            return []
        schema = self.verdict_form(shown.instruction).schema()
        return [
            Request(
                id="",
                messages=self._prompt(shown.instruction, answer)[0],
                sampling=self.sampling,
                schema=schema,
                extra=self.extra,
            )
            for answer in (shown.first, shown.second)
        ]

    def read(self, shown: Shown, completions: Sequence[Completion]) -> Verdict:
        if not completions:
            return Verdict(0.5)
        form = self.verdict_form(shown.instruction)
        scores = []
        for answer, completion in zip((shown.first, shown.second), completions, strict=True):
            reading = form.read(completion.text, self._prompt(shown.instruction, answer)[1])
            if reading.value is None:
                return Verdict(None, reading.error)
            scores.append(self.score(shown.instruction, reading.value))
        return Verdict(preference(*scores, spread=self.spread, tie_band=self.tie_band))

    def _prompt(self, instruction: Instruction, answer: str) -> tuple[tuple[Message, ...], str]:
        return self.prompt_about(instruction, {"answer": answer}, self.own(instruction))

    def identity(self) -> Mapping[str, Any]:
        return {**super().identity(), "form": self.form_digest}

    @property
    @abstractmethod
    def form_digest(self) -> str:
        """Changes with everything that the model is told about how to write its verdict."""
