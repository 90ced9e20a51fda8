"""AlpacaEval's verdicts as a board: the figures that come out are the published ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from leaderboard.boards.board import load_board
from leaderboard.interop.alpaca_eval import import_alpaca_eval
from leaderboard.rows.standings import board_rows, standings

OTHERS = ("alpaca_eval_gpt4_turbo_fn", "alpaca_eval_cot_gpt4_turbo_fn")


DEFAULT = {
    "alpaca_eval_1": "alpaca_eval_gpt4",
    "alpaca_eval_2": "weighted_alpaca_eval_gpt4_turbo",
}


def published(file: Path, judge: str | None = None) -> dict[str, dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if judge in (None, row.get("judge"))]
    return {row["model"]: row for row in rows}


def check_figures(board, official: dict[str, dict[str, str]]) -> None:
    frame = standings(board).frame.set_index("model")
    assert official
    for model, row in official.items():
        ours = frame.loc[model]
        rates = {
            "win_rate": ours["win_rate"],
            "standard_error": ours["standard_error"],
            "discrete_win_rate": ours["discrete_win_rate"],
        }
        for name, value in rates.items():
            assert 100 * value == pytest.approx(float(row[name]), abs=1e-9, rel=0), (model, name)
        counts = [ours[name] for name in ("n_wins", "n_losses", "n_draws", "n_judged")]
        theirs = [float(row[name]) for name in ("n_wins", "n_wins_base", "n_draws", "n_total")]
        assert counts == theirs, model


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Imports a packaged folder once."""
    boards = {}

    def once(folder: Path):
        if folder.name not in boards:
            results = tmp_path_factory.mktemp("imported")
            boards[folder.name] = import_alpaca_eval(folder, results)
        return boards[folder.name]

    return once


@pytest.mark.parametrize("version", ["alpaca_eval_1", "alpaca_eval_2"])
def test_figures_of_the_packages_are_the_published_ones(shared_data, imported, version):
    board = imported(shared_data / version)
    official = published(shared_data / version / "official_leaderboard.csv")
    models = set(pd.read_parquet(shared_data / version / "annotations.parquet")["model"])
    check_figures(board, official)
    assert set(official) <= models
    assert {row.name for row in board_rows(board)} | {board.settings.references[0]} >= models
    assert board.panel.names == [DEFAULT[version]]


def test_the_published_reference_is_our_reference_row(shared_data, imported):
    board = imported(shared_data / "alpaca_eval_2")
    frame = standings(board).frame.set_index("model")
    assert frame.loc["gpt4_1106_preview", "status"] == "reference"
    assert "gpt4_1106_preview" in published(shared_data / "alpaca_eval_2/official_leaderboard.csv")


@pytest.mark.parametrize("judge", OTHERS)
def test_figures_of_the_other_judges(shared_data, tmp_path, leaderboard, judge):
    folder = shared_data / "alpaca_eval_2"
    args = (folder, "--annotator", judge, "--name", "other", "--results", tmp_path)
    assert leaderboard("board", "import", "alpaca_eval", *args).code == 0
    board = load_board("other", tmp_path)
    check_figures(board, published(folder / "official_leaderboard_other_judges.csv", judge))
    assert board.panel.names == [judge]
    assert not (board.path / "published.csv").exists(), "the leaderboard of another judge"


def write_checkout(folder: Path, package: Path, annotator: str, models: int) -> Path:
    """A miniature checkout of AlpacaEval's repository with the verdicts of a package.

    Draws are written as 0 for every second model, as in older files; a missing verdict is -1 for
    every third, else null.
    """
    lines = (package / "instructions.jsonl").read_text("utf-8").splitlines()
    asked = [json.loads(line) for line in lines]
    verdicts = pd.read_parquet(package / "annotations.parquet")
    for number, (model, rows) in enumerate(list(verdicts.groupby("model"))[:models]):
        home = folder / "results" / model
        (home / annotator).mkdir(parents=True)
        records = []
        for row in rows.itertuples():
            at = asked[row.instruction_index]
            preference = None if pd.isna(row.preference) else row.preference
            if preference == 1.5 and number % 2:
                preference = 0
            if preference is None and number % 3 == 0:
                preference = -1
            records.append(
                {
                    "instruction": at["instruction"],
                    "dataset": at["dataset"],
                    "output_1": at["reference_output"],
                    "generator_1": at["reference_generator"],
                    "output_2": "x" * row.len_model,
                    "generator_2": model,
                    "annotator": annotator,
                    "preference": preference,
                }
            )
        (home / annotator / "annotations.json").write_text(json.dumps(records))
        outputs = [
            {"instruction": r["instruction"], "output": r["output_2"], "generator": model}
            for r in records
        ]
        (home / "model_outputs.json").write_text(json.dumps(outputs))
    board = folder / "src" / "alpaca_eval" / "leaderboards" / "data_AlpacaEval"
    board.mkdir(parents=True)
    text = (package / "official_leaderboard.csv").read_text("utf-8")
    (board / f"{annotator}_leaderboard.csv").write_text(text, "utf-8")
    return folder


def figures(board) -> dict[str, dict[str, object]]:
    return {row.name: row.summary()["win_rate"] for row in board_rows(board)}


@pytest.mark.parametrize("version", ["alpaca_eval_1", "alpaca_eval_2"])
def test_a_checkout_gives_the_figures_of_the_packages(shared_data, imported, tmp_path, version):
    folder = shared_data / version
    checkout = write_checkout(tmp_path / "checkout", folder, DEFAULT[version], 4)
    board = import_alpaca_eval(checkout, tmp_path / "results")
    there, here = figures(imported(folder)), figures(board)
    assert len(here) == 4
    for model, rate in here.items():
        assert rate == pytest.approx(there[model], abs=1e-12), model
    text = (folder / "official_leaderboard.csv").read_text("utf-8")
    assert (board.path / "published.csv").read_text("utf-8") == text
