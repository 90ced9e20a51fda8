"""`eval` end to end: answers in, verdicts, a summary and a row out, and nobody else's changed."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import bad_answers, good_answers, make_board, toy_instructions, write_answers

import leaderboard as herdbook
from judges.backends.base import Completion, Request
from judges.backends.fake import FakeLLM
from judges.base import Shown, Verdict
from judges.checklist import Checklist
from judges.errors import UserError
from judges.schema import Annotation, Instruction, Output
from leaderboard.results import Manifest, ModelInfo, Row
from leaderboard.standings import COLUMNS

FILES_DOC = Path(__file__).parents[1] / "docs" / "files.md"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def table_of(results: Path, board: str = "toy") -> dict[str, dict[str, str]]:
    with (results / board / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return {record["model"]: record for record in csv.DictReader(file)}


@pytest.fixture
def evaluate(results, leaderboard):
    """Runs `eval` on the toy board."""
    return lambda *args: leaderboard("eval", *args, "--board", "toy", "--results", results)


@pytest.fixture
def generated(monkeypatch) -> list[str]:
    """The ids of all requests that fake models are given from here on."""
    asked: list[str] = []
    complete = FakeLLM.complete_batch

    def counting(self: FakeLLM, requests: Sequence[Request]) -> list[Completion]:
        asked.extend(request.id for request in requests)
        return complete(self, requests)

    monkeypatch.setattr(FakeLLM, "complete_batch", counting)
    return asked


@pytest.fixture
def judged(monkeypatch) -> list[str]:
    """The ids of all comparisons with a live model's answers that the checklist judges."""
    asked: list[str] = []
    judge = Checklist.judge

    def counting(self: Checklist, shown: Sequence[Shown]) -> Iterator[Verdict]:
        asked.extend(v.comparison.id for v in shown if v.comparison.generator_2 == "words")
        return judge(self, shown)

    monkeypatch.setattr(Checklist, "judge", counting)
    return asked


# --------------------------------------------------------------------------------- answers files
def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    frame = pd.DataFrame(rows)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


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


def test_alpaca_evals_instruction_and_input_are_one_text(evaluate, results, tmp_path):
    rows = []
    for i in toy_instructions(12):
        first, _, second = i.text.partition(", ")
        rows.append({"instruction": first, "input": second, "output": "x"})
    run = evaluate(write_rows(tmp_path / "a.json", rows))
    assert run.code == 2
    assert "not on the board (12 of 12 rows are not)" in run.err  # joined by an empty line


def test_an_empty_csv_cell_is_an_empty_answer(evaluate, results, tmp_path):
    rows = [{"instruction_id": i.id, "output": ""} for i in toy_instructions(12)]
    run = evaluate(write_rows(tmp_path / "silent.csv", rows))
    assert run.code == 0, run.err
    assert read_json(results / "toy/silent/summary.json")["answers"]["n_empty"] == 12
    assert "12 empty" in run.out


def test_thinking_is_stored_apart_and_never_judged(evaluate, results, tmp_path, monkeypatch):
    seen: list[str] = []
    judge = Checklist.judge

    def watching(self: Checklist, shown: Sequence[Shown]) -> Iterator[Verdict]:
        for view in shown:
            seen.extend([view.first, view.second])
        return judge(self, shown)

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


def test_several_models_in_one_call(evaluate, results, tmp_path):
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    bad = write_answers(tmp_path / "bad.jsonl", bad_answers())
    run = evaluate(good, bad, "fake/echo")
    assert run.code == 0, run.err
    assert [run.out.count(f"{name} on toy (") for name in ("good", "bad", "echo")] == [1, 1, 1]
    table = table_of(results)
    assert set(table) == {"good", "base", "echo", "bad"}
    assert next(iter(table)) == "good"
    assert float(table["base"]["win_rate"]) == 0.5


