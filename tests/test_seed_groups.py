"""Rows of one training method: their group in `show`, in every format."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import grid, make_board, mixed_answers, refused, write_answers

from leaderboard import evaluation
from leaderboard.boards.board import load_board
from leaderboard.commands.show import seeds
from leaderboard.display.table import data, emit
from leaderboard.rows.seed_groups import compare_groups, seed_group_cells, seed_groups
from leaderboard.rows.standings import standings
from leaderboard.statistics.training_seeds import group_difference, seed_group


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The toy board with two seeds of sft, three of dpo, one of ppo, and a row of no group."""
    folder = tmp_path_factory.mktemp("seeded")
    make_board(folder / "toy")

    def add(name: str, good: int, group: str | None) -> None:
        file = write_answers(folder / f"{name}.jsonl", mixed_answers(good))
        evaluation.evaluate(str(file), board="toy", results=folder, group=group)

    for group, goods in (("sft", (5, 6)), ("dpo", (8, 9, 10)), ("ppo", (7,))):
        for seed, good in enumerate(goods):
            add(f"{group}-{seed}", good, group)
    add("alone", 12, None)
    return folder


@pytest.fixture(scope="module")
def seeded(results):
    return standings(load_board("toy", results))


def test_a_group_is_its_seeds(seeded):
    groups = {record["group"]: record for record in seed_groups(seeded)}
    assert list(groups) == ["dpo", "ppo", "sft"]
    rows = [seeded.index(f"dpo-{seed}") for seed in (2, 1, 0)]
    expected = seed_group(seeded.preferences[rows])
    dpo = groups["dpo"]
    assert dpo["models"] == "dpo-2, dpo-1, dpo-0"
    assert (dpo["mean"], dpo["low"], dpo["high"]) == (expected.mean, expected.low, expected.high)
    rates = seeded.frame.set_index("model").loc[["dpo-0", "dpo-1", "dpo-2"], "win_rate"]
    assert dpo["mean"] == pytest.approx(rates.mean())
    assert dpo["seed_sd"] == pytest.approx(rates.std(ddof=1))
    assert (groups["ppo"]["n_seeds"], groups["ppo"]["seed_sd"], groups["ppo"]["low"]) == (
        1, None, None
    )  # fmt: skip


def test_groups_are_compared_by_instruction(seeded):
    found = compare_groups(seeded, "dpo", "sft")
    dpo = seeded.preferences[[seeded.index(f"dpo-{seed}") for seed in (2, 1, 0)]]
    sft = seeded.preferences[[seeded.index(f"sft-{seed}") for seed in (1, 0)]]
    assert found == group_difference(dpo, sft)
    assert found.value == pytest.approx(np.mean(dpo) - np.mean(sft))


def test_the_table_has_a_block_of_groups(seeded, show):
    out = show()
    block = out.split("training seeds: ")[1]
    assert "1 seed: no spread known" in block
    assert "dpo-2, dpo-1, dpo-0" in block
    assert "dpo - sft: +" in block
    assert "by win rate" not in block, "it is what the board ranks by"
    record = next(r for r in seed_groups(seeded) if r["group"] == "dpo")
    assert f"{100 * record['mean']:.1f} ± {50 * (record['high'] - record['low']):.1f}" in block
    assert "training seeds" in show("--format", "markdown")
    assert "training seeds" not in show("--models", "alone")


def test_every_format_holds_the_groups(seeded, show):
    records = json.loads(show("--by", "group", "--format", "json"))
    rows = list(csv.DictReader(io.StringIO(show("--by", "group", "--format", "csv"))))
    assert [row["group"] for row in rows] == [r["group"] for r in records] == ["dpo", "ppo", "sft"]
    assert records[1]["seed_sd"] is None
    assert rows[1]["seed_sd"] == ""
    assert float(rows[0]["high"]) == records[0]["high"]
    cells = grid(show("--by", "group", "--format", "markdown"))
    assert [row[0] for row in cells] == ["group", "dpo", "ppo", "sft"]
    assert "\\begin{tabular}" in show("--by", "group", "--format", "latex")
    assert "sft" not in show("--by", "group", "--models", "dpo-1")


def test_neighbouring_groups_are_compared_in_every_format(seeded, show):
    found = compare_groups(seeded, "dpo", "sft")
    said = (
        f"dpo - sft: {100 * found.value:+.1f} points (95 % interval {100 * found.low:+.1f} to "
        f"{100 * found.high:+.1f})"
    )
    for flags in ((), ("--by", "group"), ("--by", "group", "--format", "markdown")):
        out = show(*flags)
        assert f"\n\n{said}\n" in out, "apart from the table, or it is a row of Markdown's"
        assert "training seeds: rows of one group" in out
    records = json.loads(show("--by", "group", "--format", "json"))
    keys = ("next_group", "difference", "difference_low", "difference_high")
    assert [tuple(r[key] for key in keys) for r in records] == [
        ("sft", found.value, found.low, found.high), (None,) * 4, (None,) * 4
    ]  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(show("--by", "group", "--format", "csv"))))
    assert [row["next_group"] for row in rows] == ["sft", "", ""]
    assert float(rows[0]["difference_low"]) == found.low
    assert show("--by", "group", "--format", "latex").rstrip().endswith("\\end{table}")


def test_a_board_that_ranks_by_something_else_says_what_the_groups_are_by(seeded, results):
    board = load_board("toy", results)
    headed = replace(board, settings=replace(board.settings, headline="lc_joint"))
    text = seeds(headed, seed_groups(seeded), "table")
    assert text.startswith("training seeds, by win rate: ")
    assert "points of win rate (95 % interval" in text


def test_one_board_without_groups_does_not_hide_the_others(results, leaderboard):
    make_board(results / "bare", 4)
    for form in ("table", "json", "latex"):
        done = leaderboard(
            "show", "bare", "toy", "--by", "group", "--format", form, "--results", results
        )
        assert done.code == 0
        assert "dpo-2" in done.out
        assert done.err.startswith("board bare has no groups to show: ")
        assert "eval --group NAME" in done.err
    refused(
        leaderboard(
            "show", "toy", "bare", "--by", "group", "--models", "base", "--results", results
        ),
        "board toy has no groups", "board bare has no groups",
    )  # fmt: skip
    unknown = ("--by", "group", "--models", "nobody", "--results", results)
    refused(leaderboard("show", "toy", *unknown), "no row 'nobody'")


def test_a_board_without_groups_says_how_to_get_them(leaderboard, ranked):
    for form in ("table", "json"):
        done = leaderboard("show", "toy", "--results", ranked, "--by", "group", "--format", form)
        refused(done, "board toy has no groups", "eval --group NAME")
    assert "training seeds" not in leaderboard("show", "toy", "--results", ranked).out


def test_a_groups_name_cannot_break_out_of_the_table():
    record = {"group": "a|b & \x1b[31m", "models": "=1, b", "mean": 0.5, "n_seeds": 1}
    cells = seed_group_cells([record])
    assert "a\\|b" in emit(*cells, "markdown", "")
    assert "\x1b" not in emit(*cells, "table", "")
    assert "a\\textbar{}b \\&" in emit(*cells, "latex", "")
    assert "'=1" in data([record], "csv")
