"""Asks a language model which of the instruction's criteria each answer meets.

The criteria are those of `judges.criteria.share`, in words. An answer's score is the weighted share of
them that the model ticks; how two scores become a preference: `judges.asking.scores`. A reply that does
not tick or leave open every one of them has no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from judges.asking.alone import AloneJudge
from judges.asking.verdicts import Form, Ticks, written_by
from judges.criteria.share import parse
from judges.records import digest
from judges.schema import Instruction


@dataclass(frozen=True, kw_only=True)
class ChecklistLLM(AloneJudge[tuple[bool, ...]]):
    """Prefers the answer that, as the model sees it, meets more of the instruction's criteria."""

    KIND: ClassVar[str] = "checklist_llm"
    VERSION: ClassVar[int] = 2
    NAMES: ClassVar[frozenset[str]] = frozenset(
        {"conversation", "answer", "gold", "criteria", "form", "persona", "nonce"}
    )

    prompt: str = "checklist_llm"
    # There is nothing else to judge by: instructions without criteria are refused.
    show_criteria: bool = field(init=False, default=True, repr=False)

    def verdict_form(self, instruction: Instruction) -> Form[tuple[bool, ...]]:
        return self._form(len(instruction.checks))

    def score(self, instruction: Instruction, verdict: tuple[bool, ...]) -> float:
        weights = [parse(criterion)[1] for criterion in instruction.checks]
        met = sum(weight for weight, tick in zip(weights, verdict, strict=True) if tick)
        return met / sum(weights)

    @property
    def form_digest(self) -> str:
        # One criterion is asked for in words of its own; for two and more they are the same.
        return digest([self._form(count).digest for count in (1, 2)])

    def _form(self, count: int) -> Form[tuple[bool, ...]]:
        return Form(written_by(self.spec, self.form), Ticks(count), self.reasoning)
