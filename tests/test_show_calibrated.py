"""Tables and cards of a board that ranks by lc_joint: which figure is of what, and the guard."""

from __future__ import annotations

import shutil

import pytest
from conftest import edit_json, grid, make_board, mixed_answers, read_json, write_answers

from leaderboard import evaluate as put_on_board
from leaderboard.cli import main
from leaderboard.display.table import GUARDED


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A board with eight rows, row0 the weakest, that ranks by lc_joint; not to be changed."""
    folder = tmp_path_factory.mktemp("calibrated")
    make_board(folder / "results" / "toy")
    for n in range(8):
        texts = mixed_answers(3 + n)
        padded = [text + " And so on." * ((k * (n + 2)) % 5) for k, text in enumerate(texts)]
        file = write_answers(folder / f"row{n}.jsonl", padded)
        put_on_board(str(file), board="toy", results=folder / "results")
    where = ["--results", str(folder / "results")]
    assert main(["board", "calibrate", "toy", "--headline", "lc_joint", *where]) == 0
    return folder / "results"


@pytest.fixture
def results(calibrated, tmp_path):
    return shutil.copytree(calibrated, tmp_path / "results")


def guard(results, *rows: str) -> None:
    """Marks rows as held down by the guard, as a constant answer would be."""
    for row in rows:
        file = results / "toy" / row / "summary.json"
        columns = read_json(file)["columns"]
        columns["lc_joint"]["is_constant_guarded"] = True
        edit_json(file, columns=columns)


# ---------------------------------------------------------------- the guard against constant answers
def test_without_guarded_rows_nothing_is_marked(show, results):
    assert "*" not in show()
    guard(results, "row2")
    assert GUARDED not in show("--models", "row1")
    assert GUARDED not in show("--columns", "model", "win_rate")


def test_a_guarded_figure_is_marked_with_the_reason(show, results):
    guard(results, "row2", "row5")
    out = show("--format", "markdown")
    at = grid(out)[0].index("lc_joint")
    marked = [row[1] for row in grid(out)[1:] if row[at].endswith("*")]
    assert sorted(marked) == ["row2", "row5"]
    assert f"\n\n\\* {marked[0]}, {marked[1]}: {GUARDED}\n" in out  # no list begins here
    tex = show("--format", "latex", "--columns", "model", "lc_joint")
    (caption,) = [line for line in tex.splitlines() if "caption" in line]
    assert caption.endswith(f"*~{marked[0]}, {marked[1]}: {GUARDED}.}}")
    assert tex.count("* \\\\") == 2


def test_eval_marks_it_below_its_cards_too(results, evaluate, tmp_path):
    guard(results, "row2")
    done = evaluate(write_answers(tmp_path / "more.jsonl", mixed_answers(6)))
    assert done.out.rstrip().endswith(f"* row2: {GUARDED}")


# --------------------------------------------------------------------------------- which figure is it
def test_a_card_says_what_is_about_the_win_rate(results, evaluate, tmp_path):
    file = write_answers(tmp_path / "more.jsonl", mixed_answers(6))
    lines = evaluate(file).out.split("\n\n")[0].splitlines()
    assert any(line.startswith("  rank: ") and line.endswith("can tell") for line in lines)
    assert any("the smallest difference of win rates that this board can show" in x for x in lines)
    assert all(" by win rate" in line for line in lines if "told from" in line)


def test_a_plan_says_that_it_is_about_win_rates(results, leaderboard):
    out = leaderboard("plan", "toy", "--results", results).out
    assert "points of win rate in 80 %" in out
    assert "not lc_joint" in out
