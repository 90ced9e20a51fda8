from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.base import Judge, Orders, Shown, Verdict, annotate, presentations, stable_fraction
from judges.checklist import Checklist
from judges.errors import UserError
from judges.heuristic import Heuristic
from judges.recorded import Recorded
from judges.schema import Annotation, Comparison, Instruction, Message

CHECKS = ({"kind": "contains", "all": ["red"], "weight": 3}, {"kind": "words", "max": 3})


def comparison(one: str = "one", two: str = "two", *, text: str = "Go", n: int = 0) -> Comparison:
    return Comparison(
        id=f"base:i{n}",
        instruction=Instruction(id=f"i{n}", messages=(Message("user", text),), checks=CHECKS),
        output_1=one,
        output_2=two,
        generator_1="base",
        generator_2="model",
    )


def exchanged(pair: Comparison) -> Comparison:
    """The same two answers, the other one first."""
    return replace(
        pair,
        output_1=pair.output_2,
        output_2=pair.output_1,
        generator_1=pair.generator_2,
        generator_2=pair.generator_1,
    )


@dataclass
class FirstShown:
    """Prefers what is shown first with certainty `p`, and remembers what it saw."""

    p: float | None = 1.0
    sees_order: bool = True
    name: str = "first"
    seen: list[tuple[str, str]] = field(default_factory=list)

    def identity(self) -> Mapping[str, Any]:
        return {}

    def obstacle(self, instruction: Instruction) -> str | None:
        return None

    def judge(self, shown: Sequence[Shown]) -> Iterator[Verdict]:
        for view in shown:
            self.seen.append((view.first, view.second))
            yield Verdict(None, "fell asleep") if self.p is None else Verdict(1 - self.p)


def verdicts(
    judge: Judge, *pairs: Comparison, orders: Orders = "both", seed: int = 0
) -> list[Annotation]:
    return list(annotate(judge, presentations(judge, pairs, orders, seed)))


# ------------------------------------------------------------------------------------- the orders
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
    stream = annotate(judge, presentations(judge, [comparison()], "both", 0))
    next(stream)
    assert len(judge.seen) == 1


def test_a_missing_verdict_stays_missing_with_its_reason():
    for verdict in verdicts(FirstShown(p=None), comparison()):
        assert (verdict.preference, verdict.error) == (None, "fell asleep")


def test_a_judge_that_leaves_verdicts_out_is_found_out():
    class Lazy(FirstShown):
        def judge(self, shown: Sequence[Shown]) -> Iterator[Verdict]:
            yield from list(super().judge(shown))[1:]

    with pytest.raises(ValueError, match="shorter"):
        verdicts(Lazy(), comparison())


# ------------------------------------------------------------------------------------- the digest
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


# -------------------------------------------------------------------------- checklist, heuristics
def one_preference(judge: Judge, pair: Comparison) -> float | None:
    (verdict,) = verdicts(judge, pair)
    return verdict.preference


@pytest.mark.parametrize(
    ("one", "two", "preference"),
    [
        ("blue", "red", 1 / (1 + 2.718281828459045**-3)),  # shares 0.25 and 1
        ("red and a bit more", "red", 1 / (1 + 2.718281828459045**-1)),  # 0.75 and 1
        ("red", "a red one", 0.5),
        ("", "", 0.5),
        ("red", "", 1 / (1 + 2.718281828459045**4)),
    ],
)
def test_the_checklist_prefers_the_larger_share(one, two, preference):
    assert one_preference(Checklist(), comparison(one, two)) == pytest.approx(preference)


@pytest.mark.parametrize("difference", [0, 0.05, 0.1 + 0.2 - 0.25])
def test_differences_within_the_tie_band_are_ties(difference):
    assert Checklist().preference(0.5, 0.5 + difference) == 0.5
    assert Checklist(tie_band=0).preference(0.5, 0.5 + 1e-6) > 0.5


SHARES = st.floats(0, 1)


@given(a=SHARES, b=SHARES, c=SHARES, temperature=st.floats(1e-300, 1e300), band=st.floats(0, 0.99))
def test_the_checklist_map_is_monotone_and_turns_with_the_sides(a, b, c, temperature, band):
    p = Checklist(temperature=temperature, tie_band=band).preference
    assert 0 <= p(a, b) <= 1
    assert p(b, a) == pytest.approx(1 - p(a, b), abs=1e-12)
    low, high = sorted((b, c))
    assert p(a, low) <= p(a, high)


