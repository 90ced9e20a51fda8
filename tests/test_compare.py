"""Two rows of a board: the paired difference, and whether they can be told apart."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import good_answers, make_board, mixed_answers, refused, write_answers

import leaderboard as api
from judges.errors import UserError
from leaderboard.boards import load_board
from leaderboard.comparison import compare, compare_in
from leaderboard.standings import standings
from leaderboard.statistics.uncertainty import paired_p

# Of the weight of 4: the reference meets 3 in every answer, a good answer 4, a bad one 1.
BEST, WORST = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(2))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A results folder whose board toy has the rows strong, weak and empty."""
    folder = tmp_path_factory.mktemp("prepared")
    make_board(folder / "results" / "toy")
    rows = {"strong": mixed_answers(9), "weak": mixed_answers(6), "empty": [""] * 12}
    for name, texts in rows.items():
        file = write_answers(folder / f"{name}.jsonl", texts)
        api.evaluate(str(file), board="toy", results=folder / "results")
    return folder / "results"


@pytest.fixture
def results(prepared, tmp_path) -> Path:
    """A copy of `prepared` to change."""
    return Path(shutil.copytree(prepared, tmp_path / "results"))


@pytest.fixture(scope="module")
def toy(prepared):
    return load_board("toy", prepared)


def test_the_paired_difference_by_hand(toy):
    pair = compare("strong", "weak", board=toy)
    # They differ in three of twelve answers, by the same amount each.
    differences = np.array([0.0] * 6 + [BEST - WORST] * 3 + [0.0] * 3)
    assert pair.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert pair.standard_error == pytest.approx(differences.std(ddof=1) / 12**0.5, abs=1e-12)
    assert (pair.n, pair.n_wins, pair.n_ties, pair.n_losses) == (12, 3, 9, 0)
    assert pair.p_value == pytest.approx(paired_p(differences))
    assert pair.low < pair.difference < pair.high
    assert not pair.is_separable


def test_against_the_reference_it_is_the_win_rate_less_a_half(toy):
    pair = compare("strong", "base", board=toy)
    assert pair.difference == pytest.approx((9 * BEST + 3 * WORST) / 12 - 0.5, abs=1e-12)
    assert (pair.n_wins, pair.n_losses) == (9, 3)


def test_swapping_the_rows_turns_every_sign(toy):
    for a, b in (("strong", "weak"), ("weak", "base"), ("empty", "strong")):
        there, back = compare(a, b, board=toy), compare(b, a, board=toy)
        assert (there.difference, there.low, there.high) == (
            -back.difference,
            -back.high,
            -back.low,
        )
        assert (there.n_wins, there.n_losses, there.n_ties) == (
            back.n_losses,
            back.n_wins,
            back.n_ties,
        )
        assert (there.p_value, there.p_holm) == (back.p_value, back.p_holm)
        assert there.is_separable == back.is_separable


def test_a_row_is_not_compared_with_itself(toy):
    with pytest.raises(UserError, match="weak is compared with itself"):
        compare("weak", "weak", board=toy)


def test_separability_is_what_the_rank_intervals_count(toy):
    table = standings(toy)
    frame = table.frame.set_index("model")
    some = False
    for a in table.models:
        pairs = [compare_in(table, a, b) for b in table.models if b != a]
        better = sum(p.is_separable and p.difference < 0 for p in pairs)
        worse = sum(p.is_separable and p.difference > 0 for p in pairs)
        assert frame.loc[a, "rank_low"] == 1 + better
        assert frame.loc[a, "rank_high"] == len(table.models) - worse
        some = some or worse > 0
    assert some, "a test of nothing if no two rows can be told apart"


def test_what_is_significant_alone_need_not_be_among_all_pairs(results, evaluate, tmp_path):
    perfect = write_answers(tmp_path / "perfect.jsonl", good_answers())
    feeble = write_answers(tmp_path / "feeble.jsonl", mixed_answers(5))
    evaluate(feeble, perfect)
    pair = compare("perfect", "feeble", board=load_board("toy", results))
    assert pair.p_holm > 0.05 > pair.p_value
    assert not pair.is_separable


def test_only_common_instructions_count(tmp_path):
    board = make_board(tmp_path / "toy", 40)
    for name, good in (("one", 40), ("two", 0)):
        file = write_answers(tmp_path / f"{name}.jsonl", mixed_answers(good, 40))
        api.evaluate(str(file), board="toy", results=tmp_path)
    # One verdict of the first and another of the second are lost: still publishable.
    for name, at in (("one", 3), ("two", 7)):
        file = board.path / name / "annotations.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:at] + lines[at + 1 :]))
    pair = compare("one", "two", board=load_board("toy", tmp_path))
    assert pair.n == 38
    assert pair.difference == pytest.approx(BEST - WORST)


def test_it_is_public_and_takes_a_boards_name(prepared, toy):
    pair = api.compare("strong", "weak", board="toy", results=str(prepared))
    assert pair == compare("strong", "weak", board=toy)


def test_the_command_says_difference_counts_and_verdict(prepared, toy, leaderboard):
    done = leaderboard("compare", "toy", "strong", "weak", "--results", prepared)
    assert (done.code, done.err) == (0, "")
    pair = compare("strong", "weak", board=toy)
    assert f"strong - weak on toy: {100 * pair.difference:+.1f} points" in done.out
    assert f"95 % interval {100 * pair.low:+.1f} to {100 * pair.high:+.1f}" in done.out
    assert "12 instructions: 3 better, 9 equal, 0 worse" in done.out
    assert "cannot be told apart" in done.out
    sure = leaderboard("compare", "toy", "strong", "empty", "--results", prepared)
    assert ": can be told apart" in sure.out


def test_an_unknown_row_is_an_error_that_lists_the_rows(prepared, leaderboard):
    done = leaderboard("compare", "toy", "strong", "nobody", "--results", prepared)
    refused(done, "no row 'nobody'; the board has: base, empty, strong, weak")
