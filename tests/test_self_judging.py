"""A judge that is the candidate, or of its family: seen, said, and left out where the board says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    TOY,
    good_answers,
    make_board,
    mixed_answers,
    read_json,
    read_lines,
    refused,
    table_of,
    write_answers,
)

from judges.errors import UserError
from leaderboard.boards.board import load_board
from leaderboard.rows.results import Manifest, ModelInfo, Row
from leaderboard.rows.self_judging import excluded, self_judges
from leaderboard.site.report import board_report

WEIGHTS = "sha256:" + "1" * 64
LONGEST = {"kind": "heuristic", "rule": "longest", "name": "longest"}
SHORTEST = {**LONGEST, "rule": "shortest", "name": "shortest"}
FAKE = {"kind": "pairwise", "model": "fake/judge", "name": "fake", "form": "text"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))


def board_with(tmp_path: Path, *judges: dict[str, Any], rule: str = "flag", **panel: Any) -> Path:
    settings = replace(TOY, self_judging=rule)
    make_board(
        tmp_path / "results" / "toy", panel={"judges": [*judges], **panel}, settings=settings
    )
    return tmp_path / "results"


# ------------------------------------------------------------------------------- who is whose
def reason(
    tmp_path: Path,
    judge: dict[str, Any],
    *,
    row: str = "mine",
    parts: dict[str, str] | None = None,
    **info: str,
) -> str | None:
    """Why a judge with these keys is a candidate's own."""
    asking = {"kind": "pairwise", "name": "judge", "form": "text", **judge}
    results = board_with(tmp_path, LONGEST, asking)
    candidate = Row(results / "toy" / row)
    if parts is not None:
        source = "model org__mine"
        candidate.write_manifest(Manifest(source=source, parts=parts, settings={}, herdbook="0"))
    candidate.write_info(ModelInfo(**{"name": row, **info}))
    return self_judges(load_board("toy", results), candidate).get("judge")


SAME, MADE, FAMILY = "it is the candidate", "the candidate was made from it", "family, "


@pytest.mark.parametrize(
    ("judge", "candidate", "expected"),
    [
        ({"model": "openai/gpt-x"}, {"parts": {"model": "openai/gpt-x"}}, SAME),
        ({"model": "openai-api/gpt-x"}, {"parts": {"model": "openai/gpt-x"}}, SAME),
        ({"model": "vllm/org/mine"}, {"parts": {"answers": "x"}}, SAME),
        ({"model": "hf/Org/Mine@main"}, {"row": "org__mine"}, SAME),
        ({"model": "openai/zebra"}, {"name": "Zebra"}, SAME),
        ({"model": "/data/org/zebra"}, {"base_model": "hf/org/zebra"}, MADE),
        ({"model": "fake/judge", "weights": WEIGHTS}, {"parts": {"weights": WEIGHTS}}, "weights"),
        ({"model": "openai/gpt-4.1-2025-04-14"}, {"row": "gpt-5-mini"}, FAMILY + "gpt"),
        ({"model": "hf/meta-llama/Llama-9"}, {"base_model": "org/vicuna-7b"}, FAMILY + "llama"),
        ({"model": "openai/gpt-x"}, {"row": "claude-9"}, None),
        ({"model": "openai/zebra"}, {"row": "okapi"}, None),
        ({"model": "openai/zebra", "family": "okapis"}, {"row": "okapi"}, None),
        ({"model": "openai/zebra", "family": "Claude"}, {"row": "claude-9"}, FAMILY + "Claude"),
        ({"model": "openai/gpt-x", "family": "other"}, {"row": "gpt-9"}, None),
        ({"model": "runs/a/final"}, {"parts": {"model": "runs/b/final"}}, None),
        ({"model": "fake/judge", "weights": WEIGHTS}, {"parts": {"weights": "sha256:2"}}, None),
    ],
)
def test_who_is_a_candidates_own(tmp_path, judge, candidate, expected):
    found = reason(tmp_path, judge, **candidate)
    assert found is None if expected is None else expected in str(found)


