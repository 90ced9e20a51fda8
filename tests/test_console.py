from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import bad_answers, good_answers, write_answers

from leaderboard.commands import console
from leaderboard.commands.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(Console().track(range(3), 3, "answering")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("answering: 1/3, about ")
    assert len(lines) == 3


def test_what_is_done_in_an_instant_gets_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Console().track(range(3), 3, "answering")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar: Any = Console().track(range(3), 3, "answering")
    bar.delay, bar.mininterval = 0, 0
    assert list(bar) == [0, 1, 2]
    assert "answering: 100%" in terminal.getvalue()


def test_what_a_run_waits_for_stands_beside_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for _ in Console().track(range(3), 3, "answering"):
        Console().waiting("3 to be tried again")
    assert "answering" in terminal.getvalue()
    assert "3 to be tried again" in terminal.getvalue()
    assert "\n3 to be" not in terminal.getvalue()


def test_what_a_run_waits_for_is_a_line_now_and_then_where_there_is_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Console, "_last_waiting", -console.SECONDS_BETWEEN_LINES)
    for text in ("3 to be tried again", "2 to be tried again", ""):
        Console().waiting(text)
    assert capsys.readouterr().err == "3 to be tried again\n"


def test_a_note_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Console().note("first prompt: \x1b]0;title\x07 text")
    assert "\x1b" not in capsys.readouterr().err


def test_a_mistyped_model_stops_the_run_before_the_first_one(
    results: Path, tmp_path: Path, leaderboard: Any
) -> None:
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    run = leaderboard("eval", good, tmp_path / "gud.jsonl", "--board", "toy", "--results", results)
    assert run.code == 2
    assert "gud.jsonl: no such file" in run.err
    assert not (results / "toy" / "good").exists()


def test_the_cards_of_several_models_know_of_one_another(
    results: Path, tmp_path: Path, leaderboard: Any
) -> None:
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    bad = write_answers(tmp_path / "bad.jsonl", bad_answers())
    run = leaderboard("eval", good, bad, "--board", "toy", "--results", results)
    assert run.code == 0
    assert run.out.count("of 3") == 2


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["eval", "--limit", "ten", "x.jsonl"], "--limit"),
        (["eval", "--bord", "x"], "--bord"),
        (["eval", "--only", "genrate", "x.jsonl"], "'genrate'"),
        (["show", "starter", "--worst", "lazy", "3"], "--worst"),
        (["show", "starter", "--by", "categry"], "'categry'"),
        (["compare"], "Missing"),
        (["board", "new"], "Missing"),
        (["evl"], "known: eval, show"),
        (["board", "lst"], "known: board new"),
    ],
)
def test_a_slip_in_the_flags_is_told_in_one_line(
    leaderboard: Any, args: list[str], complaint: str
) -> None:
    run = leaderboard(*args)
    assert run.code == 2
    assert complaint in run.err
    assert len(run.err.splitlines()) == 1
    assert "None" not in run.err


def test_the_card_points_at_many_empty_answers(
    results: Path, tmp_path: Path, leaderboard: Any
) -> None:
    for name, texts in (("full", good_answers()), ("empty", [""] * 12)):
        file = write_answers(tmp_path / f"{name}.jsonl", texts)
        run = leaderboard("eval", file, "--board", "toy", "--results", results)
        assert ("many are empty or cut off" in run.out) == (name == "empty")