@pytest.mark.parametrize(
    "settings",
    [
        *({"temperature": t} for t in (0, -0.25, float("nan"), float("inf"))),
        *({"tie_band": t} for t in (-0.1, 1, float("nan"))),
    ],
)
def test_a_checklist_without_a_usable_map_is_refused(settings):
    with pytest.raises(UserError, match=f"{next(iter(settings))} must lie"):
        Checklist(**settings)


def test_a_checklist_needs_checks():
    bare = Instruction(id="i", messages=(Message("user", "Go"),))
    assert "no checks" in (Checklist().obstacle(bare) or "")
    assert Checklist().obstacle(comparison().instruction) is None


def test_all_that_changes_a_checklist_verdict_is_in_its_identity():
    made = [Checklist(), Checklist(tie_band=0.1), Checklist(temperature=0.5)]
    assert len({json.dumps(dict(judge.identity())) for judge in made}) == 3
    assert Checklist(name="other").identity() == Checklist().identity()


@pytest.mark.parametrize(
    ("rule", "one", "two", "preference"),
    [
        ("longest", "ab", "abc", 1),
        ("longest", "abc", "ab", 0),
        ("longest", "é", "e", 0.5),
        ("shortest", "ab", "abc", 0),
        ("shortest", "a", "", 1),
        ("random", "same", "same", 0.5),
    ],
)
def test_heuristics(rule, one, two, preference):
    assert one_preference(Heuristic(rule=rule), comparison(one, two)) == preference


def test_the_random_judge_is_fair_and_keeps_to_its_word():
    judge = Heuristic(rule="random")
    pairs = [comparison(f"one {n}", f"two {n}", n=n) for n in range(2000)]
    first = [a.preference for a in verdicts(judge, *pairs)]
    assert first == [a.preference for a in verdicts(Heuristic(rule="random"), *pairs)]
    assert set(first) == {0, 1}
    assert abs(first.count(1) - 1000) < 4 * 2000**0.5 / 2


ANSWERS = st.sampled_from(["", "red", "blue", "a red one or two", "\ud83d", "RED"])


@pytest.mark.parametrize(
    "judge",
    [Checklist(), *(Heuristic(rule=rule) for rule in ("longest", "shortest", "random"))],
    ids=lambda judge: judge.name,
)
@given(one=ANSWERS, two=ANSWERS)
def test_exchanging_the_outputs_turns_the_preference(judge, one, two):
    pair = comparison(one, two)
    turned = one_preference(judge, exchanged(pair))
    assert turned == pytest.approx(1 - (one_preference(judge, pair) or 0), abs=1e-12)


# --------------------------------------------------------------------------------------- recorded
def line(preference: Any = 0.8, **changed: Any) -> dict[str, Any]:
    row = {"instruction_id": "i0", "generator_1": "base", "generator_2": "model"}
    return {**row, "preference": preference, **changed}


TURNED = {"generator_1": "model", "generator_2": "base"}


@pytest.fixture
def recorded(tmp_path: Path):
    def make(*rows: dict[str, Any]) -> Recorded:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "verdicts.jsonl").write_text(text, encoding="utf-8")
        return Recorded(path="verdicts.jsonl", folder=tmp_path)

    return make


@pytest.mark.parametrize(
    ("rows", "orders", "found"),
    [
        ([line(0.8)], "both", [("none", 0.8)]),
        ([line(0.8, **TURNED)], "both", [("none", 0.2)]),
        ([line(1)], "random", [("none", 1)]),
        (
            [line(0.8, order="original"), line(0.6, order="swapped")],
            "both",
            [("original", 0.8), ("swapped", 0.6)],
        ),
        # base was shown second and model first: to (base, model) that is the swapped order
        (
            [line(0.8, order="original", **TURNED), line(0.6, order="swapped", **TURNED)],
            "both",
            [("original", 0.4), ("swapped", 0.2)],
        ),
        (
            [line(0.8, order="original"), line(0.3, order="original", **TURNED)],
            "both",
            [("original", 0.8), ("swapped", 0.7)],
        ),
        ([line(0.8, order="swapped")], "both", [("original", None), ("swapped", 0.8)]),
        ([line(0.8, order="swapped")], "fixed", [("original", None)]),
        ([line(None)], "both", [("none", None)]),
        ([line(0.8, instruction_id="i1")], "both", [("none", None)]),
        ([line(0.8, generator_2="other")], "both", [("none", None)]),
    ],
)
def test_recorded_verdicts_are_replayed(recorded, rows, orders, found):
    done = verdicts(recorded(*rows), comparison(), orders=orders)
    assert [a.order for a in done] == [order for order, _ in found]
    assert [a.preference for a in done] == [p if p is None else pytest.approx(p) for _, p in found]
    assert all((a.error is None) == (a.preference is not None) for a in done)


