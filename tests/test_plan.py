"""`leaderboard plan`: what a board's own rows say of the differences that it can show."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import grid, refused

from leaderboard.boards.board import load_board
from leaderboard.commands.plan import describe
from leaderboard.comparing.planning import ENOUGH, WORST, board_resolution, find_basis, make_plan
from leaderboard.display.card import card
from leaderboard.rows.results import Row
from leaderboard.rows.standings import standings
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
    starts = ("6*", "12", "24", "48")
    assert [line.split()[0] for line in lines if line.strip()[:2] in starts] == [
        "6*", "12*", "24*", "48*"
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


def sizes_of(out: str) -> list[str]:
    """The first column of the first table."""
    lines = out.split("The smallest difference")[1].splitlines()[3:]
    return [line.split()[0] for line in lines[: lines.index("")]]


def test_numbers_too_small_to_rely_on_have_a_star_and_the_reason(plan, table):
    basis = find_basis(table)
    order = sorted(range(4), key=lambda k: table.preferences[k].mean())
    pairs = [b - a for a, b in pairwise(table.preferences[order])]
    shares = [np.mean(pair != 0) for pair in pairs if np.std(pair) > 1e-9]
    assert basis.share_different == np.median(shares)
    enough = int(np.ceil(ENOUGH / basis.share_different))
    few, plenty = plan("--n", f"{2 * (enough - 1)}"), plan("--n", f"{2 * enough}")
    assert [size.endswith("*") for size in sizes_of(few.out)] == [True, False, False, False]
    assert not any(size.endswith("*") for size in sizes_of(plenty.out))
    assert few.out.splitlines()[-1].startswith("* fewer than some 40 instructions on which")
    assert f"({100 * basis.share_different:.0f} % here)" in few.out
    needed = plan("--n", "4000", "--difference", "90").out.split("it takes")[1]
    assert "* fewer than some 40" in needed
    assert "*" not in plan("--n", "4000", "--difference", "1").out
    beyond = plan("--n", "4000", "--difference", "0.0000001").out
    assert "none" in beyond
    assert "*" not in beyond


def test_every_format_holds_the_plan(plan, table):
    of = make_plan(table, "toy")
    rows = list(csv.DictReader(io.StringIO(plan("--format", "csv").out)))
    at = {(r["figure"], r["pairs"], r["n"], r["difference"]): r for r in rows}
    assert len(at) == len(rows) == 4 * 4 + 5 * 6
    for size in of.sizes:
        for kind in ("one_pair", "cautious", "all_pairs"):
            row = at["smallest_difference", kind, str(size.n), ""]
            value = getattr(size, kind)
            assert row["value"] == ("" if value is None else str(value))
            assert (row["power"], row["is_rough"]) == ("0.8", "True")
        assert float(at["half_width", "", str(size.n), ""]["value"]) == size.half_width
    for target in of.differences:
        d = str(target.difference)
        assert float(at["power", "one_pair", "12", d]["value"]) == target.power_one_pair
        row = at["instructions", "all_pairs", "", d]
        assert int(row["value"]) == target.n_all_pairs
        assert row["is_rough"] == str(of.is_rough(target.n_all_pairs))
    cells = grid(plan("--format", "markdown").out)
    assert cells[0] == ["instructions", "one pair", "cautious", "all 6 pairs", "± of a win rate"]
    assert "- from 3 pairs of neighbours in the table\n" in plan("--format", "markdown").out
    tex = plan("--format", "latex").out
    assert tex.count("\\begin{table}") == tex.count("\\caption{toy: ") == 3
    assert "80 \\% power" in tex


def test_on_another_headline_it_says_that_it_is_about_win_rates(table):
    of = make_plan(table, "toy")
    plain, headed = (describe(of, by, "table") for by in ("win_rate", "lc_joint"))
    assert "of win rate" not in plain
    assert "points of win rate in 80 % of the cases" in headed.splitlines()[0]
    assert "about win rates, not lc_joint: neighbours are those by win rate" in headed
    assert "The smallest difference of win rates that is found" in headed


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
    assert "cautious" not in out, "there is one pair only"
    assert "all" not in out.split("Power at")[0].split("The smallest")[1]


def test_without_rows_the_worst_is_assumed_and_said(results, leaderboard):
    empty = standings(load_board("toy", results))
    assert find_basis(empty).typical == WORST
    assert board_resolution(empty) is None
    done = leaderboard("plan", "toy", "--results", results)
    assert done.code == 0
    assert done.out.splitlines()[1].startswith("  no two rows that differ are there, so the worst ")
    assert "cautious" not in done.out
    assert "nine pairs in ten" not in done.out
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
        (("--models", "good"), ["--models good: the names of two rows are needed"]),
        (("--models", "good", "bad", "base"), ["two rows are needed"]),
    ],
)
def test_what_cannot_be_planned_is_refused(plan, flags, parts):
    refused(plan(*flags), *parts)


def test_verdicts_that_hardly_vary_show_no_smallest_difference(table):
    rng = np.random.default_rng(0)
    flat = 0.5 + 1e-5 * rng.normal(size=table.preferences.shape)
    assert board_resolution(replace(table, preferences=flat)) is None


def test_a_card_says_where_the_verdicts_vary_too_little(ranked, table):
    board = load_board("toy", ranked)
    rng = np.random.default_rng(0)
    flat = replace(table, preferences=0.5 + 1e-5 * rng.normal(size=table.preferences.shape))
    text = card(board, Row(board.path / "good").summary(), flat, [])
    assert "that this board can show: these verdicts vary too little to say" in text
