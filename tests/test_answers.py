"""Files of answers: every format that is taken, and each fault told with its place."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from conftest import (
    good_answers,
    make_board,
    read_json,
    read_lines,
    refused,
    toy_instructions,
    write_answers,
    write_rows,
)

from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.kinds.checklist import Checklist
from judges.schema import Message


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("key", ["instruction_id", "instruction"])
def test_answers_of_every_format_by_id_and_by_text(suffix, key, evaluate, results, tmp_path):
    instructions = toy_instructions(12)[::-1]  # in any order
    rows = [
        {key: i.id if key == "instruction_id" else i.text, "output": i.gold_answer,
         "generator": "meta/Some Model", "dataset": "x"}
        for i in instructions
    ]  # fmt: skip
    run = evaluate(write_rows(tmp_path / f"answers{suffix}", rows))
    assert run.code == 0, run.err
    row = results / "toy" / "meta__Some-Model"
    texts = {line["instruction_id"]: line["text"] for line in read_lines(row / "outputs.jsonl")}
    assert texts == {i.id: i.gold_answer for i in instructions}
    assert {line["generator"] for line in read_lines(row / "outputs.jsonl")} == {row.name}
    assert read_json(row / "summary.json")["win_rate"]["n_wins"] == 12
    assert tomllib.loads((row / "model.toml").read_text("utf-8"))["status"] == "answers submitted"


def test_without_a_generator_the_row_has_the_files_name(evaluate, results, tmp_path):
    assert evaluate(write_answers(tmp_path / "My answers.jsonl", good_answers())).code == 0
    assert (results / "toy" / "My-answers" / "summary.json").is_file()


def test_alpaca_evals_instruction_and_input_are_joined_by_an_empty_line(
    results, leaderboard, tmp_path
):
    instructions = [
        replace(i, messages=(Message("user", f"Sum up.\n\nText {i.id}"),))
        for i in toy_instructions(3)
    ]
    make_board(results / "sums", instructions)
    rows = [
        {"instruction": "Sum up.", "input": f"Text toy-{k:02d}", "output": str(k)} for k in range(3)
    ]
    answers = write_rows(tmp_path / "a.json", rows)
    run = leaderboard("eval", answers, "--board", "sums", "--results", results)
    assert run.code == 0, run.err
    texts = [line["text"] for line in read_lines(results / "sums" / "a" / "outputs.jsonl")]
    assert texts == ["0", "1", "2"]


def test_an_empty_csv_cell_is_an_empty_answer(evaluate, results, tmp_path):
    rows = [{"instruction_id": i.id, "output": ""} for i in toy_instructions(12)]
    run = evaluate(write_rows(tmp_path / "silent.csv", rows))
    assert run.code == 0, run.err
    assert read_json(results / "toy/silent/summary.json")["answers"]["n_empty"] == 12
    assert "12 empty" in run.out


def test_thinking_is_stored_apart_and_never_judged(evaluate, results, tmp_path, monkeypatch):
    seen: list[str] = []
    judge = Checklist.judge

    def watching(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        for view in shown:
            seen.extend([view.first, view.second])
        return judge(self, shown, caller, task)

    monkeypatch.setattr(Checklist, "judge", watching)
    texts = [f"<think>Secret plan {k}.</think>\n\nword{k}" for k in range(11)]
    unfinished = "<think>Secret plan 11, and still thinking about word11"
    assert evaluate(write_answers(tmp_path / "thinker.jsonl", [*texts, unfinished])).code == 0
    lines = read_lines(results / "toy" / "thinker" / "outputs.jsonl")
    assert [line["text"] for line in lines] == [*good_answers()[:11], ""]
    assert [line["reasoning"].startswith("Secret plan") for line in lines] == [True] * 12
    assert seen
    assert not any("Secret" in text for text in seen)
    assert read_json(results / "toy/thinker/summary.json")["win_rate"]["n_wins"] == 11


ROWS = [{"instruction_id": f"toy-{k:02d}", "output": f"word{k}"} for k in range(12)]


@pytest.mark.parametrize("generator", ["../../etc/passwd", "a\nb", "\x1b[2Jred", "a b"])
def test_a_files_generator_becomes_a_safe_name_inside_the_board(
    generator, evaluate, results, tmp_path
):
    rows = [{**row, "generator": generator} for row in ROWS]
    before = set(results.iterdir())
    run = evaluate(write_rows(tmp_path / "answers.json", rows))
    assert run.code == 0, run.err
    assert "\x1b" not in run.out
    assert set(results.iterdir()) == before
    (row,) = (results / "toy").glob("*/outputs.jsonl")
    assert row.parent.name in {"etc__passwd", "a-b", "2Jred"}


# ------------------------------------------------------------------------------------ what is wrong
LINES = [json.dumps(row) + "\n" for row in ROWS]


TEXT = toy_instructions(1)[0].text


BAD_FILES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "missing instruction": (".jsonl", "".join(LINES[:-1]), ("1 of 12 instructions", "toy-11")),
    "neither id nor text": (".json", json.dumps([{"output": "x"}]), ("row 1: neither `instr",)),
    "doubled id": (".jsonl", "".join([*LINES, LINES[3]]), ("line 13: a second answer", "toy-03")),
    "doubled by id and text": (
        ".jsonl",
        "".join([*LINES, json.dumps({"instruction": TEXT, "output": "x"}) + "\n"]),
        ("line 13: a second answer", "toy-00"),
    ),
    "unknown column": (".jsonl", LINES[0].replace("output", "outptu"), ("column 'outptu'; known",)),
    "unknown CSV column": (".csv", "instruction_id,outputs\na,b\n", ("line 2", "'outputs'; known")),
    "missing output": (".jsonl", '{"instruction_id": "toy-00"}\n', ("line 1: `output` must be",)),
    "null output": (".jsonl", '{"instruction_id": "toy-00", "output": null}', ("not None",)),
    "output that is a list": (".json", '[{"instruction_id": "a", "output": []}]', ("row 1", "[]")),
    "reasoning that is a number": (
        ".jsonl", '{"instruction_id": "toy-00", "output": "x", "reasoning": 3}', ("`reasoning`",)
    ),
    "empty file": (".jsonl", "", ("the file is empty",)),
    "blank file": (".jsonl", "\n \n", ("there are no rows",)),
    "header only": (".csv", "instruction_id,output\n", ("there are no rows",)),
    "empty list": (".json", "[]", ("there are no rows",)),
    "empty Parquet": (".parquet", "", ("the file is empty",)),
    "broken JSON": (".json", '[\n{"output": "a"},\n{"output" "b"}]', ("not valid JSON", "line 3")),
    "broken JSON on line 2": (".jsonl", LINES[0] + '{"a": \n' + LINES[1], ("line 2: not valid",)),
    "deep JSON": (".json", "[" * 100_000, ("not valid JSON",)),
    "JSON that is no list": (".json", '{"output": "x"}', ("a JSON list of objects",)),
    "a line that is no object": (".jsonl", "[1]\n", ("line 1: a JSON object was expected",)),
    "ragged CSV": (".csv", "instruction_id,output\ntoy-00,a,b\n", ("line 2: 2 cells",)),
    "open quote in CSV": (".csv", 'instruction_id,output\ntoy-00,"a\n', ("near line",)),
    "doubled CSV column": (".csv", "output,output\na,b\n", ("two columns have one name",)),
    "broken Parquet": (".parquet", "PAR1 not really", ("not a readable Parquet file",)),
    "half a character": (".jsonl", '{"output": "\\ud83d"}\n', ("line 1: half of a surrogate",)),
    "another eval set": (
        ".jsonl",
        "".join(LINES) + '{"instruction": "Something else?", "output": "x"}\n',
        ("line 13: this instruction is not on the board (1 of 13 rows", "another eval set"),
    ),
    "other ids": (
        ".jsonl", '{"instruction_id": "alpaca-1", "output": "x"}\n', ("1 of 1 rows are not",)
    ),
    "several generators": (
        ".json",
        json.dumps([{**row, "generator": f"m{k}"} for k, row in enumerate(ROWS)]),
        ("answers of several generators (m0, m1, m10)",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_answers_file_is_refused_with_the_place(what, evaluate, results, tmp_path):
    suffix, content, complaints = BAD_FILES[what]
    path = tmp_path / f"bad{suffix}"
    path.write_text(content, encoding="utf-8")
    refused(evaluate(path), str(path), *complaints)
    assert not (results / "toy" / "bad").exists()


def test_text_that_is_not_utf_8_is_refused(evaluate, tmp_path):
    for suffix, content in ((".csv", b"instruction_id,output\ntoy-00,caf\xe9\n"),
                            (".jsonl", b'{"output": "caf\xe9"}\n')):  # fmt: skip
        path = tmp_path / f"latin{suffix}"
        path.write_bytes(content)
        refused(evaluate(path), "latin", "line")


def test_two_instructions_of_one_text_need_ids(tmp_path, leaderboard):
    turns = [[{"role": "user", "content": start}, {"role": "assistant", "content": "?"},
              {"role": "user", "content": "And now?"}] for start in "ab"]  # fmt: skip
    prompts = write_rows(tmp_path / "prompts.json", [{"messages": m} for m in turns])
    flags = ("--reference", "fake/echo", "--judge", "heuristic/random", "--results", tmp_path)
    assert leaderboard("board", "new", "twins", "--prompts", prompts, *flags).code == 0
    answers = write_rows(tmp_path / "a.json", [{"instruction": "And now?", "output": "x"}])
    run = leaderboard("eval", answers, "--board", "twins", "--results", tmp_path)
    refused(run, "row 1: several instructions have this text; give `instruction_id`")


def test_a_rows_own_outputs_are_an_answers_file(results, add_row, tmp_path, leaderboard):
    add_row("mine", good_answers())
    own = results / "toy/mine/outputs.jsonl"
    run = leaderboard("eval", own, "--name", "again", "--board", "toy", "--results", results)
    assert run.code == 0, run.err
    lines = [json.loads(line) for line in own.read_text("utf-8").splitlines()]
    other = write_rows(tmp_path / "other.jsonl", [line | {"prompt": "0" * 16} for line in lines])
    refused(leaderboard("eval", other, "--board", "toy", "--results", results), "another prompt")
    short = write_rows(tmp_path / "short.jsonl", [line | {"length": 9} for line in lines])
    refused(leaderboard("eval", short, "--board", "toy", "--results", results), "only the length")
