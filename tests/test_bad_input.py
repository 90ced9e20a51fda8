"""Names, paths and boards that are wrong get a clear error on the command line."""

from __future__ import annotations

import pytest
from conftest import (
    good_answers,
    refused,
    write_answers,
)

ESCAPE = "\x1b[2J"


@pytest.mark.parametrize(
    "name",
    ["a/b", "../up", "/abs", "a\\b", "a b", "a\nb", ESCAPE, "\u202ereversed", "..", ".", "",
     "controls", "References", "-dash", "x" * 97],
)  # fmt: skip
def test_unusable_row_names_are_refused(name, evaluate, results, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    answers = write_answers(tmp_path / "good.jsonl", good_answers())
    run = evaluate(answers, f"--name={name}")
    refused(run, "--name")
    assert ESCAPE not in run.err
    assert "\u202e" not in run.err
    assert sorted(tmp_path.rglob("*")) == sorted([*before, answers])


@pytest.mark.parametrize("name", ["../toy", "a/b", ESCAPE, "x" * 300, "."])
def test_unusable_board_names_are_refused(name, results, leaderboard, tmp_path):
    answers = write_answers(tmp_path / "good.jsonl", good_answers())
    run = leaderboard("eval", answers, f"--board={name}", "--results", results)
    refused(run, "the board's name")
    assert ESCAPE not in run.err


def test_a_group_with_control_characters_is_refused(evaluate):
    run = evaluate("fake/words", f"--group={ESCAPE}")
    refused(run, "--group")
    assert ESCAPE not in run.err


MODELS = {
    "nothing.jsonl": "no such file",
    "nowhere": "no such file or folder",
    "fake/nothing": "unknown model 'fake/nothing'",
    "notes.txt": "unknown format; answers files are .json, .jsonl, .csv, .parquet",
}


@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_is_not_there_is_refused(model, evaluate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    refused(evaluate(model), MODELS[model])


def test_no_model_at_all_is_refused(evaluate):
    refused(evaluate(), "name a model, a folder or a file of answers")


def test_an_unknown_board_is_refused_with_those_that_there_are(results, leaderboard):
    run = leaderboard("eval", "fake/echo", "--board", "tyo", "--results", results)
    refused(run, "there is no board 'tyo'", "starter, toy", "leaderboard board new tyo")


def test_a_results_folder_that_is_a_file_is_refused(tmp_path, leaderboard):
    path = tmp_path / "results"
    path.write_text("x", encoding="utf-8")
    for command in (("eval", "fake/echo"), ("board", "new", "b", "--from", "starter")):
        refused(leaderboard(*command, "--results", path), "a file stands where a folder is needed")