def test_judges_without_a_model_and_controls_are_nobodys_own(tmp_path):
    results = board_with(tmp_path, LONGEST, {**FAKE, "model": "fake/echo"})
    board = load_board("toy", results)
    assert self_judges(board, Row(board.path / "longest")) == {}
    assert self_judges(board, Row(board.path / "controls" / "echo")) == {}
    assert list(self_judges(board, Row(board.path / "echo"))) == ["fake"]


def test_where_two_rows_meet_either_ones_own_judge_counts(tmp_path):
    board = load_board("toy", board_with(tmp_path, LONGEST, FAKE))
    for pair, own in (
        ("judge--vs--mine", ["fake"]),
        ("base--vs--mine", []),
        ("a--vs--judge", ["fake"]),
    ):
        assert list(self_judges(board, Row(board.path / "head_to_head" / pair))) == own


# ---------------------------------------------------------------------------------- what is done
def evaluated(
    tmp_path: Path, leaderboard: Any, *judges: dict[str, Any], rule: str, **panel: Any
) -> tuple[Path, Any]:
    """The answers of a row called judge, which is what the judge's model is called, on a board; the
    good ones are short, so that its two judges differ."""
    results = board_with(tmp_path, *judges, rule=rule, **panel)
    file = write_answers(tmp_path / "judge.jsonl", mixed_answers(6))
    run = leaderboard("eval", file, "--board", "toy", "--results", results)
    return results, run


def test_flagged_votes_count_and_are_told(tmp_path, leaderboard):
    results, run = evaluated(tmp_path, leaderboard, LONGEST, FAKE, rule="flag")
    assert run.code == 0, run.err
    summary = read_json(results / "toy" / "judge" / "summary.json")
    assert summary["self_judging"] == {"fake": SAME}
    assert set(summary["judges"]) == {"longest", "fake"}
    assert "judges of its own: fake: it is the candidate; their votes count" in run.out
    assert table_of(results)["judge"]["self_judging"] == "fake"
    assert table_of(results)["base"]["self_judging"] == ""
    shown = leaderboard("show", "toy", "--results", results).out
    assert "judge ‡" in shown
    assert "base ‡" not in shown
    assert "a judge of its own or of its family: judge (fake); their votes count" in shown
    tex = leaderboard("show", "toy", "--results", results, "--format", "latex").out
    assert r"judge \ddag{}" in tex
    page = board_report(load_board("toy", results))
    assert page.count("‡") == 2
    assert "their votes count" in page


def test_excluded_votes_do_not_count_and_are_not_asked_for(tmp_path, leaderboard):
    results, run = evaluated(tmp_path, leaderboard, LONGEST, FAKE, rule="exclude")
    assert run.code == 0, run.err
    row = results / "toy" / "judge"
    assert {line["annotator"] for line in read_lines(row / "annotations.jsonl")} == {"longest"}
    summary = read_json(row / "summary.json")
    assert summary["self_judging"] == {"fake": SAME}
    assert list(summary["judges"]) == ["longest"]
    assert summary["win_rate"] == summary["judges"]["longest"]
    assert summary["verdicts"]["n"] == 12
    assert summary["is_publishable"]
    assert "their votes are left out" in run.out
    # Others are judged by both, and so are the controls.
    other = write_answers(tmp_path / "other.jsonl", good_answers())
    assert leaderboard("eval", other, "--board", "toy", "--results", results).code == 0
    assert set(read_json(results / "toy" / "other" / "summary.json")["judges"]) == {
        "longest",
        "fake",
    }
    control = read_json(results / "toy" / "controls" / "null" / "summary.json")
    assert set(control["judges"]) == {"longest", "fake"}
    check = leaderboard("board", "check", "toy", "--results", results)
    assert "WRONG" not in check.out


