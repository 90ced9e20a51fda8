"""The packaged board: its instructions, its reference, and that it tells good answers from bad."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from conftest import write_rows

from judges.criteria import checks
from judges.criteria import share as criteria
from leaderboard.boards.board import load_board
from leaderboard.boards.catalogue import packaged_boards
from leaderboard.evaluation import evaluate
from leaderboard.judging.controls import CONTROLS, control_outputs, control_results

PACKAGED = packaged_boards()["starter"]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return load_board("starter", tmp_path_factory.mktemp("results"))


# ------------------------------------------------------------------------------- what it is made of
def test_size_and_categories(board):
    assert len(board.instructions) >= 200
    counts: dict[str, int] = {}
    for instruction in board.instructions:
        counts[instruction.category] = counts.get(instruction.category, 0) + 1
    assert len(counts) >= 12
    assert "" not in counts
    assert min(counts.values()) >= 10, "a category of a few instructions says nothing"


def test_ids_and_texts_are_unique(board):
    assert len(board.by_id) == len(board.instructions)
    assert len({i.messages for i in board.instructions}) == len(board.instructions)


def test_conversations_of_two_turns_are_there(board):
    roles = [[m.role for m in i.messages] for i in board.instructions if len(i.messages) > 1]
    assert len(roles) >= 10
    assert all(turns == ["user", "assistant", "user"] for turns in roles)


def test_every_instruction_has_two_to_six_checks(board):
    assert {i.id: len(i.checks) for i in board.instructions if not 2 <= len(i.checks) <= 6} == {}


def test_many_kinds_of_criteria_are_used(board):
    kinds = {check["kind"] for i in board.instructions for check in i.checks}
    assert kinds >= {
        "exact", "number", "contains", "omits", "regex", "words", "sentences", "items", "json",
        "table", "order", "characters",
    }  # fmt: skip


def test_every_gold_answer_meets_all_its_checks(board):
    missed = {
        i.id: [c for c in i.checks if criteria.score(i.gold_answer or "", [c]) < 1]
        for i in board.instructions
    }
    assert {name: failed for name, failed in missed.items() if failed} == {}


def test_the_baseline_meets_about_half_of_the_weight(board):
    answers = board.references["baseline"]
    shares = [criteria.score(answers[i.id].text, i.checks) for i in board.instructions]
    assert 0.4 <= statistics.fmean(shares) <= 0.6
    by_category = {
        category: statistics.fmean(
            s for s, i in zip(shares, board.instructions, strict=True) if i.category == category
        )
        for category in {i.category for i in board.instructions}
    }
    assert {c: s for c, s in by_category.items() if not 0.25 <= s <= 0.75} == {}


def test_the_baseline_varies_in_length(board):
    lengths = [output.characters for output in board.references["baseline"].values()]
    deciles = statistics.quantiles(lengths, n=10)
    assert deciles[-1] >= 4 * deciles[0]
    gold = {i.id: len(i.gold_answer or "") for i in board.instructions}
    baseline = board.references["baseline"]
    longer = sum(baseline[name].characters > length for name, length in gold.items())
    assert 0.25 <= longer / len(gold) <= 0.75, "length alone must not give the better answer away"


@pytest.mark.parametrize("name", ["careful", "lazy"])
def test_the_examples_answer_every_instruction(board, name):
    lines = (PACKAGED / "examples" / f"{name}.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["instruction_id"] for line in lines] == list(board.by_id)


# --------------------------------------------------------------------------------- what it measures
@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The board with the gold answers and both example files on it."""
    results = tmp_path_factory.mktemp("measured")
    starter = load_board("starter", results)
    rows = [{"instruction_id": i.id, "output": i.gold_answer} for i in starter.instructions]
    gold = write_rows(results / "gold-answers.jsonl", rows)
    for file in (PACKAGED / "examples" / "careful.jsonl", PACKAGED / "examples" / "lazy.jsonl"):
        evaluate(str(file), results=results)
    return results, evaluate(str(gold), results=results)