def test_the_models_before_a_wrong_one_are_done(evaluate, results, tmp_path):
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    run = evaluate(good, tmp_path / "missing.jsonl")
    assert run.code == 2
    assert "missing.jsonl: no such file" in run.err
    assert set(table_of(results)) == {"good", "base"}


# ---------------------------------------------------------------------------------------- naming
def test_a_row_can_be_named(evaluate, results, tmp_path):
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    assert evaluate(good, "--name", "best-7B_v1.0+x").code == 0
    assert set(table_of(results)) == {"best-7B_v1.0+x", "base"}
    run = evaluate(good, good, "--name", "x")
    assert run.code == 2
    assert "--name goes with one model" in run.err


def test_a_row_cannot_take_a_references_name(evaluate, tmp_path):
    run = evaluate(write_answers(tmp_path / "base.jsonl", good_answers()))
    assert run.code == 2
    assert "is a reference of this board; choose another --name" in run.err


def test_group_is_written_and_changed_and_the_rest_of_model_toml_survives(
    evaluate, results, tmp_path
):
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    path = results / "toy" / "good" / "model.toml"
    evaluate(good, "--group", "dpo")
    assert tomllib.loads(path.read_text("utf-8"))["group"] == "dpo"
    text = path.read_text("utf-8").replace('link = ""', 'link = "https://example.org"')
    path.write_text("# mine\n" + text, encoding="utf-8")
    evaluate(good)
    assert path.read_text("utf-8") == "# mine\n" + text
    evaluate(good, "--group", "sft")
    info = tomllib.loads(path.read_text("utf-8"))
    assert (info["group"], info["link"]) == ("sft", "https://example.org")
    other = write_answers(tmp_path / "good.jsonl", bad_answers())
    assert evaluate(other, "--overwrite").code == 0
    assert tomllib.loads(path.read_text("utf-8"))["link"] == "https://example.org"
    assert table_of(results)["good"]["link"] == "https://example.org"


def test_overwriting_submitted_answers_by_generated_ones_shows_in_the_status(
    evaluate, results, tmp_path
):
    evaluate(write_answers(tmp_path / "words.jsonl", good_answers()))
    assert table_of(results)["words"]["status"] == "answers submitted"
    assert evaluate("fake/words", "--overwrite").code == 0
    assert table_of(results)["words"]["status"] == "generated by host"


# ------------------------------------------------------------------- stages, --limit, --overwrite
def test_a_limited_row_is_partial_and_the_full_run_takes_it_up(
    evaluate, results, generated, judged
):
    run = evaluate("fake/words", "--limit", "5")
    assert run.code == 0, run.err
    assert "partial: 5 of 12 instructions; not ranked" in run.out
    summary = read_json(results / "toy/words/summary.json")
    assert (summary["is_partial"], summary["answers"]["n"]) == (True, 5)
    assert summary["win_rate"]["n_items"] == 5
    assert set(table_of(results)) == {"base"}
    assert (len(generated), len(judged)) == (5, 5)
    evaluate("fake/words", "--limit", "5")
    assert (len(generated), len(judged)) == (5, 5)
    assert evaluate("fake/words").code == 0
    assert sorted(generated) == sorted({i.id for i in toy_instructions(12)})
    assert len(set(judged)) == len(judged) == 12
    assert set(table_of(results)) == {"base", "words"}
    evaluate("fake/words", "--name", "at-once")
    for file in ("outputs.jsonl", "annotations.jsonl"):
        text = (results / "toy" / "at-once" / file).read_text("utf-8")
        taken_up = (results / "toy" / "words" / file).read_text("utf-8")
        assert re.sub("at-once", "words", text) == taken_up
    run = evaluate("fake/words", "--limit", "5")
    assert run.code == 2
    assert "is complete already; leave --limit out" in run.err


def test_a_smaller_limit_throws_nothing_away(evaluate, results, generated, judged):
    evaluate("fake/words", "--limit", "9")
    evaluate("fake/words", "--limit", "4")
    assert read_json(results / "toy/words/summary.json")["verdicts"]["n"] == 4
    evaluate("fake/words", "--limit", "9")
    assert (len(generated), len(judged)) == (9, 9)


