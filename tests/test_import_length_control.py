"""AlpacaEval's length control on an imported board: the published figures, or why there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import read_json, refused
from scipy import stats
from test_documented_files import documented
from test_import_alpaca_eval import write_packages


def write_length_control(folder: Path, **changed: object) -> tuple[Path, Path]:
    """Difficulties of four instructions, and verdicts on two gamed versions of the reference."""
    difficulty, gamed = folder / "difficulty.csv", folder / "gamed.csv"
    hard = pd.DataFrame({"instruction_index": range(4), "instruction_difficulty": [0.5, -1, 0, 1]})
    rows = pd.DataFrame(
        {
            "model": ["verbose"] * 4 + ["concise"] * 4,
            "instruction_index": [*range(4), *range(4)],
            "preference": [1.7, 1.6, 1.8, 1.5, 1.2, 1.3, 1.4, 1.1],
            "len_model": [30, 40, 50, 60, 5, 6, 7, 9],
            "len_reference": [12] * 8,
        }
    )
    hard.assign(**{k: v for k, v in changed.items() if k in hard}).to_csv(difficulty, index=False)
    rows.assign(**{k: v for k, v in changed.items() if k not in hard}).to_csv(gamed, index=False)
    return difficulty, gamed


PREFERENCES = {"m1": [2.0, 1.0, 1.5, 1.3], "m2": [1.2, 1.9, 1.7, None]}


@pytest.fixture
def imported(tmp_path, leaderboard):
    folder = write_packages(tmp_path / "mini", {name: [*p] for name, p in PREFERENCES.items()})
    results = tmp_path / "results"

    def run(*flags: str, **changed: object):
        files = write_length_control(tmp_path, **changed)
        given = ("--difficulty", files[0], "--gamed", files[1])
        where = ("--results", results)
        return results, leaderboard(
            "board", "import", "alpaca_eval", folder, *given, *where, *flags
        )

    return run


def test_without_the_files_the_column_says_why(tmp_path, leaderboard):
    folder, results = write_packages(tmp_path / "mini", PREFERENCES), tmp_path / "results"
    assert leaderboard("board", "import", "alpaca_eval", folder, "--results", results).code == 0
    shown = leaderboard("show", "mini", "--results", results).out
    assert "no lc_alpaca_eval: it needs AlpacaEval's difficulties" in shown
    asked = leaderboard("show", "mini", "--columns", "lc_alpaca_eval", "--results", results).out
    assert "absent" in asked
    alone = ("--difficulty", tmp_path / "d.csv")
    run = leaderboard("board", "import", "alpaca_eval", folder, *alone, "--results", results)
    refused(run, "--difficulty and --gamed go together")
    run = leaderboard(
        "board", "import", "alpaca_eval", folder, "--by-position", "--results", results
    )
    refused(run, "--by-position goes with --difficulty")
    run = leaderboard(
        "board", "import", "alpaca_eval", folder, "--headline", "lc_alpaca_eval", "--name", "b",
        "--results", results,
    )  # fmt: skip
    refused(run, "--headline lc_alpaca_eval needs --difficulty and --gamed")


def test_rows_and_reference_have_the_column(imported, leaderboard):
    results, done = imported()
    assert done.code == 0, done.err
    column = read_json(results / "mini/m1/summary.json")["columns"]["lc_alpaca_eval"]
    assert 0 <= column["low"] <= column["value"] <= column["high"] <= 1
    shown = leaderboard("show", "mini", "--results", results).out
    assert "lc_alpaca_eval" in shown.split("\n\n")[1]
    assert "no lc_alpaca_eval" not in shown


def test_lengths_that_never_differ_leave_the_row_without(imported):
    results, done = imported()
    assert done.code == 0
    from leaderboard.boards.board import load_board
    from leaderboard.rows.columns import figure
    from leaderboard.rows.results import Row
    from leaderboard.rows.summary import row_items

    board = load_board("mini", results)
    row = Row(board.path / "m1")
    items = row_items(board, row.annotations(), board.instructions)
    same = board.references["base"]
    found = figure(board, "lc_alpaca_eval", items, same)
    assert found.value is None
    assert "the same" in found.absent
    unknown = figure(board, "lc_alpaca_eval", items, {})
    assert "4 answers are not known" in unknown.absent
    unjudged = figure(board, "lc_alpaca_eval", items.assign(preference=np.nan), same)
    assert unjudged.absent == "nothing is judged"


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"preference": [2.5] * 8}, ["gamed.csv, line 2", "1..2", "2.5"]),
        ({"preference": ["x"] * 8}, ["gamed.csv, line 2", "'preference'", "'x'"]),
        ({"instruction_index": [0, 1, 2, 2]}, ["difficulty.csv, line 5", "a second difficulty"]),
        ({"instruction_difficulty": [0, 1, np.inf, 2]}, ["difficulty.csv, line 4", "a number"]),
        ({"instruction_index": [0, 1, 2, 9]}, ["difficulty.csv, line 5", "below 4", "9"]),
    ],
    ids=["range", "text", "doubled", "infinite", "unknown"],
)
def test_files_that_do_not_fit_are_refused_with_their_line(imported, changed, parts):
    results, done = imported(**changed)
    refused(done, *parts)
    assert not (results / "mini").exists()


def test_alpaca_evals_own_file_of_gamed_references_is_read(imported, tmp_path, leaderboard):
    """It has differences in standard deviations, no lengths: lc_joint cannot use those."""
    difficulty, gamed = write_length_control(tmp_path)
    frame = pd.read_csv(gamed)
    frame["std_delta_len"] = (frame["len_reference"] - frame["len_model"]) / 3
    frame = frame.rename(columns={"instruction_index": "index"})
    frame.drop(columns=["len_model", "len_reference"]).to_csv(gamed, index=False)
    flags = ("--difficulty", difficulty, "--gamed", gamed, "--results", tmp_path / "r")
    done = leaderboard("board", "import", "alpaca_eval", tmp_path / "mini", *flags)
    assert done.code == 0, done.err
    stored = read_json(tmp_path / "r/mini/lc_alpaca_eval.json")
    assert set(stored) == set(documented("lc_alpaca_eval.json"))
    assert stored["unit"] == "standard deviations"
    assert stored["gamed"][0]["difference"] == pytest.approx(-6)


def test_a_changed_file_is_a_changed_board(imported, leaderboard):
    results, done = imported()
    assert done.code == 0, done.err
    file = results / "mini/lc_alpaca_eval.json"
    file.write_text(file.read_text("utf-8").replace("-1.0", "-1.5"), encoding="utf-8")
    refused(leaderboard("show", "mini", "--results", results), "lc_alpaca_eval.json")


# ------------------------------------------------------------------------------------ real verdicts
@pytest.fixture(scope="module")
def published(shared_data, tmp_path_factory):
    """AlpacaEval 2's verdicts as a board with its length control, calibrated; and what must come
    out."""
    from leaderboard.cli import main

    data = shared_data / "alpaca_eval_2"
    results = str(tmp_path_factory.mktemp("published"))
    files = ["--difficulty", str(data / "instruction_difficulty.csv")]
    files += ["--gamed", str(data / "gamed_references.csv"), "--results", results]
    assert main(["board", "import", "alpaca_eval", str(data), "--name", "ae2", *files]) == 0
    assert main(["board", "calibrate", "ae2", "--results", results]) == 0
    figures = pd.read_csv(data / "recomputed_figures.csv").set_index("model")
    aligned = figures["length_controlled_winrate_aligned"]
    figures["aligned"] = aligned.fillna(figures["length_controlled_winrate"])
    table = pd.read_csv(Path(results) / "ae2/leaderboard.csv").set_index("model")
    return data, Path(results), figures, table[table["status"] != "reference"]


def test_the_recipe_by_instruction_is_that_of_the_package(published):
    _, _, figures, table = published
    assert len(table) == 28
    off = 100 * table["lc_alpaca_eval"] - figures["aligned"].reindex(table.index)
    assert off.abs().max() < 0.1


def test_ours_agrees_with_the_published_recipe(published):
    _, _, figures, table = published
    off = 100 * table["lc_joint"] - figures["aligned"].reindex(table.index)
    assert off.abs().mean() <= 1
    assert stats.spearmanr(table["lc_joint"], figures["aligned"].reindex(table.index))[0] >= 0.99


def test_by_position_the_published_figures_come_out(published, leaderboard, tmp_path):
    data, _, figures, _ = published
    done = leaderboard(
        "board", "import", "alpaca_eval", data, "--by-position", "--name", "ae2",
        "--difficulty", data / "instruction_difficulty.csv",
        "--gamed", data / "gamed_references.csv", "--headline", "lc_alpaca_eval",
        "--results", tmp_path / "r",
    )  # fmt: skip
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "r/ae2/leaderboard.csv").set_index("model")
    official = pd.read_csv(data / "official_leaderboard.csv", index_col=0)
    official = official.set_index("model") if "model" in official else official
    models = table.index[table["status"] != "reference"]
    ours = 100 * table.loc[models, "lc_alpaca_eval"]
    assert (ours - figures["length_controlled_winrate"].reindex(models)).abs().max() < 0.1
    listed = official["length_controlled_winrate"].reindex(models).dropna()
    assert len(listed) >= 27
    assert (ours.reindex(listed.index) - listed).abs().max() < 0.2
    ranked = table.sort_values("rank")["lc_alpaca_eval"]
    assert ranked.is_monotonic_decreasing


def test_the_gamed_references_of_another_board_are_told_and_give_its_published_figures(
    shared_data, leaderboard, tmp_path
):
    """AlpacaEval 1's published figures take the gamed references of version 2."""
    first, second = shared_data / "alpaca_eval_1", shared_data / "alpaca_eval_2"
    done = leaderboard(
        "board", "import", "alpaca_eval", first, "--by-position", "--name", "ae1",
        "--difficulty", second / "instruction_difficulty.csv",
        "--gamed", second / "gamed_references.csv", "--results", tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "not versions of text_davinci_003's answers" in done.err
    table = pd.read_csv(tmp_path / "ae1/leaderboard.csv").set_index("model")
    official = pd.read_csv(first / "official_leaderboard.csv").set_index("model")
    listed = official["length_controlled_winrate"].dropna()
    assert len(listed) == 25
    off = 100 * table["lc_alpaca_eval"].reindex(listed.index) - listed
    # One model was judged against other answers of the reference than the board can hold.
    assert off.drop("Mistral-7B+RAHF-DUAL+LoRA").abs().max() < 0.7
    assert leaderboard("board", "calibrate", "ae1", "--results", tmp_path).code == 0
    assert read_json(tmp_path / "ae1/calibration.json")["controls"] == []
