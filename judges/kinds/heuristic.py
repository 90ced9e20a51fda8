"""Judges that look at nothing but the surface: the longest, the shortest, a random answer.

They are floors to measure other judges against, and a board judged by one must fail its controls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from judges.base import Shown, Verdict, stable_fraction
from judges.calling.caller import Caller, Task
from judges.schema import Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Heuristic:
    """Prefers the longer, the shorter (in characters) or a random answer."""

    VERSION: ClassVar[int] = 1
    sees_order: ClassVar[bool] = False
    reads_instruction: ClassVar[bool] = False

    name: str = ""
    rule: Literal["longest", "shortest", "random"]

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"heuristic/{self.rule}")

    def identity(self) -> Mapping[str, Any]:
        return {"kind": "heuristic", "version": self.VERSION, "rule": self.rule}

    def obstacle(self, instruction: Instruction) -> str | None:
        return None

    def judge(self, shown: Sequence[Shown], caller: Caller, task: Task) -> Iterator[Verdict]:
        for view in shown:
            if self.rule == "random":
                # By content: the same pair of answers gets the same verdict in every run.
                u = stable_fraction(0, view.instruction.text, view.first, view.second)
                v = stable_fraction(0, view.instruction.text, view.second, view.first)
                yield Verdict(0.5 if u == v else float(v > u))
                continue
            excess = len(view.second) - len(view.first)
            if self.rule == "shortest":
                excess = -excess
            yield Verdict(0.5 if excess == 0 else float(excess > 0))
