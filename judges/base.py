"""What a judge is, and the only loop that shows comparisons to one.

order → show → judge → take the order back: `annotate` decides which answer is shown first, hands
the judge what it may see, and turns its verdict ("the second one shown is better with probability
p") into a preference for output 2. Judges never see or undo an order themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from judges.backends.base import Completion
from judges.calling.caller import Caller, Task
from judges.records import digest
from judges.schema import Annotation, Comparison, Instruction, Order

Orders = Literal["both", "random", "fixed"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A comparison as it is put before a judge."""

    comparison: Comparison
    order: Order

    @property
    def instruction(self) -> Instruction:
        return self.comparison.instruction

    @property
    def first(self) -> str:
        swapped = self.order == "swapped"
        return self.comparison.output_2 if swapped else self.comparison.output_1

    @property
    def second(self) -> str:
        swapped = self.order == "swapped"
        return self.comparison.output_1 if swapped else self.comparison.output_2


@dataclass(frozen=True, slots=True)
class Verdict:
    """The probability that the second answer shown is better, or None and the reason why not."""

    preference: float | None
    error: str | None = None
    calls: tuple[Completion, ...] = ()
    """What a language model was asked for it and replied."""

    @property
    def cost_usd(self) -> float | None:
        """What the calls cost; None where one of them has no known price, or there was none."""
        costs = [call.cost_usd for call in self.calls]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known and len(known) == len(costs) else None


class Judge(Protocol):
    """Anything that prefers one of two answers: a program, a model, a file of human labels."""

    @property
    def name(self) -> str:
        """The annotator's name in every annotation."""
        ...

    @property
    def sees_order(self) -> bool:
        """False for a judge to which the order cannot matter: it is asked once."""
        ...

    @property
    def reads_instruction(self) -> bool:
        """False for a judge whose verdict follows from the answers alone."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """All that changes a verdict: kind, version, prompt, model, …; hashed into the board."""
        ...

    def obstacle(self, instruction: Instruction) -> str | None:
        """Why this judge cannot judge answers to this instruction, or None."""
        ...

    def judge(self, shown: Sequence[Shown], caller: Caller, task: Task) -> Iterable[Verdict]:
        """One verdict for each of what is shown, in the same order.

        Whoever asks a language model does it through `caller`, which keeps account by `task`.
        """
        ...


def presentations(
    judge: Judge, comparisons: Iterable[Comparison], orders: Orders, seed: int
) -> list[Shown]:
    """What a judge is to be shown: both orders, one by a stable hash of the content, or as given.

    The random order depends on the instruction and the seed alone, so that on one instruction
    every model is shown in the same place.
    """
    shown = []
    for comparison in comparisons:
        places: tuple[Order, ...] = ("original",)
        if not judge.sees_order:
            places = ("none",)
        elif orders == "both":
            places = ("original", "swapped")
        elif orders == "random" and stable_fraction(seed, comparison.instruction.text) < 0.5:
            places = ("swapped",)
        shown += [Shown(comparison, order) for order in places]
    return shown


def judge_digest(judge: Judge) -> str:
    """16 hexadecimal digits that change with all that changes a verdict."""
    return digest(judge.identity()).removeprefix("sha256:")[:16]


def annotate(
    judge: Judge, shown: Sequence[Shown], caller: Caller, task: Task, of: str | None = None
) -> Iterator[tuple[Annotation, Verdict]]:
    """The judge's verdicts as annotations, in the order shown, each as soon as it is there; `of` is
    the judge's digest, where it is known already."""
    of = judge_digest(judge) if of is None else of
    for view, verdict in zip(shown, judge.judge(shown, caller, task), strict=True):
        preference = verdict.preference
        if preference is not None and view.order == "swapped":
            preference = 1 - preference
        annotation = Annotation(
            comparison_id=view.comparison.id,
            annotator=judge.name,
            order=view.order,
            preference=preference,
            error=verdict.error,
            digest=view.comparison.digest,
            cost_usd=verdict.cost_usd,
            served=next((call.served for call in verdict.calls if call.served), None),
            n_calls=len(verdict.calls),
            judge=of,
        )
        yield annotation, verdict


def stable_fraction(seed: int, *texts: str) -> float:
    """A number in [0, 1) that depends on the seed and the texts alone, on every machine."""
    key = "\x1f".join([str(seed), *texts]).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest()) / 2**56
