"""What is stored is bound to what it was made of: answers to prompts, figures to verdicts, controls
to their texts; and what does not follow is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    LONGEST,
    bad_answers,
    files_of,
    good_answers,
    make_board,
    mixed_answers,
    read_json,
    read_lines,
    refused,
    table_of,
    toy_instructions,
    write_answers,
    write_rows,
)

import leaderboard as herdbook
from judges.backends.fake import FakeLLM
from judges.backends.opening import open_model
from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.kinds.checklist import Checklist
from judges.kinds.heuristic import Heuristic
from judges.schema import Message, Output
from leaderboard.answers.models import LanguageModel, resolve
from leaderboard.boards.board import load_board
from leaderboard.judging import controls
from leaderboard.judging.controls import CONTROLS, control_results, describe_controls, run_controls
from leaderboard.judging.judging import judge_row
from leaderboard.rows.results import Row
from leaderboard.rows.standings import standings
from leaderboard.rows.summary import summarise
from leaderboard.user_files import check_name
from leaderboard.watch import SILENT


def edit_lines(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    write_rows(path, [change(line) for line in read_lines(path)])


# ---------------------------------------------------------------------------- answers and prompts
@pytest.fixture
def others(results, evaluate) -> Path:
    """A board `others` with the ids of toy and other prompts, onto which a row was copied."""
    evaluate("fake/words")
    asked = [replace(i, messages=(Message("user", f"Now {i.text}"),)) for i in toy_instructions(12)]
    make_board(results / "others", asked)
    shutil.copytree(results / "toy" / "words", results / "others" / "words")
    return results


def test_every_stored_answer_names_its_prompt(results, evaluate, tmp_path):
    evaluate("fake/words", write_answers(tmp_path / "good.jsonl", good_answers()))
    expected = [i.digest for i in toy_instructions(12)]
    for row in ("words", "good"):
        lines = read_lines(results / "toy" / row / "outputs.jsonl")
        assert [line["prompt"] for line in lines] == expected


@pytest.mark.parametrize("args", [("fake/words",), ("words", "--only", "judge")])
def test_answers_to_other_prompts_are_refused(others, leaderboard, args):
    before = files_of(others / "others")
    run = leaderboard("eval", *args, "--board", "others", "--results", others)
    refused(run, "12 answers were given to other prompts", "toy-00", "--overwrite")
    assert files_of(others / "others") == before


def test_answers_to_other_prompts_are_overwritten_and_only_they(others, leaderboard, generated):
    path = others / "others" / "words" / "outputs.jsonl"
    own = {i.id: i.digest for i in load_board("others", others).instructions}
    edit_lines(
        path,
        lambda line: (
            {**line, "prompt": own[line["instruction_id"]]}
            if line["instruction_id"] == "toy-03"
            else line
        ),
    )
    flags = ("--board", "others", "--results", others)
    assert leaderboard("eval", "fake/words", *flags, "--overwrite").code == 0
    assert sorted(generated) == sorted(set(own) - {"toy-03"})
    assert {line["instruction_id"]: line["prompt"] for line in read_lines(path)} == own
    assert leaderboard("eval", "fake/words", *flags).code == 0


def test_answers_that_name_no_prompt_stay_readable(results, evaluate, generated):
    evaluate("fake/words")
    generated.clear()
    path = results / "toy" / "words" / "outputs.jsonl"
    edit_lines(path, lambda line: {k: v for k, v in line.items() if k != "prompt"})
    assert evaluate("fake/words").code == 0
    assert generated == []


# --------------------------------------------------------------------------- figures and verdicts
@pytest.fixture
def checked(results, leaderboard, evaluate, tmp_path) -> Callable[[], Any]:
    """Runs `board check` on toy with the rows `good` and `mixed` on it."""
    evaluate(
        write_answers(tmp_path / "good.jsonl", good_answers()),
        write_answers(tmp_path / "mixed.jsonl", mixed_answers(6)),
    )
    return lambda: leaderboard("board", "check", "toy", "--results", results)


def test_the_check_of_a_sound_board_finds_nothing(checked, evaluate):
    evaluate("fake/words", "--limit", "5")
    run = checked()
    assert (run.code, "WRONG" in run.out) == (0, False), run.out


@pytest.mark.parametrize("row", ["mixed", "controls/null"])
@pytest.mark.parametrize("key", ["win_rate", "judges", "categories"])
def test_the_check_finds_an_embellished_summary(checked, results, row, key):
    path = results / "toy" / row / "summary.json"
    summary = read_json(path)
    rate = summary[key] if key == "win_rate" else next(iter(summary[key].values()))
    rate["value"] = rate["value"] + 0.01
    path.write_text(json.dumps(summary), encoding="utf-8")
    run = checked()
    assert run.code == 3
    name = row.replace("controls/", "control ")
    assert f"WRONG {name}: the summary's {key} do not follow" in run.out
    assert run.out.count("WRONG") == 1


def test_the_check_finds_answers_that_were_changed_after_the_verdicts(checked, results):
    edit_lines(results / "toy/mixed/outputs.jsonl", lambda line: {**line, "text": "word1"})
    run = checked()
    assert run.code == 3
    assert "11 verdicts are on other texts than the answers" in run.out


def test_the_check_names_a_row_that_cannot_be_read(checked, results):
    (results / "toy/mixed/outputs.jsonl").write_text("{]\n", encoding="utf-8")
    run = checked()
    assert run.code == 3
    assert "WRONG mixed: " in run.out
    assert "line 1: not valid JSON" in run.out


def test_table_and_categories_agree_when_a_verdict_is_lost(checked, results, show):
    path = results / "toy/good/annotations.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    (record,) = [r for r in json.loads(show("--format", "json")) if r["model"] == "good"]
    by_category = json.loads(show("--format", "json", "--by", "category"))
    judged = sum(r["n_judged"] for r in by_category if r["model"] == "good")
    assert record["n_judged"] == judged == 11
    assert record["is_publishable"] is False
    assert checked().code == 3


@pytest.mark.parametrize("file", ["summary.json", "model.toml", "annotations.jsonl"])
def test_a_row_of_another_shape_is_left_out_with_the_reason(checked, results, show, file):
    content = {"summary.json": '{"schema_version": 1}'}.get(file, "{]\n")
    (results / "toy" / "mixed" / file).write_text(content, encoding="utf-8")
    table = standings(load_board("toy", results))
    assert set(table.frame["model"]) == {"good", "base"}
    assert file in table.left_out["mixed"]
    assert file in show()
    assert checked().code == 3


def test_a_rate_without_a_verdict_is_the_same_in_memory_and_in_the_file(
    results, evaluate, monkeypatch
):
    def silent(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        return (Verdict(None, "asleep") for _ in shown)

    monkeypatch.setattr(Checklist, "judge", silent)
    result = herdbook.evaluate("fake/words", board="toy", results=results)
    assert result.summary == read_json(results / "toy/words/summary.json")
    assert result.summary["win_rate"]["value"] is None
    assert "win rate: none, no verdict is there" in result.card
    assert "nan" not in result.card


@pytest.mark.parametrize("aggregate", ["mean", "majority"])
def test_one_judge_has_the_bounds_of_a_panel_of_it(tmp_path, monkeypatch, aggregate):
    board = make_board(tmp_path / "toy", 12, {**LONGEST, "aggregate": aggregate})
    judge = Heuristic.judge

    def half(
        self: Heuristic, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        for view, verdict in zip(shown, judge(self, shown, caller, task), strict=True):
            lost = view.instruction.id == "toy-03" and view.order == "swapped"
            yield Verdict(None, "asleep") if lost else verdict

    monkeypatch.setattr(Heuristic, "judge", half)
    monkeypatch.setattr(Heuristic, "sees_order", True)
    outputs = {
        i.id: Output(instruction_id=i.id, generator="m", text=text)
        for i, text in zip(board.instructions, bad_answers(), strict=True)
    }
    row = Row(board.path / "m")
    judge_row(board, row, board.comparisons(board.instructions, outputs, "m"), SILENT)
    summary = summarise(board, row, board.instructions, outputs)
    assert summary["win_rate"]["n_judged"] == 11
    assert summary["win_rate"]["bound_low"] < summary["win_rate"]["bound_high"]
    assert summary["judges"] == {board.panel.names[0]: summary["win_rate"]}


# ------------------------------------------------------------------------------------ the controls
def test_controls_of_other_texts_are_judged_again(results, monkeypatch):
    board = load_board("toy", results)
    before = run_controls(board, SILENT)
    monkeypatch.setattr(controls, "NULL_ANSWER", "word0 and word1 and word2")
    board = load_board("toy", results)  # as another version would
    assert [r.name for r in control_results(board)] == [n for n in CONTROLS if n != "null"]
    assert "(not judged: null)" in describe_controls(board, control_results(board))
    after = run_controls(board, SILENT)
    assert {a.name for a, b in zip(after, before, strict=True) if a != b} == {"null"}


def test_a_control_whose_summary_is_broken_is_judged_again(results, show):
    board = load_board("toy", results)
    before = run_controls(board, SILENT)
    (board.path / "controls/null/summary.json").write_text("{", encoding="utf-8")
    assert "(not judged: null)" in show()
    assert run_controls(board, SILENT) == before


def test_a_control_that_decides_nothing_is_no_failure(results, leaderboard):
    flags = ("--from", "toy", "--reference", "fake/echo", "--results", results)
    assert leaderboard("board", "new", "parrot", *flags).code == 0
    run = leaderboard("board", "check", "parrot", "--results", results)
    outcomes = {r.name: r.outcome for r in control_results(load_board("parrot", results))}
    assert outcomes["echo"] == "inconclusive", "the reference is this very answer"
    assert (outcomes["gold"], outcomes["null"]) == ("passed", "passed")
    assert run.code == 0
    assert "cannot tell echo: 50.0 % [" in run.out
    assert (
        "Too few instructions, or the reference is such an answer itself, or the judge" in run.out
    )
    assert "FAILED" not in run.out


def test_without_gold_answers_it_is_said_what_cannot_be_seen(tmp_path, results):
    asked = [replace(i, gold_answer=None) for i in toy_instructions(12)]
    board = make_board(tmp_path / "b", asked)
    said = "Without gold answers a judge's favour for the reference cannot be seen."
    assert said in describe_controls(board, run_controls(board, SILENT))
    toy = load_board("toy", results)
    assert said not in describe_controls(toy, run_controls(toy, SILENT))


# --------------------------------------------------------------------------------- names, arguments
@pytest.mark.parametrize(
    "name", ["board.toml", "Leaderboard.CSV", "panel.toml", "evalset.jsonl", "PUBLISHED.csv"]
)
def test_a_row_is_not_called_like_a_file_of_the_board(name, evaluate, results):
    refused(evaluate("fake/words", "--name", name), f"{name!r} is reserved")
    with pytest.raises(UserError, match="is reserved"):
        check_name(name, "the row's name")


def test_every_file_of_a_board_is_reserved(results, evaluate):
    evaluate("fake/words")
    for path in (results / "toy").iterdir():
        if path.name not in ("words", ".lock"):
            with pytest.raises(UserError, match="is reserved"):
                check_name(path.name, "the row's name")


@pytest.mark.parametrize(
    ("model", "args"),
    [
        ("fake/words", {"system_prompt": "Be brief."}),
        ("fake/words", {"batch_sise": "4"}),
        ("hf/org/name", {"system_prmpt": "Be brief."}),
    ],
)
def test_an_argument_that_a_model_does_not_take_is_refused(model, args, results):
    with pytest.raises(UserError, match=f"{next(iter(args))}.* takes only .*batch_size"):
        herdbook.evaluate(model, board="toy", results=results, model_args=args)


def test_the_batch_size_reaches_the_fake_model():
    found = resolve("fake/words", {"batch_size": "3"})
    assert isinstance(found, LanguageModel)
    llm = open_model(found.spec)
    assert isinstance(llm, FakeLLM)
    assert llm.batch_size == 3


# ------------------------------------------------------------------------------------ answers files
def test_a_partial_file_is_followed_by_the_full_one(results, evaluate, tmp_path, monkeypatch):
    asked = count_judged(monkeypatch, "m")
    some = {i.id for i in load_board("toy", results).first(5)}
    rows = [{"instruction_id": f"toy-{k:02d}", "output": t} for k, t in enumerate(good_answers())]
    part = write_rows(tmp_path / "p.jsonl", [r for r in rows if r["instruction_id"] in some])
    assert evaluate(part, "--limit", "5", "--name", "m").code == 0
    full = write_rows(tmp_path / "f.jsonl", rows)
    run = evaluate(full, "--name", "m")
    assert run.code == 0, run.err
    assert sorted(asked) == sorted(f"base:{row['instruction_id']}" for row in rows)
    assert table_of(results)["m"]["n_judged"] == "12"
    changed = write_rows(tmp_path / "c.jsonl", [{**rows[0], "output": "x"}, *rows[1:]])
    refused(evaluate(changed, "--name", "m"), "different: answers", "--overwrite")


def test_overwriting_judges_only_what_is_new(results, evaluate, tmp_path, monkeypatch):
    texts = good_answers()
    evaluate(write_answers(tmp_path / "m.jsonl", texts))
    path = results / "toy/m/annotations.jsonl"
    people = [{**line, "annotator": "people"} for line in read_lines(path)]
    write_rows(path, [*read_lines(path), *people])
    asked = count_judged(monkeypatch, "m")
    assert evaluate(write_answers(tmp_path / "m.jsonl", ["x", *texts[1:]]), "--overwrite").code == 0
    assert asked == ["base:toy-00"]
    kept = [line["comparison_id"] for line in read_lines(path) if line["annotator"] == "people"]
    assert kept == [f"base:toy-{k:02d}" for k in range(1, 12)], "none on the text that is gone"


def count_judged(monkeypatch: pytest.MonkeyPatch, row: str) -> list[str]:
    """The ids of the comparisons with answers of the row that a checklist is shown from here on."""
    asked: list[str] = []
    judge = Checklist.judge

    def counting(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        asked.extend(v.comparison.id for v in shown if v.comparison.generator_2 == row)
        return judge(self, shown, caller, task)

    monkeypatch.setattr(Checklist, "judge", counting)
    return asked


# -------------------------------------------------------------------------------------------- ranks
def test_ranks_are_whole_numbers(ranked, leaderboard):
    for name in ("rank", "rank_low", "rank_high", "tie_group"):
        assert all(record[name].isdecimal() for record in table_of(ranked).values())
        shown = json.loads(leaderboard("show", "toy", "--results", ranked, "--format", "json").out)
        assert {type(record[name]) for record in shown} == {int}
    assert [line.split(",")[0] for line in (ranked / "toy/leaderboard.csv").read_text().splitlines()] == [
        "rank", "1", "2", "3", "4",
    ]  # fmt: skip


def test_an_unranked_row_has_an_empty_rank(checked, results, show):
    path = results / "toy/good/annotations.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:6]))
    by_model = {r["model"]: r for r in json.loads(show("--format", "json"))}
    assert (by_model["good"]["rank"], by_model["good"]["tie_group"]) == (None, None)
    assert isinstance(by_model["base"]["rank"], int)
