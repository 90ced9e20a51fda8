"""Runs that are interrupted, killed or at work at once: nothing is lost, and nothing done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import (
    make_board,
    read_lines,
    refused,
    table_of,
    toy_instructions,
)

from judges.backends.base import Completion, Request
from judges.backends.fake import FakeLLM
from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.kinds.checklist import Checklist
from leaderboard.rows.results import Row


def interrupt_after(calls: int, monkeypatch: pytest.MonkeyPatch, kind: BaseException) -> None:
    complete, done = FakeLLM.complete_batch, []

    def interrupted(self: FakeLLM, requests: Sequence[Request]) -> list[Completion]:
        if len(done) == calls:
            raise kind
        done.append(requests)
        return complete(self, requests)

    monkeypatch.setattr(FakeLLM, "complete_batch", interrupted)


def test_an_interrupted_run_resumes_and_answers_nothing_twice(
    evaluate, results, generated, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt_after(2, patch, KeyboardInterrupt())
        run = evaluate("fake/words")
    assert run.code == 130
    assert "interrupted; what was done is kept" in run.err
    assert "Traceback" not in run.err
    assert len(generated) == 8
    held = read_lines(results / "toy/words/outputs.jsonl")
    assert sorted(line["instruction_id"] for line in held) == sorted(generated)
    run = evaluate("fake/words")
    assert run.code == 0, run.err
    assert "8 answers are there already; 4 are left" in run.err
    assert sorted(generated) == [i.id for i in toy_instructions(12)]
    evaluate("fake/words", "--name", "at-once")
    whole, resumed = (results / "toy" / n / "outputs.jsonl" for n in ("at-once", "words"))
    assert whole.read_text("utf-8").replace("at-once", "words") == resumed.read_text("utf-8")


def test_an_interrupted_judging_resumes_and_judges_nothing_twice(
    evaluate, results, judged, monkeypatch
):
    judge = Checklist.judge

    def interrupted(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        yield from judge(self, shown[:5], caller, task)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checklist, "judge", interrupted)
        assert evaluate("fake/words").code == 130
    held = {a.comparison_id for a in Row(results / "toy" / "words").annotations()}
    assert len(held) == 5
    judged.clear()
    assert evaluate("fake/words").code == 0
    assert len(judged) == 7
    assert not held & set(judged)


def test_a_model_that_breaks_down_keeps_what_it_wrote(evaluate, results, generated, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(1, patch, RuntimeError("a fault of ours"))
        with pytest.raises(RuntimeError, match="a fault of ours"):
            evaluate("fake/words")
    assert evaluate("fake/words").code == 0
    assert len(generated) == len(set(generated)) == 12


# ---------------------------------------------------------------------------------- other processes
SLOW = """
import sys, time
from judges.backends.fake import FakeLLM
from leaderboard.cli import main

complete = FakeLLM.complete_batch

def slow(self, requests):
    print(*(request.id for request in requests), file=log, flush=True)
    time.sleep(float(sys.argv[2]))
    return complete(self, requests)

FakeLLM.complete_batch = slow
log = open(sys.argv[1], "a")
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def start(tmp_path):
    """Starts a command line in a process of its own, its fake models slow; ends all at the end."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW, encoding="utf-8")
    root = Path(__file__).parents[1]
    running: list[subprocess.Popen[str]] = []

    def run(pause: float, *args: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, script, tmp_path / "asked.txt", str(pause), *args]
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def wait_for_lines(path: Path, n: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if path.is_file() and path.read_bytes().count(b"\n") >= n:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{path} never got {n} lines")


def test_a_killed_run_resumes_and_answers_nothing_twice(start, tmp_path, generated, leaderboard):
    results = tmp_path / "results"
    make_board(results / "toy", 40)
    command = ("eval", "fake/words", "--board", "toy", "--results", results)
    process = start(0.5, *command)
    outputs = results / "toy" / "words" / "outputs.jsonl"
    wait_for_lines(outputs, 1, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    held = [line["instruction_id"] for line in read_lines(outputs)]
    assert 0 < len(held) < 40
    run = leaderboard(*command)
    assert run.code == 0, run.err
    assert sorted([*held, *generated]) == [i.id for i in toy_instructions(40)]
    assert set(table_of(results)) == {"base", "words"}


def test_a_second_run_on_one_row_is_refused_and_the_first_goes_on(start, results, leaderboard):
    command = ("eval", "fake/words", "--board", "toy", "--results", results)
    first = start(1.0, *command)
    wait_for_lines(results / "toy" / "words" / "outputs.jsonl", 1, first)
    refused(leaderboard(*command), "another run is at work on", "--name")
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 0, errors
    assert set(table_of(results)) == {"base", "words"}


@pytest.mark.parametrize("board", ["toy", "starter"])
def test_of_two_runs_on_one_board_at_once_both_rows_land(board, start, results):
    """On `starter` both runs also make the board; on both they judge its controls."""
    processes = [
        start(0.0, "eval", model, "--board", board, "--results", results)
        for model in ("fake/words", "fake/echo")
    ]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    assert {"words", "echo"} < set(table_of(results, board))


@pytest.mark.parametrize(
    ("args", "goes_on"),
    [
        (("correlate", "t.csv:a", ":b"), False),
        (("agree",), False),
        (("agree", "--panel", "heuristic/random"), True),
    ],
)
def test_only_what_keeps_its_work_says_that_it_goes_on(
    leaderboard, tmp_path, monkeypatch, args, goes_on
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("model,a,b\nx,1,2\ny,2,1\nz,3,3\n")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("leaderboard.commands.agree.measure", interrupted)
    monkeypatch.setattr("leaderboard.commands.correlate.correlate", interrupted)
    run = leaderboard(*args)
    assert run.code == 130
    assert run.err.strip().endswith("goes on from there" if goes_on else ": interrupted")
