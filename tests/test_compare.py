"""Two rows of a board: the paired difference, and whether they can be told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import bad_answers, good_answers, make_board, write_answers

import leaderboard as api
from judges.errors import UserError
from leaderboard.boards import load_board
from leaderboard.comparison import compare, compare_in
from leaderboard.standings import standings

# Of the weight of 4: the reference meets 3 in every answer, a good answer 4, a bad one 1.
BEST, WORST = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(2))


def put(folder, leaderboard, **models) -> None:
    for name, texts in models.items():
        file = write_answers(folder.parent / f"{name}.jsonl", texts)
        done = leaderboard("eval", file, "--board", "toy", "--results", folder)
        assert done.code == 0, done.err


def mixed(good: int, n: int = 12) -> list[str]:
    """The first `good` answers are good, the others bad."""
    return good_answers(n)[:good] + bad_answers(n)[good:]


@pytest.fixture
def toy(results, leaderboard):
    put(results, leaderboard, strong=mixed(9), weak=mixed(6), empty=[""] * 12)
    return load_board("toy", results)


def test_the_paired_difference_by_hand(toy):
    pair = compare("strong", "weak", board=toy)
    # They differ in three of twelve answers, by the same amount each.
    differences = np.array([0.0] * 6 + [BEST - WORST] * 3 + [0.0] * 3)
    assert pair.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert pair.standard_error == pytest.approx(differences.std(ddof=1) / 12**0.5, abs=1e-12)
    assert (pair.n, pair.n_wins, pair.n_ties, pair.n_losses) == (12, 3, 9, 0)
    # Of the 2**3 choices of signs for three equal differences two have the largest sum.
    assert pair.p_value == pytest.approx(2 / 8)
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


def test_a_row_cannot_be_told_from_itself(toy):
    pair = compare("weak", "weak", board=toy)
    assert (pair.difference, pair.p_holm, pair.n_ties) == (0.0, 1.0, 12)
    assert not pair.is_separable


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


def test_what_is_significant_alone_need_not_be_among_all_pairs(results, toy, leaderboard):
    put(results, leaderboard, perfect=good_answers())
    pair = compare("perfect", "weak", board=toy)
    assert pair.p_value == pytest.approx(2 / 2**6)  # six equal differences
    assert pair.p_holm > 0.05 > pair.p_value
    assert not pair.is_separable
    card = leaderboard(
        "eval", results.parent / "perfect.jsonl", "--board", "toy", "--results", results
    ).out
    assert "cannot be told from weak" in card
    assert "too little among 5 rows" in card


def test_only_common_instructions_count(tmp_path, leaderboard):
    board = make_board(tmp_path / "results" / "toy", 40)
    put(tmp_path / "results", leaderboard, one=mixed(40, 40), two=mixed(0, 40))
    # One verdict of the first and another of the second are lost: still publishable.
    for name, at in (("one", 3), ("two", 7)):
        file = board.path / name / "annotations.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:at] + lines[at + 1 :]))
    pair = compare("one", "two", board=load_board("toy", tmp_path / "results"))
    assert pair.n == 38
    assert pair.difference == pytest.approx(BEST - WORST)


def test_an_unknown_row_is_an_error_that_lists_the_rows(toy):
    with pytest.raises(UserError, match="no row 'stong'; the board has: base, empty, strong, weak"):
        compare("stong", "weak", board=toy)


def test_it_is_public_and_takes_a_boards_name(results, toy):
    pair = api.compare("strong", "weak", board="toy", results=str(results))
    assert pair == compare("strong", "weak", board=toy)


def test_the_command(results, toy, leaderboard):
    done = leaderboard("compare", "toy", "strong", "weak", "--results", results)
    assert (done.code, done.err) == (0, "")
    pair = compare("strong", "weak", board=toy)
    assert f"strong - weak on toy: {100 * pair.difference:+.1f} points" in done.out
    assert f"95 % interval {100 * pair.low:+.1f} to {100 * pair.high:+.1f}" in done.out
    assert "12 instructions: 3 better, 9 equal, 0 worse" in done.out
    assert "cannot be told apart" in done.out
    sure = leaderboard("compare", "toy", "strong", "empty", "--results", results)
    assert ": can be told apart" in sure.out


def test_the_command_with_a_row_that_is_not_there(results, toy, leaderboard):
    done = leaderboard("compare", "toy", "strong", "nobody", "--results", results)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "leaderboard compare: no row 'nobody'; the board has: base, empty, strong, weak"
    ]
