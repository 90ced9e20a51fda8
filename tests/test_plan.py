"""`leaderboard plan`: what a board's own rows say of the differences that it can show."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from conftest import refused

from leaderboard.boards import load_board
from leaderboard.planning import WORST, board_resolution, find_basis, make_plan
from leaderboard.standings import standings
from leaderboard.statistics.power import smallest_detectable


@pytest.fixture
def plan(leaderboard, ranked):
    """Runs `plan` on the board with the rows good, middling and bad."""
    return lambda *args: leaderboard("plan", "toy", "--results", ranked, *args)


@pytest.fixture(scope="module")
def table(ranked):
    return standings(load_board("toy", ranked))


def test_a_plan_rests_on_neighbours_in_the_table(table):
    order = sorted(range(4), key=lambda k: table.preferences[k].mean())
    rows = table.preferences[order]
    deviations = [np.std(b - a, ddof=1) for a, b in pairwise(rows)]
    deviations = [d for d in deviations if d > 1e-9]
    basis = find_basis(table)
    assert basis.typical == pytest.approx(np.median(deviations))
    assert basis.typical <= basis.cautious <= max(deviations)
    assert basis.source == "3 pairs of neighbours in the table"
    assert board_resolution(table) == pytest.approx(smallest_detectable(basis.typical, 12))


def test_two_named_rows_are_planned_for(table):
    basis = find_basis(table, ("good", "middling"))
    of = table.preferences[[table.index("good"), table.index("middling")]]
    assert basis.typical == basis.cautious == pytest.approx(np.std(of[0] - of[1], ddof=1))


def test_a_plan_in_words(plan):
    done = plan()
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("toy: 12 instructions find a difference of ")
    assert "in 80 % of the cases" in lines[0]
    assert "from 3 pairs of neighbours in the table" in lines[1]
    assert "all 6 pairs" in done.out
    assert [line.split()[0] for line in lines if line.strip()[:2] in ("6 ", "12", "24", "48")] == [
        "6", "12", "24", "48"
    ]  # fmt: skip


def test_json_holds_the_plan_in_full(plan, table):
    record = json.loads(plan("--format", "json", "--difference", "4", "--n", "300").out)
    assert record["n"] == 300
    assert [size["n"] for size in record["sizes"]] == [150, 300, 600, 1200]
    (target,) = record["differences"]
    assert target["difference"] == 0.04
    assert target["n_one_pair"] <= target["n_cautious"]
    assert target["n_one_pair"] < target["n_all_pairs"]
    assert target["power_one_pair"] > target["power_all_pairs"]
    made = make_plan(table, "toy", n=300, difference=0.04)
    assert made.differences[0].power_one_pair == target["power_one_pair"]


def test_more_power_takes_more_instructions(table):
    few, many = (make_plan(table, "toy", difference=0.02, power=p) for p in (0.8, 0.95))
    assert few.differences[0].n_one_pair < many.differences[0].n_one_pair
    assert few.sizes[0].one_pair < many.sizes[0].one_pair


def test_one_row_is_planned_from_its_win_rate_against_the_reference(results, add_row, leaderboard):
    add_row("one", ["word0", "nothing", *["The word is word5"] * 10])
    of_one = standings(load_board("toy", results))
    basis = find_basis(of_one)
    row = of_one.preferences[of_one.index("one")]
    assert basis.source == "base and one"
    assert basis.typical == basis.alone == pytest.approx(np.std(row, ddof=1))
    out = leaderboard("plan", "toy", "--results", results).out
    assert "pairs of neighbours" not in out
    assert "all" not in out.split("Power at")[0].split("The smallest")[1]


def test_without_rows_the_worst_is_assumed_and_said(results, leaderboard):
    empty = standings(load_board("toy", results))
    assert find_basis(empty).typical == WORST
    assert board_resolution(empty) is None
    done = leaderboard("plan", "toy", "--results", results)
    assert done.code == 0
    assert "the worst case is assumed" in done.out
    assert "70.7 points" in done.out


def test_a_difference_beyond_all_is_none(results):
    plan = make_plan(standings(load_board("toy", results)), "toy", n=2)
    assert plan.sizes[0].one_pair is None


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--n", "1"), ["--n 1", "two instructions"]),
        (("--difference", "0"), ["--difference 0", "points"]),
        (("--difference", "101"), ["--difference 101"]),
        (("--power", "80"), ["--power 80", "0.8"]),
        (("--power", "nan"), ["--power nan"]),
        (("--models", "good", "nobody"), ["'nobody'", "good"]),
        (("--models", "good", "good"), ["good and good", "do not differ"]),
    ],
)
def test_what_cannot_be_planned_is_refused(plan, flags, parts):
    refused(plan(*flags), *parts)