def test_gold_careful_baseline_lazy_in_this_order(measured):
    frame = measured[1].standings.frame.set_index("model")
    assert list(frame.index) == ["gold-answers", "careful", "baseline", "lazy"]
    assert frame.loc["lazy", "win_rate"] < 0.25
    assert frame.loc["lazy", "high"] < frame.loc["baseline", "win_rate"]
    assert frame.loc["baseline", ["win_rate", "low", "high"]].tolist() == [0.5, 0.5, 0.5]
    assert frame.loc["careful", "low"] > 0.5
    assert frame.loc["lazy", "low"] < frame.loc["lazy", "high"], "estimated, so not of zero width"
    assert frame[["rank_low", "rank_high"]].to_numpy().tolist() == [[n, n] for n in (1, 2, 3, 4)]


def test_the_scale_is_what_the_readme_says(measured, tmp_path):
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    board = load_board("starter", tmp_path)
    rows = [{"instruction_id": i.id, "output": ""} for i in board.instructions]
    empty = evaluate(str(write_rows(tmp_path / "empty.jsonl", rows)), results=tmp_path)
    flawless, nothing = (100 * e.summary["win_rate"]["value"] for e in (measured[1], empty))
    assert f"a flawless answer wins about {flawless:.0f} %" in readme
    assert f"an empty one about {nothing:.0f} %" in readme


def test_all_six_controls_are_where_they_belong(measured, leaderboard):
    assert [r.name for r in measured[1].controls] == list(CONTROLS)
    assert [r.name for r in measured[1].controls if not r.passed] == []
    assert "controls: 6 of 6 where they belong" in measured[1].card
    assert control_results(load_board("starter", measured[0])) == list(measured[1].controls)
    checked = leaderboard("board", "check", "starter", "--results", measured[0])
    assert checked.code == 0
    assert "controls: 6 of 6 where they belong" in checked.out


def test_the_card_says_that_these_are_programmatic_checks(measured):
    card = " ".join(measured[1].card.split())
    assert "programmatic checks" in card
    assert "too few" in card
    assert "for a paper" in card
    assert max(map(len, measured[1].card.splitlines())) <= 100


def test_judged_by_length_the_same_board_fails_its_controls(tmp_path, leaderboard):
    args = ("--judge", "heuristic/longest", "--results", tmp_path)
    assert leaderboard("board", "new", "by-length", "--from", "starter", *args).code == 0
    checked = leaderboard("board", "check", "by-length", "--results", tmp_path)
    assert checked.code == 3
    assert "FAILED padded: 100.0 %" in checked.out
    assert "FAILED injected: 100.0 %" in checked.out
    assert "FAILED truncated" not in checked.out, "a third of an answer is shorter"


# --------------------------------------------------------------------------------- what it costs
class Watched:
    """A compiled expression that notes the searches which run into the time limit."""

    def __init__(self, pattern, slow):
        self.pattern, self.slow = pattern, slow

    def search(self, text, timeout):
        try:
            return self.pattern.search(text, timeout=timeout)
        except TimeoutError:
            self.slow.append((self.pattern.pattern, text))
            raise


@pytest.fixture
def slow(monkeypatch):
    """The searches that take longer than half a second."""
    found: list[tuple[str, str]] = []
    compiled = checks.compiled
    monkeypatch.setattr(checks, "SEARCH_SECONDS", 0.5)
    monkeypatch.setattr(
        checks, "compiled", lambda pattern, ignore: Watched(compiled(pattern, ignore), found)
    )
    return found


def test_no_expression_needs_half_a_second_on_any_control(board, slow):
    for name, control in CONTROLS.items():
        outputs = control_outputs(board, name, control)
        for instruction in board.instructions:
            criteria.score(outputs[instruction.id].text, instruction.checks)
    assert slow == []


def test_the_watch_for_slow_expressions_sees_one(slow):
    assert criteria.score("a" * 60 + "!", [{"kind": "regex", "pattern": "(a|a)+$"}]) == 0
    assert len(slow) == 1
