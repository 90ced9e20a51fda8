"""A synthetic annotator: prefers by a partial and noisy reading of the instruction's criteria.

What it thinks of an answer is the weighted share of the criteria that it sees met, where a kind of
criterion counts w(kind) times, and not at all if it does not look at that kind, and its tastes:

    U(y) = Σ w(kind) · weight · met / Σ weight  +  length · log2(1 + words)  +  lists · has a list

A criterion is misread at the rate `slip`. Of two answers the second is the better where

    (U(second) - U(first) - first) / temperature + e > ties,    e logistic

(Bradley–Terry noise), the first where it is below -ties, and else it is a tie. What it misreads and
e are drawn by a hash of its name and the texts: the same in every run, in both orders, and
independent of every other annotator. Only the taste for the first place knows the order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from judges.base import Shown, Verdict, stable_fraction
from judges.calling.caller import Caller, Task
from judges.criteria.checks import KINDS
from judges.criteria.share import Ask, is_question, parse
from judges.errors import UserError
from judges.reading import list_items, words
from judges.schema import Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Prefers 0, 0.5 or 1, by criteria that it half sees, tastes and chance."""

    VERSION: ClassVar[int] = 1
    reads_instruction: ClassVar[bool] = True

    name: str
    temperature: float
    """Of the noise, in units of U; 0 for none."""
    criteria: Mapping[str, float] = field(default_factory=dict)
    """Kind of criterion → its weight."""
    slip: float = 0.0
    """The rate at which a criterion is misread."""
    length: float = 0.0
    """What twice as many words are worth."""
    lists: float = 0.0
    """What a list is worth."""
    first: float = 0.0
    """What being shown first is worth."""
    ties: float = 0.0
    """Half the width of what counts as equal, in units of the noise."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.criteria) - set(KINDS)):
            raise UserError(
                f"judge {self.name}: no criterion is of the kind {unknown[0]!r}; known: "
                f"{', '.join(KINDS)}"
            )
        if not 0 <= self.slip <= 0.5:
            raise UserError(f"judge {self.name}: slip must lie in 0..0.5, not {self.slip}")
        if self.temperature < 0 or self.ties < 0:
            raise UserError(f"judge {self.name}: temperature and ties must not lie below 0")

    @property
    def sees_order(self) -> bool:
        return self.first != 0

    def identity(self) -> Mapping[str, Any]:
        return {
            "kind": "synthetic",
            "version": self.VERSION,
            "name": self.name,  # the draws hang on it
            "temperature": self.temperature,
            "criteria": dict(self.criteria),
            "slip": self.slip,
            "length": self.length,
            "lists": self.lists,
            "first": self.first,
            "ties": self.ties,
        }

    def obstacle(self, instruction: Instruction) -> str | None:
        if not instruction.checks:
            return "it has no checks; give them in the column `checks`"
        if any(is_question(criterion) for criterion in instruction.checks):
            return "it asks a question, which a synthetic annotator cannot answer"
        return None

    def judge(self, shown: Sequence[Shown], caller: Caller, task: Task) -> Iterator[Verdict]:
        for view in shown:
            of = view.instruction, view.first, view.second
            yield Verdict(self.verdict(self.lead(*of), self.noise(*of)))

    def verdict(self, lead: float, noise: float) -> float:
        """1 where the second answer is the better one, 0 where the first is, 0.5 for a tie."""
        if self.temperature == 0:
            return 0.5 if lead == 0 else float(lead > 0)
        x = lead / self.temperature + noise
        return 0.5 if abs(x) <= self.ties else float(x > 0)

    def lead(self, instruction: Instruction, first: str, second: str) -> float:
        """How much better it thinks the second answer, noise left out."""
        if first == second:
            return 0.0
        return self.utility(instruction, second) - self.utility(instruction, first) - self.first

    def noise(self, instruction: Instruction, first: str, second: str) -> float:
        """A logistic draw in favour of the second answer; exchanging the two turns its sign."""
        if first == second:
            return 0.0
        low, high = sorted((first, second))
        u = stable_fraction(0, self.name, "noise", instruction.text, low, high)
        u = min(max(u, 1e-12), 1 - 1e-12)
        e = math.log(u / (1 - u))
        return e if low == first else -e

    def utility(self, instruction: Instruction, answer: str) -> float:
        """What it thinks of an answer by itself; an empty one meets no criterion."""
        read = total = 0.0
        for number, criterion in enumerate(instruction.checks):
            check, weight = parse(criterion)
            assert not isinstance(check, Ask)  # see `obstacle`
            total += weight
            if own := self.criteria.get(str(criterion["kind"]), 0.0):
                is_met = bool(answer.strip()) and check.passes(answer)
                u = stable_fraction(number, self.name, "slip", instruction.text, answer)
                read += own * weight * (is_met != (u < self.slip))
        share = read / total if total else 0.0
        length = self.length * math.log2(1 + len(words(answer)))
        return share + length + self.lists * bool(list_items(answer))
