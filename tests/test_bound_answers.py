"""The answers of a row are those that were stored: what was changed by hand since is not judged, and
the check of the board finds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import (
    edit_json,
    good_answers,
    read_json,
    read_lines,
    refused,
    write_answers,
    write_rows,
)

from leaderboard.rows.results import Row

CHANGED = "these are not the answers that manifest.json names"


@pytest.fixture(params=["a model", "a file"])
def given(request, evaluate, tmp_path) -> str:
    """What `eval` is given to make the row `words`, which is there."""
    is_model = request.param == "a model"
    words = (
        "fake/words" if is_model else str(write_answers(tmp_path / "words.jsonl", good_answers()))
    )
    assert evaluate(words).code == 0
    return words


def change(results: Path, at: int = 3) -> Path:
    """Has one of the stored answers say something else."""
    path = results / "toy/words/outputs.jsonl"
    lines = read_lines(path)
    lines[at]["text"] = "something else altogether"
    return write_rows(path, lines)


def check(leaderboard, results):
    return leaderboard("board", "check", "toy", "--results", results)


def test_changed_answers_are_not_judged(given, evaluate, results, judged):
    change(results)
    judged.clear()
    refused(evaluate("words", "--only", "judge"), CHANGED, "--overwrite", "--name NAME")
    assert judged == []


def test_the_check_finds_changed_answers_that_no_verdict_is_on(given, leaderboard, results):
    """Verdicts say on which texts they are only from some time on."""
    assert check(leaderboard, results).code == 0
    change(results)
    verdicts = results / "toy/words/annotations.jsonl"
    write_rows(
        verdicts,
        [{k: v for k, v in line.items() if k != "digest"} for line in read_lines(verdicts)],
    )
    run = check(leaderboard, results)
    assert run.code == 3
    assert re.search(r"WRONG words: .*its answers are not those that were stored", run.out)


def test_the_answers_are_put_right_by_what_made_them(given, evaluate, results, leaderboard):
    path = results / "toy/words/outputs.jsonl"
    whole = path.read_bytes()
    change(results)
    assert evaluate(given, "--overwrite").code == 0
    assert path.read_bytes() == whole
    assert check(leaderboard, results).code == 0


def test_a_model_does_not_go_on_with_changed_answers(evaluate, results, generated):
    evaluate("fake/words", "--limit", "5")
    change(results)
    generated.clear()
    refused(evaluate("fake/words"), CHANGED)
    assert generated == []


def test_changed_answers_are_a_row_of_their_own(given, evaluate, results, leaderboard):
    changed = change(results)
    assert evaluate(changed, "--name", "mine").code == 0
    assert "WRONG mine" not in check(leaderboard, results).out


def test_a_part_is_bound_and_the_whole_after_it(evaluate, results, leaderboard):
    for limit in (["--limit", "5"], []):
        assert evaluate("fake/words", *limit).code == 0
        row = Row(results / "toy/words")
        assert row.manifest().stored.n == len(row.outputs()) == (5 if limit else 12)
        assert row.manifest().names(row.outputs())
        assert evaluate("words", "--only", "judge", *limit).code == 0
        assert check(leaderboard, results).code == 0


def test_while_answers_come_none_is_bound(evaluate, results, monkeypatch):
    """As a killed run leaves it: more answers than were bound before."""
    evaluate("fake/words", "--limit", "5")
    stopped = RuntimeError("killed")

    def end(*_: object) -> None:
        raise stopped

    monkeypatch.setattr("leaderboard.answers.generate._write", end)
    with pytest.raises(RuntimeError):
        evaluate("fake/words")
    assert read_json(results / "toy/words/manifest.json")["stored"] is None
    monkeypatch.undo()


def test_a_row_of_an_earlier_version_is_judged_as_ever(evaluate, results, leaderboard):
    evaluate("fake/words")
    path = results / "toy/words/manifest.json"
    edit_json(path, stored=None)
    assert evaluate("words", "--only", "judge").code == 0
    assert check(leaderboard, results).code == 0
    assert evaluate("fake/words").code == 0
    assert read_json(path)["stored"]["n"] == 12


def test_a_rejudge_leaves_changed_answers_out(evaluate, results, leaderboard, tmp_path):
    evaluate("fake/words", write_answers(tmp_path / "good.jsonl", good_answers()))
    change(results)
    run = leaderboard("rejudge", "toy", "--judge", "heuristic/shortest", "--results", results)
    assert run.code == 0, run.err
    assert "not compared: words: " in run.out
    assert CHANGED in run.out