def test_a_limit_needs_only_so_many_answers_of_a_file(evaluate, results, tmp_path):
    board = herdbook.load_board("toy", results)
    some = {i.id for i in board.first(4)}
    rows = [{"instruction_id": i, "output": "x"} for i in some]
    path = write_rows(tmp_path / "some.jsonl", rows)
    assert evaluate(path, "--limit", "4").code == 0
    run = evaluate(path)
    assert run.code == 2
    assert "8 of 12 instructions have no answer" in run.err


@pytest.mark.parametrize("limit", ["0", "-3"])
def test_a_limit_is_positive(limit, evaluate):
    run = evaluate("fake/words", f"--limit={limit}")
    assert run.code == 2
    assert "a positive number is needed" in run.err


def test_generating_and_judging_on_two_machines(evaluate, results, leaderboard, tmp_path, judged):
    run = evaluate("fake/words", "--only", "generate")
    assert run.code == 0, run.err
    assert "judge them with --only judge" in run.out
    row = results / "toy" / "words"
    assert {path.name for path in row.iterdir()} == {
        ".lock", "manifest.json", "model.toml", "outputs.jsonl",
    }  # fmt: skip
    assert judged == []
    other = tmp_path / "other machine"
    make_board(other / "toy")
    shutil.copytree(row, other / "toy" / "words")
    run = leaderboard(
        "eval", "words", "--only", "judge", "--board", "toy", "--results", other
    )  # fmt: skip
    assert run.code == 0, run.err
    assert len(judged) == 12
    assert evaluate("fake/words", "--name", "at-once").code == 0
    there, here = (
        read_json(folder / "summary.json")
        for folder in (other / "toy/words", row.parent / "at-once")
    )
    assert there.pop("model") != here.pop("model")
    assert there == here
    info = tomllib.loads((other / "toy/words/model.toml").read_text("utf-8"))
    assert info["status"] == "generated by host"


def test_only_judge_takes_the_model_itself_too_and_does_not_run_it(evaluate, generated):
    evaluate("fake/words", "--only", "generate")
    generated.clear()
    assert evaluate("fake/words", "--only", "judge").code == 0
    assert generated == []


@pytest.mark.parametrize("model", ["ghost", "fake/words"])
def test_judging_without_answers_says_so(model, evaluate, results):
    run = evaluate(model, "--only", "judge")
    assert run.code == 2
    assert "answers" in run.err
    assert not list((results / "toy").glob("*/model.toml"))


@pytest.mark.parametrize("kind", ["file", "model"])
def test_the_same_name_with_another_fingerprint_is_refused(kind, evaluate, results, tmp_path):
    if kind == "file":
        evaluate(write_answers(tmp_path / "one.jsonl", good_answers()), "--name", "mine")
        other, part = write_answers(tmp_path / "two.jsonl", bad_answers()), "answers"
    else:
        evaluate("fake/words", "--name", "mine")
        other, part = "fake/echo", "name"
    before = files_of(results / "toy")
    run = evaluate(other, "--name", "mine")
    assert run.code == 2
    assert f"different: {part}" in run.err
    assert "--name" in run.err
    assert "--overwrite" in run.err
    assert files_of(results / "toy") == before
    assert evaluate(other, "--name", "mine", "--overwrite").code == 0
    after = table_of(results)["mine"]
    evaluate(other, "--name", "fresh")
    fresh = table_of(results)["fresh"]
    for column in ("win_rate", "low", "high", "n_wins", "mean_characters"):
        assert after[column] == fresh[column]


def test_the_same_answers_again_change_nothing(evaluate, results, tmp_path):
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    evaluate(good)
    before = files_of(results)
    assert evaluate(good).code == 0
    assert files_of(results) == before


