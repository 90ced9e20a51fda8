"""Recorded verdicts: replayed for either order and side, and refused by their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import comparison, exchanged, verdicts, write_rows
from hypothesis import given
from hypothesis import strategies as st

from judges.errors import UserError
from judges.kinds.recorded import Recorded


def line(preference: Any = 0.8, **changed: Any) -> dict[str, Any]:
    row = {"instruction_id": "i0", "generator_1": "base", "generator_2": "model"}
    return {**row, "preference": preference, **changed}


TURNED = {"generator_1": "model", "generator_2": "base"}


@pytest.fixture
def recorded(tmp_path: Path):
    def make(*rows: dict[str, Any]) -> Recorded:
        write_rows(tmp_path / "verdicts.jsonl", rows)
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
    write_rows(folder / "v.jsonl", rows)
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
        (line(prefrence=1), "unknown field 'prefrence'; known: digest"),
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
