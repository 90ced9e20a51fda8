"""Asks a language model to score each answer alone, by a rubric on a scale of whole numbers.

A score becomes the place on the scale, 0 at its lowest and 1 at its highest number; how two of them
become a preference: `judges.asking.scores`. At the defaults a point of 1 to 10 is worth 0.61, two points
0.71 and five 0.90.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from judges.asking.alone import AloneJudge
from judges.asking.llm_judge import require_names
from judges.asking.verdicts import Form, Scale, written_by
from judges.errors import UserError
from judges.schema import Instruction

MAX_STEPS = 100
"""A finer scale than from 0 to this says more than anyone can mean."""


@dataclass(frozen=True, kw_only=True)
class Pointwise(AloneJudge[int]):
    """Prefers the answer to which the model gives the higher score."""

    KIND: ClassVar[str] = "pointwise"
    VERSION: ClassVar[int] = 2
    NAMES: ClassVar[frozenset[str]] = frozenset(
        {
            "conversation", "answer", "gold", "criteria", "rubric", "lowest", "highest", "form",
            "persona", "nonce",
        }
    )  # fmt: skip

    prompt: str = "pointwise"
    lowest: int = 1
    highest: int = 10
    rubric: str = ""
    """What earns which score, where it is not what the prompt says by itself."""

    def __post_init__(self) -> None:
        if not 1 <= self.highest - self.lowest <= MAX_STEPS:
            raise UserError(
                f"judge {self.name}: highest must lie above lowest, by {MAX_STEPS} at most; they "
                f"are {self.highest} and {self.lowest}"
            )
        super().__post_init__()
        if self.rubric.strip():
            require_names(self, "rubric")

    @cached_property
    def _form(self) -> Form[int]:
        scale = Scale(self.lowest, self.highest)
        return Form(written_by(self.spec, self.form), scale, self.reasoning)

    def verdict_form(self, instruction: Instruction) -> Form[int]:
        return self._form

    def score(self, instruction: Instruction, verdict: int) -> float:
        return (verdict - self.lowest) / (self.highest - self.lowest)

    @property
    def form_digest(self) -> str:
        return self._form.digest

    def own(self, instruction: Instruction) -> Mapping[str, str]:
        return {
            **super().own(instruction),
            "rubric": self.rubric,
            "lowest": str(self.lowest),
            "highest": str(self.highest),
        }

    def _settings(self) -> tuple[str, ...]:
        return (*super()._settings(), "rubric")