def test_why_a_recorded_verdict_is_missing(recorded):
    judge = recorded(line(None), line(0.5, instruction_id="i1"))
    errors = [a.error for a in verdicts(judge, comparison(n=0), comparison(n=1), comparison(n=2))]
    assert errors == ["recorded as missing", None, "no verdict recorded"]


ROWS = st.lists(
    st.builds(
        line,
        st.none() | st.floats(0, 1),
        order=st.sampled_from(["original", "swapped"]),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda row: row["order"],
)


@given(rows=ROWS)
def test_exchanging_the_outputs_turns_recorded_verdicts(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = Recorded(path="v.jsonl", folder=folder)
    original, swapped = verdicts(judge, comparison())
    turned = verdicts(judge, exchanged(comparison()))
    # What was the original order is the swapped one now.
    for before, after in zip((original, swapped), reversed(turned), strict=True):
        if before.preference is None:
            assert after.preference is None
        else:
            assert after.preference == pytest.approx(1 - before.preference, abs=1e-12)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (line(1.5), "preference must lie in 0..1"),
        (line(-0.1), "preference must lie in 0..1"),
        (line("0.5"), "preference must lie in 0..1"),
        (line(True), "preference must lie in 0..1"),
        (line(float("nan")), "preference must lie in 0..1"),
        ({k: v for k, v in line().items() if k != "preference"}, "preference must lie in 0..1"),
        (line(instruction_id=3), "must be texts"),
        (line(generator_1=None), "must be texts"),
        (line(order="first"), "order must be original, swapped or none"),
        (line(order=["none"]), "order must be original, swapped or none"),
        (line(prefrence=1), "unknown field 'prefrence'; known: generator_1"),
        (line(0.2, instruction_id="i9"), "a second verdict on i9 / base / model / none"),
        (line(0.8, instruction_id="i9", **TURNED), "a second verdict on i9 / model / base / none"),
        (
            line(0.8, instruction_id="i8", order="swapped", **TURNED),
            "a second verdict on i8 / model / base / swapped",
        ),
    ],
)
def test_a_bad_recorded_line_is_named_by_its_number(recorded, row, problem):
    good = [line(0.2, instruction_id="i9"), line(0.1, instruction_id="i8", order="original")]
    with pytest.raises(UserError, match=rf"verdicts\.jsonl, line 3: .*{problem}"):
        verdicts(recorded(*good, row), comparison())


def test_a_recorded_file_that_is_broken_empty_or_not_there(recorded, tmp_path):
    (tmp_path / "torn.jsonl").write_text(json.dumps(line()) + '\n{"instr')
    with pytest.raises(UserError, match=r"torn\.jsonl, line 2: not valid JSON"):
        verdicts(Recorded(path="torn.jsonl", folder=tmp_path), comparison())
    with pytest.raises(UserError, match="no verdicts in this file"):
        verdicts(recorded(), comparison())
    with pytest.raises(UserError, match="is not there"):
        verdicts(Recorded(path="other.jsonl", folder=tmp_path), comparison())
    with pytest.raises(UserError, match="is not there"):
        verdicts(Recorded(path=".", folder=tmp_path), comparison())


def test_a_recorded_judge_without_a_file_knows_nothing():
    (verdict,) = verdicts(Recorded(name="imported"), comparison())
    assert (verdict.annotator, verdict.preference) == ("imported", None)


def test_whose_answers_a_recorded_judge_knows(recorded):
    judge = recorded(line())
    assert judge.knows("base")
    assert judge.knows("model")
    assert not judge.knows("i0")


def test_the_identity_of_recorded_verdicts_is_what_they_say(recorded):
    rows = [line(0.5), line(None, instruction_id="i1")]
    first = recorded(*rows).identity()
    assert recorded(*reversed(rows)).identity() == first
    assert recorded(line(0.6), rows[1]).identity() != first
    assert recorded(line(0.5, order="original"), rows[1]).identity() != first
