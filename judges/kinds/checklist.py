"""A judge that needs no model: it prefers the answer that meets more of the criteria.

How the weighted shares of the criteria that the two answers meet become a preference:
`judges.asking.scores`. The criteria are those of `judges.criteria.share`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from judges.asking import scores
from judges.asking.scores import check_map
from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.criteria.share import is_question, score
from judges.schema import Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """Prefers the answer that meets more of the instruction's criteria."""

    VERSION: ClassVar[int] = 1
    sees_order: ClassVar[bool] = False
    reads_instruction: ClassVar[bool] = True

    name: str = "checklist"
    tie_band: float = 0.05
    """Differences of the shares up to this one are ties."""
    temperature: float = 0.25
    """The smaller, the nearer a small difference comes to a certain win."""

    def __post_init__(self) -> None:
        check_map(self.name, spread=self.temperature, tie_band=self.tie_band, called="temperature")

    def identity(self) -> Mapping[str, Any]:
        return {
            "kind": "checklist",
            "version": self.VERSION,
            "tie_band": self.tie_band,
            "temperature": self.temperature,
        }

    def obstacle(self, instruction: Instruction) -> str | None:
        if not instruction.checks:
            return "it has no checks; give them in the column `checks`, or choose another judge"
        if any(is_question(criterion) for criterion in instruction.checks):
            return "it asks a question that only a reader can answer; use the kind checklist_llm"
        return None

    def judge(self, shown: Sequence[Shown], caller: Caller, task: Task) -> Iterator[Verdict]:
        for view in shown:
            checks = view.instruction.checks
            yield Verdict(self.preference(score(view.first, checks), score(view.second, checks)))

    def preference(self, share_1: float, share_2: float) -> float:
        """The probability that the second answer is better, from the two weighted shares."""
        return scores.preference(share_1, share_2, spread=self.temperature, tie_band=self.tie_band)
