"""The controls: how each is made, when it passes, and that it is judged once a board."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import pytest
from conftest import (
    LONGEST,
    bad_answers,
    good_answers,
    make_board,
    read_lines,
    toy_instructions,
    write_answers,
)

from judges.kinds.checklist import Checklist
from judges.schema import Instruction, Message, Output
from leaderboard.boards.board import load_board, write_board
from leaderboard.boards.settings import Settings
from leaderboard.judging.controls import (
    CONTROLS,
    INJECTION,
    NULL_ANSWER,
    PADDING,
    control_outputs,
    control_results,
    describe_controls,
    run_controls,
    truncate,
)
from leaderboard.rows.standings import standings
from leaderboard.watch import SILENT

TALK = (Message("user", "Name a fruit."), Message("assistant", "Fig."), Message("user", "Another?"))
INSTRUCTION = Instruction(id="a", messages=TALK, gold_answer="Pear.")
REFERENCE = "One two three four five six seven."


# ---------------------------------------------------------------------------- how they are made
MADE = {
    "gold": "Pear.",
    "null": NULL_ANSWER,
    "echo": "Another?",
    "truncated": "One two",
    "padded": REFERENCE + PADDING,
    "injected": REFERENCE + INJECTION,
}


def test_there_are_six_controls():
    assert set(CONTROLS) == set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_what_a_control_answers(name):
    assert CONTROLS[name].make(INSTRUCTION, REFERENCE) == MADE[name]


@pytest.mark.parametrize(
    ("text", "expected"), [("", ""), ("one", ""), ("one two three", "one"), ("a b c d e f", "a b")]
)
def test_a_truncated_answer_is_a_third_of_its_words(text, expected):
    assert truncate(text) == expected


def test_the_reference_of_a_control_is_the_boards_first(tmp_path):
    instructions = toy_instructions(3)
    answers = {
        name: {
            i.id: Output(instruction_id=i.id, generator=name, text=f"{name} says {i.gold_answer}")
            for i in instructions
        }
        for name in ("one", "two")
    }
    write_board(
        tmp_path / "b", Settings(references=("one", "two")), instructions, answers, LONGEST, {}
    )
    board = load_board("b", tmp_path)
    outputs = control_outputs(board, "padded", CONTROLS["padded"])
    assert {o.text for o in outputs.values()} == {f"one says word{k}{PADDING}" for k in range(3)}
    run_controls(board, SILENT)
    lines = read_lines(board.path / "controls" / "padded" / "annotations.jsonl")
    assert [line["comparison_id"] for line in lines] == [f"one:toy-{k:02d}" for k in range(3)]


# ---------------------------------------------------------------------------------- when they pass
@pytest.mark.parametrize(
    ("name", "low", "high", "outcome"),
    [
        ("null", 0.1, 0.49, "passed"),
        ("null", 0.1, 0.5, "inconclusive"),
        ("null", 0.5, 0.5, "inconclusive"),
        ("null", 0.5001, 0.9, "failed"),
        ("echo", 0.0, 0.4999, "passed"),
        ("echo", 0.3, 0.6, "inconclusive"),
        ("truncated", 0.4, 0.51, "inconclusive"),
        ("truncated", 0.2, 0.3, "passed"),
        ("truncated", 0.6, 0.7, "failed"),
        ("padded", 0.5, 0.9, "passed"),
        ("padded", 0.5001, 0.9, "failed"),
        ("injected", 0.1, 0.2, "passed"),
        ("injected", 0.51, 0.6, "failed"),
        ("gold", 0.5, 0.9, "inconclusive"),
        ("gold", 0.5001, 0.9, "passed"),
        ("gold", 0.4, 0.6, "inconclusive"),
        ("gold", 0.1, 0.4999, "failed"),
    ],
)
def test_the_interval_decides(name, low, high, outcome):
    assert CONTROLS[name].outcome(low, high) == outcome


def test_a_judge_of_content_passes_and_one_of_length_fails(tmp_path):
    by_content = run_controls(make_board(tmp_path / "content", 40), SILENT)
    by_length = run_controls(make_board(tmp_path / "length", 40, LONGEST), SILENT)
    assert {r.name: r.passed for r in by_content} == dict.fromkeys(CONTROLS, True)
    failed = {r.name for r in by_length if r.outcome == "failed"}
    assert failed >= {"null", "padded", "injected", "gold"}
    assert "truncated" not in failed


# ------------------------------------------------------------------------------ once, and when again
@pytest.fixture
def judged(monkeypatch):
    """The names of the rows that a checklist is shown, each time that another one begins."""
    names: list[str] = []
    judge = Checklist.judge

    def watching(self, shown, caller, task):
        for view in shown:
            if names[-1:] != [view.comparison.generator_2]:
                names.append(view.comparison.generator_2)
        return judge(self, shown, caller, task)

    monkeypatch.setattr(Checklist, "judge", watching)
    return names


def test_controls_are_judged_once(results, judged):
    board = load_board("toy", results)
    first = run_controls(board, SILENT)
    assert judged == list(CONTROLS)
    assert run_controls(load_board("toy", results), SILENT) == first
    assert judged == list(CONTROLS)


def test_a_control_that_is_missing_is_judged_alone(results, judged):
    board = load_board("toy", results)
    run_controls(board, SILENT)
    judged.clear()
    shutil.rmtree(board.path / "controls" / "echo")
    run_controls(board, SILENT)
    assert judged == ["echo"]


def test_controls_of_another_content_do_not_count(results):
    board = load_board("toy", results)
    run_controls(board, SILENT)
    changed = replace(board, hashes={**board.hashes, "panel": "sha256:other"})
    assert control_results(changed) == []
    run_controls(changed, SILENT)
    assert [r.name for r in control_results(changed)] == list(CONTROLS)
    assert control_results(board) == []


def test_two_runs_at_once_take_turns(results, judged):
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(run_controls(load_board("toy", results), SILENT))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert judged == list(CONTROLS)


# ----------------------------------------------------------------------------- boards that have less
def test_without_gold_answers_that_control_is_left_out(tmp_path):
    instructions = [replace(i, gold_answer=None) for i in toy_instructions(12)]
    board = make_board(tmp_path / "b", instructions, LONGEST)
    results = run_controls(board, SILENT)
    assert [r.name for r in results] == [name for name in CONTROLS if name != "gold"]
    assert "(not judged: gold)" in describe_controls(board, results)


def test_recorded_verdicts_have_no_controls(tmp_path):
    panel = {"judges": [{"kind": "recorded", "name": "people"}]}
    board = make_board(tmp_path / "b", 4, panel)
    assert run_controls(board, SILENT) == []
    assert not (board.path / "controls").exists()
    assert describe_controls(board, []).startswith("controls: none")


def test_a_control_without_a_verdict_is_not_judged(tmp_path):
    panel = {"judges": [{"kind": "checklist"}, {"kind": "recorded", "name": "people"}]}
    board = make_board(tmp_path / "b", 4, panel)
    assert run_controls(board, SILENT) == []
    assert "not judged" in describe_controls(board, [])


# -------------------------------------------------------------------------------- what is said of them
def test_failures_are_said_in_words_on_card_table_and_check(tmp_path, leaderboard):
    make_board(tmp_path / "toy", 40, LONGEST)
    before = leaderboard("show", "toy", "--results", tmp_path)
    assert "controls: not judged; judge them with: leaderboard board check toy" in before.out
    answers = write_answers(tmp_path / "m.jsonl", good_answers(40))
    done = leaderboard("eval", answers, "--board", "toy", "--results", tmp_path)
    shown = leaderboard("show", "toy", "--results", tmp_path)
    checked = leaderboard("board", "check", "toy", "--results", tmp_path)
    assert (done.code, shown.code, checked.code) == (0, 0, 3)
    for said in (done.out, shown.out, checked.out):
        assert "FAILED padded: 100.0 %" in said
        assert "must not lie above 50 %" in said
        assert "must not rank models" in said
        assert "must lie above 50 %" in said, "of the gold answers"


def test_controls_are_in_no_table(results, tmp_path, leaderboard):
    answers = write_answers(tmp_path / "m.jsonl", bad_answers())
    done = leaderboard("eval", answers, "--board", "toy", "--results", results)
    assert done.code == 0
    assert (results / "toy" / "controls" / "gold" / "summary.json").is_file()
    assert set(standings(load_board("toy", results)).frame["model"]) == {"base", "m"}
    csv = (results / "toy" / "leaderboard.csv").read_text()
    assert not [name for name in CONTROLS if f",{name}," in csv]


def test_a_row_cannot_be_called_controls(results, tmp_path, leaderboard):
    answers = write_answers(tmp_path / "controls.jsonl", good_answers())
    done = leaderboard("eval", answers, "--board", "toy", "--results", results)
    assert (done.code, done.out) == (2, "")
    assert "'controls' is reserved" in done.err
    assert not (results / "toy" / "controls").exists()


def test_a_row_can_be_called_like_a_control(results, tmp_path, leaderboard):
    answers = write_answers(tmp_path / "gold.jsonl", bad_answers())
    assert leaderboard("eval", answers, "--board", "toy", "--results", results).code == 0
    board = load_board("toy", results)
    gold = {r.name: r for r in control_results(board)}["gold"]
    assert gold.passed
    assert gold.value > 0.5
    frame = standings(board).frame.set_index("model")
    assert frame.loc["gold", "win_rate"] < 0.5
