"""A missing verdict is missing: counted, bounded, asked for again, and never a tie or a loss."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import (
    good_answers,
    make_board,
    read_json,
    read_lines,
    table_of,
    write_answers,
    write_rows,
)

from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.kinds.checklist import Checklist


def record_verdicts(path: Path, skip: set[int], preference: float = 0.75) -> Path:
    lines = [
        {"instruction_id": f"toy-{k:02d}", "generator_1": "base", "generator_2": "good",
         "preference": None if k in skip and k % 2 else preference}
        for k in range(12) if not (k in skip and k % 2 == 0)
    ]  # fmt: skip
    return write_rows(path, lines)


def test_missing_verdicts_are_counted_bounded_and_not_published(results, leaderboard, tmp_path):
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

    def flaky(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        for view, verdict in zip(shown, judge(self, shown, caller, task), strict=True):
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


def test_a_verdict_on_another_text_is_asked_for_again(evaluate, results, judged, tmp_path):
    evaluate("fake/words")
    judged.clear()
    lines = read_lines(results / "toy/words/outputs.jsonl")
    lines[4]["text"] = "word4"  # as if another tool had answered anew
    answers = write_rows(tmp_path / "words.jsonl", lines)
    assert evaluate(answers, "--name", "words", "--overwrite").code == 0
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
