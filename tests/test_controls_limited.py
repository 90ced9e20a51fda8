"""A trial of a board does not pay for all of its controls, and a later run takes up what it paid."""

from __future__ import annotations

import re

import pytest
from conftest import make_board, read_json, read_lines, refused, write_rows
from served_boards import bodies, judge_at, own_answers, served_board

from leaderboard.boards.board import load_board
from leaderboard.judging.controls import (
    CONTROLS,
    describe_controls,
    run_controls,
    unjudged_controls,
)
from leaderboard.watch import SILENT


def verdicts(board, name: str = "padded") -> list[dict]:
    return read_lines(board.path / "controls" / name / "annotations.jsonl")


def test_controls_of_a_trial_are_judged_on_as_few_and_taken_up(tmp_path):
    board = make_board(tmp_path / "b", 12)
    assert {len(pairs) for _, pairs in unjudged_controls(board, 4)} == {4}
    results = run_controls(board, SILENT, limit=4)
    assert len(results) == len(CONTROLS)
    few = verdicts(board)
    assert len(few) == 4
    assert "on 4 of 12 instructions; a run without --limit" in describe_controls(board, results)
    assert unjudged_controls(board, 4) == []
    assert {len(pairs) for _, pairs in unjudged_controls(board)} == {12}
    results = run_controls(board, SILENT)
    assert "a run without --limit" not in describe_controls(board, results)
    assert len(verdicts(board)) == 12
    assert all(line in verdicts(board) for line in few)
    # A smaller trial behind it takes nothing away.
    assert unjudged_controls(board, 3) == []
    run_controls(board, SILENT, limit=3)
    assert len(verdicts(board)) == 12


def test_a_gap_of_a_control_is_filled_without_taking_instructions_away(tmp_path):
    board = make_board(tmp_path / "b", 12)
    run_controls(board, SILENT, limit=6)
    lines = verdicts(board)
    gap = {**lines[0], "preference": None, "error": "lost"}
    write_rows(board.path / "controls/padded/annotations.jsonl", [gap, *lines[1:]])
    (board.path / "controls/padded/summary.json").unlink()
    run_controls(board, SILENT, limit=2)
    assert verdicts(board) == lines
    assert read_json(board.path / "controls/padded/summary.json")["answers"]["n"] == 6


def test_how_many_instructions_controls_are_judged_on_can_be_said(new_board, tmp_path):
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": f"Say {n}."} for n in range(9)])
    refused(new_board("--prompts", prompts, "--control-items", "0"), "--control-items 0")
    run = new_board("--prompts", prompts, "--control-items", "5")
    assert run.code == 0, run.err
    board = load_board("mine", tmp_path / "results")
    assert board.settings.control_items == 5
    run_controls(board, SILENT)
    assert len(verdicts(board)) == 5


@pytest.mark.parametrize("limit", [12, 40])
def test_a_limit_that_is_none_judges_all(limit, tmp_path):
    board = make_board(tmp_path / "b", 12)
    run_controls(board, SILENT, limit=limit)
    assert len(verdicts(board)) == 12


def test_a_trial_pays_for_few_controls_and_the_full_run_for_the_rest(serve, leaderboard, tmp_path):
    server = serve()
    judge = judge_at(server, "m", "openai-api")
    served_board(tmp_path / "results", judge, control_items=8)
    flags = ("eval", own_answers(tmp_path / "mine.jsonl"), "--board", "toy",
             "--results", tmp_path / "results")  # fmt: skip
    plan = leaderboard(*flags, "--limit", "2", "--dry-run")
    planned = sum(int(n) for n in re.findall(r"judging by \S+ +(\d+) ", plan.out))
    run = leaderboard(*flags, "--limit", "2")
    assert run.code == 0, run.err
    few = len(server.log)
    # The row, six controls, and three questions to try the judge with, one of which is asked.
    assert few <= planned <= 2 + 6 * 2 + 3
    assert leaderboard(*flags).code == 0
    assert max(bodies(server).values()) == 1
    assert few < len(server.log) - few
