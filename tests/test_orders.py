"""What every judge is put through: the orders of a pair, missing verdicts, the digest of a pair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from conftest import comparison, verdicts

from judges.base import Shown, Verdict, annotate, presentations, stable_fraction
from judges.calling.caller import Caller, Task
from judges.schema import Instruction, Message


@dataclass
class FirstShown:
    """Prefers what is shown first with certainty `p`, and remembers what it saw."""

    p: float | None = 1.0
    sees_order: bool = True
    reads_instruction: bool = True
    name: str = "first"
    seen: list[tuple[str, str]] = field(default_factory=list)

    def identity(self) -> Mapping[str, Any]:
        return {}

    def obstacle(self, instruction: Instruction) -> str | None:
        return None

    def judge(self, shown: Sequence[Shown], caller: Caller, task: Task) -> Iterator[Verdict]:
        for view in shown:
            self.seen.append((view.first, view.second))
            yield Verdict(None, "fell asleep") if self.p is None else Verdict(1 - self.p)


def test_both_orders_are_shown_and_taken_back():
    judge = FirstShown(p=0.75)
    first, second = verdicts(judge, comparison("one", "two"))
    assert judge.seen == [("one", "two"), ("two", "one")]
    assert (first.order, first.preference) == ("original", 0.25)
    assert (second.order, second.preference) == ("swapped", 0.75)
    assert {(a.comparison_id, a.annotator, a.error) for a in (first, second)} == {
        ("base:i0", "first", None)
    }


def test_the_fixed_order_shows_output_1_first():
    judge = FirstShown()
    assert [a.order for a in verdicts(judge, comparison(), comparison(), orders="fixed")] == (
        ["original"] * 2
    )
    assert judge.seen == [("one", "two")] * 2


@pytest.mark.parametrize("orders", ["both", "random", "fixed"])
def test_a_judge_without_an_order_is_asked_once(orders):
    judge = FirstShown(p=0.75, sees_order=False)
    (verdict,) = verdicts(judge, comparison("one", "two"), orders=orders)
    assert judge.seen == [("one", "two")]
    assert (verdict.order, verdict.preference) == ("none", 0.25)


def test_the_random_order_is_shown_and_taken_back():
    judge = FirstShown(p=1.0)
    pairs = [comparison(text=str(n), n=n) for n in range(50)]
    done = verdicts(judge, *pairs, orders="random")
    assert {(a.order, a.preference) for a in done} == {("original", 0.0), ("swapped", 1.0)}
    assert [pair == ("one", "two") for pair in judge.seen] == [a.order == "original" for a in done]


def test_the_random_order_is_balanced_and_changes_with_the_seed():
    pairs = [comparison(text=f"Say {n}", n=n) for n in range(2000)]
    orders = [
        [view.order for view in presentations(FirstShown(), pairs, "random", seed)]
        for seed in (0, 1)
    ]
    for shown in orders:
        assert abs(Counter(shown)["swapped"] - 1000) < 4 * 2000**0.5 / 2
    same = sum(a == b for a, b in zip(*orders, strict=True))
    assert abs(same - 1000) < 4 * 2000**0.5 / 2


def test_the_random_order_depends_on_the_instruction_and_the_seed_alone():
    pairs = [comparison(text=f"Say {n}", n=n) for n in range(20)]
    others = [replace(pair, id="x", output_2="other", generator_2="other") for pair in pairs]
    expected = [view.order for view in presentations(FirstShown(), pairs, "random", 3)]
    shown = [view.order for view in presentations(FirstShown(), reversed(others), "random", 3)]
    assert shown[::-1] == expected


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_the_random_order_is_the_same_in_every_process(hash_seed):
    code = "from judges.base import stable_fraction as f; print([f(n, 'é\\ud83d', '') for n in (0, 7)])"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert json.loads(found.stdout) == [stable_fraction(n, "é\ud83d", "") for n in (0, 7)]


def test_verdicts_come_one_by_one():
    judge = FirstShown()
    shown = presentations(judge, [comparison()], "both", 0)
    stream = annotate(judge, shown, Caller(), Task())
    next(stream)
    assert len(judge.seen) == 1


def test_a_missing_verdict_stays_missing_with_its_reason():
    for verdict in verdicts(FirstShown(p=None), comparison()):
        assert (verdict.preference, verdict.error) == (None, "fell asleep")


def test_a_judge_that_leaves_verdicts_out_is_found_out():
    class Lazy(FirstShown):
        def judge(self, shown: Sequence[Shown], caller: Caller, task: Task) -> Iterator[Verdict]:
            yield from list(super().judge(shown, caller, task))[1:]

    with pytest.raises(ValueError, match="shorter"):
        verdicts(Lazy(), comparison())


# --------------------------------------------------------------------------------------- the digest
PAIR = comparison("one", "two", text="Go")


@pytest.mark.parametrize(
    "other",
    [
        replace(PAIR, output_1="one "),
        replace(PAIR, output_2="\ud83d"),
        replace(PAIR, output_1="two", output_2="one"),
        replace(PAIR, output_1="one\x00two", output_2=""),
        comparison("one", "two", text="go"),
        replace(
            PAIR,
            instruction=replace(
                PAIR.instruction, messages=(Message("system", "Be brief."), Message("user", "Go"))
            ),
        ),
    ],
)
def test_the_digest_changes_with_any_text(other):
    assert other.digest != PAIR.digest


def test_the_digest_is_of_the_texts_alone_and_goes_with_the_verdict():
    same = replace(comparison("one", "two", text="Go", n=5), generator_2="renamed")
    assert same.digest == PAIR.digest == verdicts(FirstShown(), PAIR)[0].digest