def test_votes_that_were_counted_leave_when_the_row_turns_out_to_be_of_the_family(
    tmp_path, leaderboard
):
    results = board_with(tmp_path, SHORTEST, FAKE, rule="exclude")
    file = write_answers(tmp_path / "mine.jsonl", mixed_answers(6))
    command = ("--board", "toy", "--results", results)
    assert leaderboard("eval", file, *command).code == 0
    both = read_json(results / "toy" / "mine" / "summary.json")
    info = results / "toy" / "mine" / "model.toml"
    info.write_text(info.read_text().replace('base_model = ""', 'base_model = "org/judge"'))
    check = leaderboard("board", "check", "toy", "--results", results)
    assert check.code == 3
    assert "WRONG mine: the summary's win_rate" in check.out
    assert leaderboard("eval", "mine", "--only", "judge", *command).code == 0
    alone = read_json(results / "toy" / "mine" / "summary.json")
    assert alone["self_judging"] == {"fake": MADE}
    assert alone["win_rate"] == both["judges"]["shortest"]
    assert alone["verdicts"]["n"] < both["verdicts"]["n"]
    assert "WRONG mine" not in leaderboard("board", "check", "toy", "--results", results).out


def test_a_board_that_does_not_look_says_nothing(tmp_path, leaderboard):
    results, run = evaluated(tmp_path, leaderboard, LONGEST, FAKE, rule="allow")
    assert run.code == 0, run.err
    assert read_json(results / "toy" / "judge" / "summary.json")["self_judging"] == {}
    assert "of its own" not in run.out
    assert "‡" not in leaderboard("show", "toy", "--results", results).out


def test_a_row_that_nobody_is_left_to_judge_is_refused_before_anything_is_asked(
    tmp_path, leaderboard
):
    results, run = evaluated(tmp_path, leaderboard, FAKE, rule="exclude")
    refused(run, "no judge of board toy is left for judge (fake: it is the candidate)", "--judge")
    assert not (results / "toy" / "judge" / "summary.json").exists()
    with pytest.raises(UserError, match="no judge of board toy is left"):
        excluded(load_board("toy", results), Row(results / "toy" / "judge"))


def test_where_one_judge_an_item_is_drawn_another_takes_over(tmp_path, leaderboard):
    members = [LONGEST, FAKE, SHORTEST]
    results, run = evaluated(tmp_path, leaderboard, *members, rule="exclude", assign="one")
    assert run.code == 0, run.err
    lines = read_lines(results / "toy" / "judge" / "annotations.jsonl")
    assert {line["annotator"] for line in lines} == {"longest", "shortest"}
    assert len(lines) == 12
    summary = read_json(results / "toy" / "judge" / "summary.json")
    assert summary["win_rate"]["n_judged"] == 12
    other = write_answers(tmp_path / "other.jsonl", good_answers())
    assert leaderboard("eval", other, "--board", "toy", "--results", results).code == 0
    others = read_lines(results / "toy" / "other" / "annotations.jsonl")
    by_item = {line["comparison_id"]: line["annotator"] for line in others}
    assert set(by_item.values()) == {"longest", "fake", "shortest"}, "no draw fell on one of them"
    for line in lines:  # only the excluded one's items changed hands
        assert by_item[line["comparison_id"]] in (line["annotator"], "fake")
    counts = {
        j: of["n_items"]
        for j, of in read_json(results / "toy" / "other" / "summary.json")["judges"].items()
    }
    assert sum(counts.values()) == 12
    met = leaderboard(
        "compare", "toy", "judge", "other", "--direct", "--results", results, "--format", "json"
    )
    assert met.code == 0, met.err
    assert '"n_judged": 12' in met.out


def test_the_rule_is_pinned_and_a_board_of_before_flags(tmp_path, leaderboard):
    results = board_with(tmp_path, LONGEST, FAKE)
    file = results / "toy" / "board.toml"
    text = file.read_text()
    file.write_text(text.replace('self_judging = "flag"\n', ""))
    assert load_board("toy", results).settings.self_judging == "flag"
    file.write_text(text.replace('self_judging = "flag"', 'self_judging = "exclude"'))
    with pytest.raises(UserError, match=r"has been changed since it was made: board\.toml"):
        load_board("toy", results)
    file.write_text(text.replace('self_judging = "flag"', 'self_judging = "maybe"'))
    with pytest.raises(UserError, match="self_judging"):
        load_board("toy", results)
