"""A judge that needs no model: it prefers the answer that meets more of the criteria.

The weighted shares s1 and s2 of the criteria that the two answers meet become a preference by the
logistic map

    p = 1 / (1 + exp(-(s2 - s1) / temperature)),    and p = 0.5 where |s2 - s1| <= tie_band

which is monotone in the difference, 0.5 for answers of equal quality, and maps swapped answers to
1 - p. At the defaults a quarter of the weight more gives 0.73, half of it 0.88. The criteria are
those of `judges.criteria`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from judges.base import Shown, Verdict
from judges.criteria import score
from judges.errors import UserError
from judges.schema import Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """Prefers the answer that meets more of the instruction's criteria."""

    VERSION: ClassVar[int] = 1
    sees_order: ClassVar[bool] = False

    name: str = "checklist"
    tie_band: float = 0.05
    """Differences of the shares up to this one are ties."""
    temperature: float = 0.25
    """The smaller, the nearer a small difference comes to a certain win."""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"judge {self.name}: temperature must lie above 0, not {self.temperature}"
            )
        if not 0 <= self.tie_band < 1:
            raise UserError(f"judge {self.name}: tie_band must lie in 0..1, not {self.tie_band}")

    def identity(self) -> Mapping[str, Any]:
        return {
            "kind": "checklist",
            "version": self.VERSION,
            "tie_band": self.tie_band,
            "temperature": self.temperature,
        }

    def obstacle(self, instruction: Instruction) -> str | None:
        return (
            None
            if instruction.checks
            else "it has no checks; give them in the column `checks`, or choose another judge"
        )

    def judge(self, shown: Sequence[Shown]) -> Iterator[Verdict]:
        for view in shown:
            checks = view.instruction.checks
            yield Verdict(self.preference(score(view.first, checks), score(view.second, checks)))

    def preference(self, share_1: float, share_2: float) -> float:
        """The probability that the second answer is better, from the two weighted shares."""
        difference = share_2 - share_1
        # The slack keeps a difference that equals the band but for rounding inside it.
        if abs(difference) <= self.tie_band + 1e-9:
            return 0.5
        # The logistic function, in a form that never overflows.
        return (1 + math.tanh(difference / self.temperature / 2)) / 2
