"""Files of a board torn by a kill or edited by hand: made anew, or refused with the place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from conftest import (
    make_board,
    refused,
    table_of,
)

import leaderboard as herdbook
from leaderboard.boards.board import load_board
from leaderboard.rows.standings import standings


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A results folder with the board toy and the row `words` on it."""
    folder = tmp_path_factory.mktemp("done")
    make_board(folder / "toy")
    herdbook.evaluate("fake/words", board="toy", results=folder)
    return folder


@pytest.fixture
def results(done, tmp_path) -> Path:
    """A copy of `done` to change."""
    return Path(shutil.copytree(done, tmp_path / "results"))


@pytest.mark.parametrize("torn", ['{"instruction_id": "toy-0', "{", '{"a": "\xe4'])
def test_a_torn_last_line_of_outputs_is_written_anew(torn, evaluate, results, generated):
    path = results / "toy/words/outputs.jsonl"
    whole = path.read_bytes()
    kept = b"".join(whole.splitlines(keepends=True)[:9])
    path.write_bytes(kept + torn.encode()[:-1])
    run = evaluate("fake/words")
    assert run.code == 0, run.err
    assert sorted(generated) == ["toy-09", "toy-10", "toy-11"]
    assert path.read_bytes() == whole


def test_a_torn_last_line_of_annotations_is_judged_anew(evaluate, results):
    path = results / "toy/words/annotations.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert evaluate("fake/words").code == 0
    assert path.read_bytes() == whole


def test_judging_torn_outputs_says_what_is_missing(evaluate, results):
    path = results / "toy/words/outputs.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    refused(evaluate("words", "--only", "judge"), "1 of 12 instructions have no answer (toy-11)")


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("outputs.jsonl", '{"instruction_id": "toy-00"}\n', "outputs.jsonl, line 1: generator"),
        ("outputs.jsonl", "{]\n", "outputs.jsonl, line 1: not valid JSON"),
        ("annotations.jsonl", '{"verdict": 1}\n', "line 1: unknown field 'verdict'"),
        ("annotations.jsonl", '{"preference": 7}\n', "line 1: preference 7 is not in 0..1"),
        ("annotations.jsonl", '{"order": "up"}\n', "line 1: order 'up' is not one of"),
        ("annotations.jsonl", '{"order": "none"}\n', "line 1: an annotation needs"),
        ("manifest.json", "[]", "manifest.json: no JSON object of schema_version 1"),
        ("model.toml", "name = ", "model.toml: not valid TOML"),
        ("model.toml", 'name = "x"\nlicence = "MIT"\n', "model.toml: licence"),
    ],
)
def test_a_row_edited_by_hand_is_refused_with_the_place(
    file, content, complaint, evaluate, results
):
    (results / "toy" / "words" / file).write_text(content, encoding="utf-8")
    refused(evaluate("fake/words"), complaint)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema_version": 1}'])
def test_a_broken_summary_harms_no_other_row_and_is_made_anew_by_its_own_run(
    content, evaluate, results
):
    path = results / "toy" / "words" / "summary.json"
    whole = path.read_bytes()
    path.write_text(content, encoding="utf-8")
    run = evaluate("fake/echo")
    assert run.code == 0, run.err
    assert set(table_of(results)) == {"base", "echo"}
    assert str(path) in standings(load_board("toy", results)).left_out["words"]
    assert evaluate("fake/words").code == 0
    assert path.read_bytes() == whole
    assert set(table_of(results)) == {"base", "words", "echo"}


@pytest.mark.parametrize(
    ("file", "content", "place"),
    [
        ("words/annotations.jsonl", "{]\n", "annotations.jsonl, line 1: not valid JSON"),
        ("words/summary.json", "{\n  ]", "summary.json: not valid JSON (Expecting property name"),
        ("controls/null/annotations.jsonl", "{]\n", "null/annotations.jsonl, line 1"),
    ],
)
def test_a_broken_file_of_a_row_says_what_to_delete_and_what_to_run(
    file, content, place, results, leaderboard
):
    path = results / "toy" / file
    whole = path.read_bytes()
    path.write_text(content, encoding="utf-8")
    if path.parent.parent.name == "controls":
        (path.parent / "summary.json").unlink()
    run = leaderboard("eval", "words", "--only", "judge", "--board", "toy", "--results", results)
    told = run.err
    if file.endswith("summary.json"):  # its own run makes it anew
        assert run.code == 0, run.err
        path.write_text(content, encoding="utf-8")
        told = standings(load_board("toy", results)).left_out["words"]
    assert place in told
    deleted, command = re.search(r"Delete (\S+), and run: leaderboard (.*)", told).groups()
    target = Path(deleted)
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    run = leaderboard(*command.split())
    assert run.code == 0, run.err
    assert path.read_bytes() == whole


def test_a_board_edited_by_hand_is_refused_and_its_rows_stay(evaluate, results):
    row = {path: path.read_bytes() for path in (results / "toy" / "words").iterdir()}
    path = results / "toy" / "references" / "base.jsonl"
    text = path.read_text("utf-8")
    path.write_text(text.replace("The word", "Our word", 1), encoding="utf-8")
    refused(
        evaluate("fake/echo"), "changed", "references/", "leaderboard board new NAME --from toy"
    )
    assert {path: path.read_bytes() for path in row} == row
    path.write_text(text, encoding="utf-8")
    assert evaluate("fake/echo").code == 0
    assert {"words", "echo"} < set(table_of(results))
