"""Labelled pairs with a known truth: what people and judges say of n pairs, made for tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from judges.calling.caller import Caller
from judges.schema import Annotation, Comparison, Instruction, Message, Order
from leaderboard.validity.agree import Agreement, measure
from leaderboard.validity.humans import Humans
from leaderboard.validity.judge_figures import OfJudge, Settings
from leaderboard.validity.judged import Judged, with_floors

Said = Callable[[int], float | None]
"""Pair → a preference for output 2, None where it is missing."""


def pair(n: int, *, longer: int = 2, category: str = "") -> Comparison:
    """A pair whose output 1 or 2 is the longer one, by far."""
    texts = [f"Short {n}.", f"A much longer answer to number {n}, with words and more words."]
    one, two = texts if longer == 2 else texts[::-1]
    return Comparison(
        id=f"p{n}",
        instruction=Instruction(
            id=f"i{n}", messages=(Message("user", f"Say {n}."),), category=category
        ),
        output_1=one,
        output_2=two,
        generator_1="base",
        generator_2="model",
    )


def truth(n: int) -> float:
    """Which output is the better one; by chance the longer one half of the time."""
    return float(random.Random(f"truth {n}").random() < 0.5)


def noisy(who: str, rate: float, ties: float = 0.0) -> Said:
    """Somebody who is wrong at this rate, and says tie at that."""

    def said(n: int) -> float:
        draw = random.Random(f"{who} {n}")
        if draw.random() < ties:
            return 0.5
        return 1 - truth(n) if draw.random() < rate else truth(n)

    return said


def humans_of(
    n: int,
    people: Mapping[str, Said],
    judges: Mapping[str, Mapping[Order, Said]] | None = None,
    **keys: Any,
) -> Humans:
    """`n` pairs with labels of people, and recorded verdicts by judge and order."""
    pairs = keys.pop("pairs", None) or [pair(k, longer=1 + k % 2) for k in range(n)]
    labels = [
        _annotation(at, name, "none", said(k))
        for k, at in enumerate(pairs)
        for name, said in people.items()
    ]
    recorded = [
        _annotation(at, name, order, said(k))
        for name, orders in (judges or {}).items()
        for k, at in enumerate(pairs)
        for order, said in orders.items()
    ]
    return Humans("made", tuple(pairs), tuple(labels), tuple(recorded), **keys)


def _annotation(at: Comparison, name: str, order: Order, said: float | None) -> Annotation:
    error = "unparsed" if said is None else None
    return Annotation(
        comparison_id=at.id, annotator=name, order=order, preference=said, error=error
    )


def measured(humans: Humans, **settings: Any) -> Agreement:
    """With the floors, as the command measures."""
    judged = with_floors(humans, Judged(verdicts=()), Caller())
    return measure(humans, judged, Settings(**settings))


def judge_of(found: Agreement, name: str) -> OfJudge:
    return next(one for one in found.judges if one.name == name)


def people(n: int, rate: float = 0.1) -> dict[str, Said]:
    """So many annotators who are wrong at one rate, independently."""
    return {f"person {k}": noisy(f"person {k}", rate) for k in range(n)}


def rows(humans: Humans) -> Sequence[dict[str, Any]]:
    """The labels as lines of our own file."""
    by_id = {at.id: at for at in humans.comparisons}
    words = {0.0: "output_1", 0.5: "tie", 1.0: "output_2"}
    return [
        {
            "id": label.comparison_id,
            "instruction": by_id[label.comparison_id].instruction.text,
            "output_1": by_id[label.comparison_id].output_1,
            "output_2": by_id[label.comparison_id].output_2,
            "annotator": label.annotator,
            "label": words[float(label.preference or 0)],
        }
        for label in humans.labels
    ]