def test_outputs_of_unknown_origin_are_not_taken_over(evaluate, results, tmp_path):
    evaluate("fake/words", "--only", "generate")
    (results / "toy" / "words" / "manifest.json").unlink()
    before = files_of(results / "toy" / "words")
    run = evaluate("fake/words")
    assert run.code == 2
    assert "no manifest.json that says what made it" in run.err
    assert files_of(results / "toy" / "words") == before
    assert evaluate("words", "--only", "judge").code == 0


def test_a_new_row_changes_no_other_rows_files_or_figures(evaluate, results, tmp_path):
    evaluate(write_answers(tmp_path / "good.jsonl", good_answers()), "fake/words")
    before, figures = files_of(results / "toy"), table_of(results)
    before.pop("leaderboard.csv")
    evaluate(write_answers(tmp_path / "bad.jsonl", bad_answers()), "fake/echo")
    after, later = files_of(results / "toy"), table_of(results)
    assert {name: after[name] for name in before} == before
    derived = {"rank", "rank_low", "rank_high", "tie_group"}
    for model, record in figures.items():
        for column in set(record) - derived:
            assert later[model][column] == record[column], (model, column)


# ------------------------------------------------------------------------------ missing verdicts
def record_verdicts(path: Path, skip: set[int], preference: float = 0.75) -> Path:
    lines = [
        {"instruction_id": f"toy-{k:02d}", "generator_1": "base", "generator_2": "good",
         "preference": None if k in skip and k % 2 else preference}
        for k in range(12) if not (k in skip and k % 2 == 0)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_missing_verdicts_are_counted_bounded_and_not_published(
    results, leaderboard, tmp_path, monkeypatch
):
    verdicts = record_verdicts(tmp_path / "people.jsonl", skip={2, 4, 7})
    run = leaderboard(
        "board", "new", "holes", "--from", "toy", "--judge", f"recorded/{verdicts}",
        "--results", results,
    )  # fmt: skip
    assert run.code == 0, run.err
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    run = leaderboard("eval", good, "--board", "holes", "--results", results)
    assert run.code == 3
    assert "judged: 9/12" in run.out
    assert "missing verdicts: 3" in run.out
    assert "not publishable and not ranked" in run.out
    assert "controls: none" in run.out
    summary = read_json(results / "holes/good/summary.json")
    rate = summary["win_rate"]
    assert (rate["n_judged"], rate["n_items"], rate["coverage"]) == (9, 12, 0.75)
    assert rate["value"] == pytest.approx(0.75)
    assert rate["bound_low"] == pytest.approx(9 * 0.75 / 12)
    assert rate["bound_high"] == pytest.approx((9 * 0.75 + 3) / 12)
    assert summary["verdicts"] == {
        "n": 12,
        "n_missing": 3,
        "errors": {"no verdict recorded": 2, "recorded as missing": 1},
    }
    assert summary["is_publishable"] is False
    record = table_of(results, "holes")["good"]
    assert (record["rank"], record["is_publishable"]) == ("", "False")


def test_one_missing_verdict_in_thirty_is_published(tmp_path, leaderboard):
    make_board(tmp_path / "toy", 30)
    lines = [
        {"instruction_id": f"toy-{k:02d}", "generator_1": "base", "generator_2": "good",
         "preference": 1.0}
        for k in range(29)
    ]  # fmt: skip
    path = write_rows(tmp_path / "people.jsonl", lines)
    flags = ("--from", "toy", "--judge", f"recorded/{path}", "--results", tmp_path)
    leaderboard("board", "new", "holes", *flags)
    good = write_answers(tmp_path / "good.jsonl", good_answers(30))
    run = leaderboard("eval", good, "--board", "holes", "--results", tmp_path)
    assert run.code == 0, run.err
    assert "judged: 29/30" in run.out
    assert table_of(tmp_path, "holes")["good"]["rank"] != ""


def test_missing_verdicts_are_asked_for_again_and_only_they(evaluate, results, monkeypatch):
    asked: list[str] = []
    failing = {"base:toy-01", "base:toy-08"}
    judge = Checklist.judge

    def flaky(self: Checklist, shown: Sequence[Shown]) -> Iterator[Verdict]:
        for view, verdict in zip(shown, judge(self, shown), strict=True):
            if view.comparison.generator_2 == "words":
                asked.append(view.comparison.id)
            fails = view.comparison.id in failing and view.comparison.generator_2 == "words"
            yield Verdict(None, "the judge was busy") if fails else verdict

    monkeypatch.setattr(Checklist, "judge", flaky)
    run = evaluate("fake/words")
    assert run.code == 3
    assert "the judge was busy: 2" in run.out
    assert len(asked) == 12
    asked.clear()
    left = set(failing)
    failing.clear()
    run = evaluate("fake/words")
    assert run.code == 0, run.err
    assert set(asked) == left
    lines = read_lines(results / "toy/words/annotations.jsonl")
    assert [line["comparison_id"] for line in lines] == [f"base:toy-{k:02d}" for k in range(12)]
    assert all("error" not in line for line in lines)


def test_a_verdict_on_another_text_is_asked_for_again(evaluate, results, judged):
    evaluate("fake/words")
    judged.clear()
    outputs = results / "toy/words/outputs.jsonl"
    lines = read_lines(outputs)
    lines[4]["text"] = "word4"  # as if another tool had answered anew
    outputs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert evaluate("words", "--only", "judge").code == 0
    assert judged == ["base:toy-04"]
    verdicts = read_lines(results / "toy/words/annotations.jsonl")
    assert [v["preference"] > 0.5 for v in verdicts] == [k == 4 for k in range(12)]


def test_verdicts_of_judges_that_are_not_on_the_panel_are_kept_and_not_counted(evaluate, results):
    evaluate("fake/words")
    path = results / "toy/words/annotations.jsonl"
    other = read_lines(path)[0] | {"annotator": "people", "preference": None, "error": "tired"}
    path.write_text(json.dumps(other) + "\n" + path.read_text("utf-8"), encoding="utf-8")
    before = (results / "toy/words/summary.json").read_bytes()
    run = evaluate("fake/words")
    assert run.code == 0, run.err
    assert (results / "toy/words/summary.json").read_bytes() == before
    assert len(read_lines(path)) == 13
    assert other in read_lines(path)


def test_a_recorded_board_names_the_command_for_a_live_one(results, leaderboard, tmp_path):
    verdicts = record_verdicts(tmp_path / "people.jsonl", skip=set())
    leaderboard("board", "new", "rec", "--from", "toy", "--judge", f"recorded/{verdicts}",
                "--results", results)  # fmt: skip
    run = leaderboard("eval", "fake/words", "--board", "rec", "--results", results)
    assert run.code == 2
    assert "leaderboard board new rec-live --from rec --judge JUDGE" in run.err
    assert not (results / "rec" / "words").exists()


# ------------------------------------------------------------------------------------ public API
def test_the_public_api_evaluates_loads_and_compares(results, tmp_path, capsys):
    for name, texts in (("good", good_answers()), ("bad", bad_answers())):
        path = write_answers(tmp_path / f"{name}.jsonl", texts)
        result = herdbook.evaluate(str(path), board="toy", results=results)
    assert result.row == "bad"
    assert result.is_publishable
    assert result.summary["win_rate"]["n_losses"] == 12
    assert all(control.passed for control in result.controls)
    assert set(result.standings.models) == {"good", "bad", "base"}
    assert "bad on toy" in result.card
    board = herdbook.load_board("toy", results)
    assert [i.id for i in board.instructions] == [i.id for i in toy_instructions(12)]
    pair = herdbook.compare("good", "bad", board=board)
    assert (pair.n, pair.n_wins, pair.n_losses) == (12, 12, 0)
    assert pair.is_separable
    assert pair.low > 0
    turned = herdbook.compare("bad", "good", board="toy", results=str(results))
    assert turned.difference == pytest.approx(-pair.difference)
    with pytest.raises(UserError, match="no row 'ugly'"):
        herdbook.compare("good", "ugly", board=board)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", ""), "only the command line prints"


def test_the_public_names_are_there():
    assert {"compare", "evaluate", "load_board"} <= set(herdbook.__all__)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = herdbook.evaluat


# ------------------------------------------------------------------------------------ docs/files.md
def documented(heading: str, nth: int = 0) -> list[str]:
    """The keys in the first column of a table under a heading, in order."""
    text = FILES_DOC.read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, heading
    tables = re.findall(r"(?:^\|.*\n)+", section[1], re.M)
    rows = tables[nth].splitlines()[2:]
    return [key for row in rows for key in re.findall(r"`([^`]+)`", row.split("|")[1])]


def fields_of(record: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(record)}


def test_the_documented_fields_are_the_fields():
    assert set(documented("Lines of evalset.jsonl")) == fields_of(Instruction)
    assert set(documented("Lines of outputs.jsonl and references/")) == fields_of(Output)
    assert set(documented("Lines of annotations.jsonl")) == fields_of(Annotation)
    assert set(documented("manifest.json")) == fields_of(Manifest)
    assert set(documented("model.toml")) == fields_of(ModelInfo)
    assert set(documented("Columns of leaderboard.csv")) == set(COLUMNS)


def test_summary_json_has_the_documented_keys(evaluate, results, tmp_path):
    evaluate(write_answers(tmp_path / "good.jsonl", good_answers()))
    rate_keys = documented("summary.json", 1)
    for path in ("good/summary.json", "controls/null/summary.json"):
        summary = read_json(results / "toy" / path)
        assert set(summary["categories"]) == {"even", "odd"}
        assert set(summary["judges"]) == {"checklist"}
        rates = [summary["win_rate"], *summary["categories"].values(), *summary["judges"].values()]
        for rate in rates:
            assert sorted(rate) == sorted(rate_keys)
        found = []
        for key, value in summary.items():
            if key in ("board", "verdicts", "answers"):
                found += [f"{key}.{inner}" for inner in value]
            elif key in ("categories", "judges"):
                found.append(
                    {"categories": "categories.<category>", "judges": "judges.<judge>"}[key]
                )
            else:
                found.append(key)
        assert found == documented("summary.json")


def test_board_and_panel_toml_have_the_documented_keys(results):
    table = tomllib.loads((results / "toy" / "board.toml").read_text("utf-8"))
    optional = {"generation.top_p", "generation.top_k", "generation.repetition_penalty"}
    found = set()
    for key, value in table.items():
        inner = [f"{key}.{k}" for k in value] if isinstance(value, dict) else [key]
        found |= set(inner)
    assert found | optional == set(documented("board.toml"))
    panel = tomllib.loads((results / "toy" / "panel.toml").read_text("utf-8"))
    assert set(panel) | {"aggregate"} == set(documented("panel.toml"))


def test_the_files_of_an_evaluation_are_the_documented_ones(evaluate, results, tmp_path):
    evaluate(write_answers(tmp_path / "good.jsonl", good_answers()))
    layout = documented("The layout")
    for name in files_of(results / "toy"):
        if name.endswith(".lock"):
            continue
        pattern = "<board>/" + re.sub(r"^good/", "<model>/", name)
        pattern = re.sub(r"references/.*\.jsonl", "references/<name>.jsonl", pattern)
        pattern = re.sub(r"controls/.*", "controls/<control>/", pattern)
        assert pattern in layout, name


def test_files_hold_no_times_and_rows_do_not_name_the_machine(evaluate, results, tmp_path):
    evaluate(write_answers(tmp_path / "good.jsonl", good_answers()))
    for name, content in files_of(results / "toy").items():
        assert str(tmp_path).encode() not in content, name


def test_a_row_without_a_model_toml_is_named_after_its_folder(tmp_path):
    assert Row(tmp_path / "org__model").info().name == "org/model"
