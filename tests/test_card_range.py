"""A card warns where the reference is too weak or too strong, and names a nearer one that works."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from conftest import LONGEST, make_board, write_answers

from leaderboard.boards.board import load_board
from leaderboard.display.card import card as card_of
from leaderboard.rows.results import Row
from leaderboard.rows.standings import standings

LONG = "A far longer answer than the one of the reference, whatever that may say."


@pytest.fixture
def results(tmp_path):
    """A board whose judge prefers the longer answer."""
    make_board(tmp_path / "results" / "toy", panel=LONGEST)
    return tmp_path / "results"


@pytest.fixture
def card(evaluate, tmp_path):
    """The card of a row whose answers win on the first so many of twelve instructions."""

    def of(name: str, wins: int, *flags: str) -> str:
        file = write_answers(tmp_path / f"{name}.jsonl", [LONG] * wins + ["No."] * (12 - wins))
        done = evaluate(file, *flags)
        assert done.code == 0, done.err
        return done.out.split("\n\n")[0]

    return of


def test_in_range_nothing_is_said(card):
    assert "out of range" not in card("even", 6)
    assert "out of range" not in card("low", 2)


def test_without_a_nearer_row_none_is_named(card):
    out = card("none", 0)
    assert "out of range: the reference wins nearly always" in out
    assert "not on the board yet" in out
    assert "board new" not in out
    assert "out of range: the reference loses nearly always" in card("all", 12)


def test_the_nearest_row_is_named_with_a_command_that_works(card, leaderboard, results):
    for name, wins in (("some", 3), ("few", 2), ("most", 10)):
        card(name, wins)
    out = card("none", 0)
    assert "a better reference is few (16.7 %):" in out
    command = next(line for line in out.splitlines() if "leaderboard board new" in line)
    words = shlex.split(command.replace("NAME", "nearer"))
    assert words[-2:] == ["--results", str(results)]
    done = leaderboard(*words[1:])
    assert done.code == 0, done.err
    assert load_board("nearer", results).settings.references == ("few",)


def test_a_row_without_its_answers_is_no_reference(card, results):
    card("few", 2)
    card("some", 3)
    (results / "toy" / "few" / "outputs.jsonl").unlink()
    assert "a better reference is some (25.0 %):" in card("none", 0)


def test_on_another_headline_the_figures_are_said_to_be_of_win_rates(card, results):
    card("few", 2)
    card("none", 0)
    board = load_board("toy", results)
    table, summary = standings(board), Row(board.path / "none").summary()
    summary["verdicts"]["n_missing"] = 1
    headed = replace(board, settings=replace(board.settings, headline="lc_joint"))
    plain, other = (card_of(b, summary, table, ()) for b in (board, headed))
    assert "a better reference is few (16.7 %):" in plain
    assert "a better reference is few (win rate 16.7 %):" in other
    assert "    had they all been losses or all wins: " in plain
    assert "    the win rate had they all been losses or all wins: " in other
    assert "the smallest difference that this board can show: " in plain
    assert "the smallest difference of win rates that this board can show: " in other


def test_a_partial_row_is_warned_too(card):
    assert "out of range" in card("none", 0, "--limit", "4")
