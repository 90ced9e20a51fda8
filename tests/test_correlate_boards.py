"""`leaderboard correlate` between boards, and between the judges of one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    CHECKLIST,
    TOY,
    Finished,
    make_board,
    mixed_answers,
    refused,
    toy_instructions,
    write_answers,
)

from judges.schema import Message
from leaderboard.boards.board import load_board
from leaderboard.evaluation import evaluate
from leaderboard.rows.standings import standings
from leaderboard.validity.scores import board_side, pair_up

N = 12
BOTH = {
    "judges": [{"kind": "checklist", "name": "checklist"}, {"kind": "heuristic", "rule": "longest"}]
}
GOOD = (0, 2, 5, 8, 12)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder: `strict` and `long` judge the same rows, `two` has both their judges,
    `other` asks other instructions under the same ids, and `alone` has no rows."""
    folder = tmp_path_factory.mktemp("boards")
    results = folder / "results"
    longest = {"judges": [BOTH["judges"][1]]}
    other = [
        replace(one, messages=(Message("user", f"Now {one.messages[0].content}"),))
        for one in toy_instructions(N)
    ]
    make_board(results / "strict", N, CHECKLIST)
    make_board(results / "long", N, longest)
    make_board(results / "two", N, BOTH)
    make_board(results / "other", other, CHECKLIST)
    make_board(results / "alone", N, CHECKLIST)
    for good in GOOD:
        file = write_answers(folder / f"r{good}.jsonl", mixed_answers(good))
        for board in ("strict", "long", "two", "other"):
            evaluate(str(file), board=board, results=results)
    return results


@pytest.fixture
def correlate(leaderboard, boards):
    def run(*args: str | Path) -> Finished:
        return leaderboard("correlate", *args, "--results", boards)

    return run


def only(run: Finished) -> dict:
    assert run.code == 0, run.err
    (one,) = json.loads(run.out)["correlations"]
    return one


def test_two_boards_that_judge_the_same_rows(correlate, boards):
    found = only(correlate("strict", "long", "--format", "json"))
    assert {model["model"] for model in found["models"]} == {f"r{good}" for good in GOOD}
    rates = standings(load_board("strict", boards)).frame.set_index("model")["win_rate"]
    for model in found["models"]:
        assert model["a"] == pytest.approx(rates[model["model"]])
    # The reference's 0.5 is nobody's verdict.
    assert found["left_out"] == {}
    assert found["whole"]["rests_on"] == "models and instructions"
    assert set(found["whole"]["intervals"]) == {
        "models", "instructions", "models and instructions",
    }  # fmt: skip
    # A good answer here is a short one.
    assert found["whole"]["coefficients"]["spearman"] < 0
    assert found["verdict"] == "withheld"


def test_the_words_and_the_percent_of_boards(correlate, tmp_path):
    pytest.importorskip("matplotlib")
    run = correlate("strict", "long", "--out", tmp_path / "report")
    assert run.code == 0, run.err
    assert "nothing is concluded from fewer than 10 models" in run.out
    assert "95 % interval with other models and instructions" in run.out
    assert "covers less" not in run.out
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert " ± " in text


def test_the_same_words_are_the_same_instruction_and_others_are_not(boards):
    strict, long, other = (
        board_side(load_board(name, boards)) for name in ("strict", "long", "other")
    )
    shared, apart = pair_up(strict, long).preferences(), pair_up(strict, other).preferences()
    assert shared is not None
    assert apart is not None
    assert shared[0].shape == (len(GOOD), N)
    assert apart[0].shape == (len(GOOD), 2 * N)
    assert np.isnan(apart[0][:, N:]).all()
    assert np.isnan(apart[1][:, :N]).all()
    assert np.nanmean(apart[0], axis=1) == pytest.approx(pair_up(strict, other).a.values)


def test_the_judges_of_a_board(correlate, boards):
    run = correlate("two", "--judges", "--format", "json")
    judges = only(run)
    alone = only(correlate("strict", "long", "--format", "json"))
    names = load_board("two", boards).panel.names
    assert [judges["a"], judges["b"]] == list(names)
    assert judges["whole"]["coefficients"] == alone["whole"]["coefficients"]
    assert [m["a"] for m in judges["models"]] == pytest.approx([m["a"] for m in alone["models"]])
    assert "longest" in correlate("two", "--judges").out


def test_three_judges_make_three_pairs(leaderboard, tmp_path):
    pytest.importorskip("matplotlib")
    results = tmp_path / "results"
    shortest = {"kind": "heuristic", "rule": "shortest"}
    make_board(results / "toy", N, {"judges": [*BOTH["judges"], shortest]})
    for good in (0, 5, 12):
        file = write_answers(tmp_path / f"r{good}.jsonl", mixed_answers(good))
        evaluate(str(file), board="toy", results=results)
    run = leaderboard("correlate", "toy", "--judges", "--results", results, "--out", tmp_path / "r")
    assert run.code == 0, run.err
    assert run.out.startswith("judges")
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert {"scatter-1.png", "scatter-3.svg", "report.md", "report.json"} <= names
    text = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "# The judges of toy" in text
    assert "| judges" in text


def test_a_board_beside_a_column(correlate, tmp_path):
    file = tmp_path / "people.csv"
    file.write_text("model,score\n" + "".join(f"r{good},{good}\n" for good in GOOD))
    found = only(correlate("strict", f"{file}:score", "--format", "json"))
    assert found["whole"]["coefficients"]["spearman"] == 1
    assert found["whole"]["rests_on"] == "models"
    assert [model["b"] for model in found["models"]] == sorted(GOOD, reverse=True)


def test_what_boards_cannot_do(correlate, boards):
    refused(correlate("alone", "strict"), "board alone has no ranked rows")
    refused(correlate("strict", "--judges"), "has one judge, checklist", "rejudge")
    refused(correlate("strict", "nowhere"), "nowhere")


def test_a_judge_that_may_not_judge_a_row(leaderboard, tmp_path):
    """A judge that is left out for its own row has no score of it."""
    own = {"kind": "pairwise", "name": "own", "model": "fake/judge"}
    results = tmp_path / "results"
    settings = replace(TOY, self_judging="exclude", min_votes=1)
    make_board(results / "toy", N, {"judges": [own, BOTH["judges"][0]]}, settings)
    for name, good in (("fake__judge", 0), ("r4", 4), ("r8", 8), ("r12", 12)):
        file = write_answers(tmp_path / f"{name}.jsonl", mixed_answers(good))
        evaluate(str(file), board="toy", results=results)
    run = leaderboard("correlate", "toy", "--judges", "--results", results, "--format", "json")
    found = only(run)
    assert found["left_out"] == {"fake__judge": "no verdict of own"}
    assert found["whole"]["n_models"] == 3
