"""`leaderboard show`: one table in every format, by category, and with rows that are not ranked."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import (
    good_answers,
    grid,
    make_board,
    read_lines,
    write_rows,
)

from leaderboard.boards.board import load_board
from leaderboard.boards.calibration import LcAlpacaEvalFile
from leaderboard.commands.show import BY_POSITION, Show
from leaderboard.display.table import CHOICES
from leaderboard.rows.results import Row
from leaderboard.rows.standings import standings
from leaderboard.rows.summary import summarise


@pytest.fixture
def results(ranked, tmp_path) -> Path:
    """A copy of the board with ranked rows, to change."""
    return Path(shutil.copytree(ranked, tmp_path / "results"))


SAMPLE = ["good", "middling", "bad"]


# -------------------------------------------------------------------------------------- the formats
def test_the_plain_table(show, results):
    out = show()
    assert out.startswith("Toy: win rate (%) against base, judged by checklist; ±")
    lines = [line.split() for line in out.splitlines()]
    order = [line[1] for line in lines if len(line) > 1 and line[1] in (*SAMPLE, "base")]
    assert order == ["good", "base", "middling", "bad"]
    rate = Row(results / "toy" / "good").summary()["win_rate"]
    half = 50 * (rate["high"] - rate["low"])
    assert f"{100 * rate['value']:.1f} ± {half:.1f}" in out
    assert "controls: 6 of 6 where they belong" in out


def test_columns_of_numbers_are_aligned(show):
    lines = show().splitlines()
    rule = next(line for line in lines if line.startswith("---"))
    ends = [m.end() for m in re.finditer("-+", rule)]
    rows = [line for line in lines if "answers submitted" in line or "reference" in line]
    assert len(rows) == 4
    for row in rows:
        for end in (ends[2], ends[3], ends[4], ends[5]):
            assert row[end - 1].isdigit(), row


def test_markdown_holds_what_the_table_holds(show):
    cells = grid(show("--format", "markdown"))
    assert cells[0][:3] == ["rank", "model", "win rate"]
    assert [row[1] for row in cells[1:]] == ["good", "base", "middling", "bad"]
    assert all(len(row) == len(cells[0]) for row in cells)


def test_csv_and_json_hold_fractions_in_full(show, results):
    rows = list(csv.DictReader(io.StringIO(show("--format", "csv"))))
    records = json.loads(show("--format", "json"))
    assert [row["model"] for row in rows] == [record["model"] for record in records]
    for row, record in zip(rows, records, strict=True):
        assert list(row) == list(record)
        if record["model"] == "base":
            assert [record[name] for name in ("win_rate", "low", "high")] == [0.5, 0.5, 0.5]
            continue
        rate = Row(results / "toy" / record["model"]).summary()["win_rate"]
        for name, theirs in (("win_rate", "value"), ("low", "low"), ("standard_error",) * 2):
            assert record[name] == rate[theirs]
            assert float(row[name]) == rate[theirs]
        assert record["n_wins"] == rate["n_wins"]
        assert record["is_publishable"] is True


def test_chosen_columns_in_their_order(show):
    cells = grid(
        show("--format", "markdown", "--columns", "model", "judged", "bounds", "tie_group")
    )
    assert cells[0] == ["model", "judged", "if missing lost / won", "group of ties"]
    assert cells[1][:2] == ["good", "12/12"]
    records = json.loads(show("--format", "json", "--columns", "model", "judged", "bounds"))
    assert list(records[0]) == ["model", "n_judged", "n_items", "bound_low", "bound_high"]


def test_a_heading_is_as_good_as_a_name(show):
    header = grid(show("--format", "markdown", "--columns", *CHOICES))[0]
    assert len({*header, *CHOICES}) == len({*header} - {*CHOICES}) + len(CHOICES)
    assert grid(show("--format", "markdown", "--columns", *header))[0] == header
    given = ("model", "characters", "win rate", "SE")
    records = json.loads(show("--format", "json", "--columns", *given))
    assert list(records[0]) == ["model", "mean_characters", "win_rate", "standard_error"]


def test_every_column_can_be_shown(show):
    cells = grid(show("--format", "markdown", "--columns", *CHOICES))
    assert [len(row) for row in cells] == [len(CHOICES)] * 5
    records = json.loads(show("--format", "json", "--columns", *CHOICES))
    assert len(records) == 4
    assert {"rank", "model", "win_rate", "n_judged", "bound_high", "link"} <= set(records[0])


def test_an_unknown_column_lists_the_known(show):
    for form in ("table", "json"):
        said = show("--columns", "model", "elo", "--format", form, code=2)
        assert "no column 'elo'; known: rank, model, win_rate" in said
        assert len(said.splitlines()) == 1


def test_chosen_models_keep_their_ranks(show):
    records = json.loads(show("--format", "json", "--models", "bad", "good"))
    assert [record["model"] for record in records] == ["good", "bad"]
    everyone = {r["model"]: r["rank"] for r in json.loads(show("--format", "json"))}
    assert {r["model"]: r["rank"] for r in records} == {m: everyone[m] for m in ("good", "bad")}


def test_an_unknown_model_lists_the_rows(show):
    said = show("--models", "godo", code=2)
    assert "no row 'godo'; the board has: good, base, middling, bad" in said


def test_options_that_exclude_one_another(show):
    assert "one of --by, --per, --worst and --judges" in show(
        "--by", "category", "--per", "instruction", code=2
    )
    assert "--columns does not go with" in show("--by", "category", "--columns", "rank", code=2)


def test_without_a_board_it_says_where_to_find_them(leaderboard):
    done = leaderboard("show")
    assert done.code == 2
    assert "leaderboard board list" in done.err


# ------------------------------------------------------------------------- categories, instructions
def test_by_category(show, results):
    cells = grid(show("--by", "category", "--format", "markdown"))
    assert cells[0] == ["category", "n", "good", "base", "middling", "bad"]
    assert [row[:2] for row in cells[1:]] == [["even", "6"], ["odd", "6"]]
    even = Row(results / "toy" / "middling").summary()["categories"]["even"]
    value, low, high = (f"{100 * even[key]:.1f}" for key in ("value", "low", "high"))
    assert cells[1][4] == f"{value} [{low}, {high}]", "half of it would misplace a skewed interval"
    records = json.loads(show("--by", "category", "--format", "json", "--models", "middling"))
    assert [(r["category"], r["model"], r["n_items"]) for r in records] == [
        ("even", "middling", 6),
        ("odd", "middling", 6),
    ]
    assert records[0]["win_rate"] == pytest.approx(even["value"])
    assert (records[0]["low"], records[0]["high"]) == pytest.approx((even["low"], even["high"]))


def test_per_instruction(show, results):
    cells = grid(show("--per", "instruction", "--format", "markdown"))
    assert cells[0] == ["instruction", "category", "good", "base", "middling", "bad"]
    assert [row[0] for row in cells[1:]] == [f"toy-{k:02d}" for k in range(12)]
    assert {row[3] for row in cells[1:]} == {"50.0"}
    records = json.loads(show("--per", "instruction", "--format", "json"))
    assert len(records) == 4 * 12
    middling = [r["preference"] for r in records if r["model"] == "middling"]
    stored = [a.preference for a in Row(results / "toy" / "middling").annotations()]
    assert middling == stored
    rows = list(csv.DictReader(io.StringIO(show("--per", "instruction", "--format", "csv"))))
    assert [float(row["preference"]) for row in rows] == [r["preference"] for r in records]


def test_worst_shows_the_clearest_losses_with_the_answers(show):
    out = show("--worst", "2", "middling")
    assert out.count("── toy-") == 2
    assert "── toy-06" in out, "the first of the bad half"
    assert "Say word6, and nothing else." in out
    assert "I am not sure what you mean by that." in out
    assert "The word is word6, I believe." in out


@pytest.mark.parametrize("given", [["3"], ["bad", "3"], ["3", "bad", "good"]])
def test_worst_takes_a_number_and_a_name(show, given):
    said = show("--worst", *given, code=2)
    assert f"--worst {' '.join(given)}: a positive number and the name of a row" in said


def test_worst_needs_a_row_and_a_positive_number(show):
    assert "the board has: bad, good, middling" in show("--worst", "2", "nobody", code=2)
    assert "positive" in show("--worst", "0", "bad", code=2)


# ----------------------------------------------------------------------------------- several boards
def test_several_boards(show, results, leaderboard):
    make_board(results / "small", 4)
    names = ("toy", "small")
    done = leaderboard("show", *names, "--results", results)
    assert "\n\nToy (small): win rate (%)" in done.out, "both have the title Toy"
    data = leaderboard("show", *names, "--results", results, "--format", "json")
    records = json.loads(data.out)
    assert [(r["board"], r["model"]) for r in records[-2:]] == [("toy", "bad"), ("small", "base")]
    data = leaderboard("show", *names, "--results", results, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(data.out)))
    assert [row["board"] for row in rows] == ["toy"] * 4 + ["small"]


def test_tables_of_several_boards_are_told_apart(results, leaderboard):
    make_board(results / "small", 4)
    where = ("--results", results)
    done = leaderboard("show", "toy", "small", "--by", "category", *where)
    assert [line for line in done.out.splitlines() if "(" in line] == ["Toy (toy)", "Toy (small)"]
    done = leaderboard("show", "toy", "small", "--per", "instruction", "--format", "latex", *where)
    assert done.out.startswith("\\begin{table}")


# ------------------------------------------------------------------------------ the published block
def test_the_published_rows_are_those_that_are_asked_for(show, results):
    file = results / "toy" / "published.csv"
    file.write_text("model,win_rate\ngood,61.5\nbad,12.5\nelse,3.25\n")
    assert all(part in show() for part in ("61.5", "12.5", "3.2"))
    chosen = show("--models", "good", "middling")
    assert "61.5" in chosen
    assert not any(part in chosen for part in ("12.5", "3.2"))
    assert "published elsewhere" not in show("--models", "middling")
    assert "published elsewhere" not in show("--columns", "model", "win_rate")


@pytest.mark.parametrize(("aligned", "is_said"), [("instruction", True), ("position", False)])
def test_it_says_why_published_figures_differ(results, monkeypatch, aligned, is_said):
    (results / "toy" / "published.csv").write_text("model,win_rate\ngood,61.5\n")
    board = load_board("toy", results)
    assert "by position" not in Show(boards=("toy",)).text(board, standings(board))
    frozen = LcAlpacaEvalFile(difficulty={}, gamed=[], unit="characters", alignment=aligned)
    with_file = replace(board, lc_alpaca_eval=frozen)
    table = standings(board)
    text = Show(boards=("toy",)).text(with_file, table)
    assert (text.splitlines()[-1] == BY_POSITION) == is_said
    assert "by position" not in Show(boards=("toy",), models=("bad",)).text(with_file, table)


# ------------------------------------------------------------------------- rows that are not ranked
def lose_verdicts(results: Path, name: str, n: int) -> None:
    """Takes the row's first n verdicts away, as if the judge had failed on them."""
    file = results / "toy" / name / "annotations.jsonl"
    lines = read_lines(file)
    for record in lines[:n]:
        record |= {"preference": None, "error": "unparsed"}
    write_rows(file, lines)
    board = load_board("toy", results)
    row = Row(results / "toy" / name)
    row.write_summary(summarise(board, row, board.instructions, row.outputs()))


@pytest.mark.parametrize("lost", [1, 12])
def test_a_row_with_too_few_verdicts_is_shown_unranked(show, results, lost):
    lose_verdicts(results, "good", lost)
    cells = {row[1]: row for row in grid(show("--format", "markdown"))[1:]}
    assert cells["good"][0] == ""
    assert f"{12 - lost}/12" in cells["good"]
    assert list(cells)[-1] == "good", "behind the ranked ones, though it won most"
    records = {r["model"]: r for r in json.loads(show("--format", "json"))}
    assert records["good"]["rank"] is None
    assert records["good"]["is_publishable"] is False
    assert (records["good"]["win_rate"] is None) == (lost == 12)
    assert records["base"]["rank"] == 1
    shown = show("--format", "markdown", "--columns", "model", "bounds")
    assert lost < 12 or "0.0 / 100.0" in shown


def test_categories_without_a_verdict_are_empty(show, results):
    lose_verdicts(results, "good", 12)
    cells = grid(show("--by", "category", "--format", "markdown"))
    column = cells[0].index("good")
    assert [row[column] for row in cells[1:]] == ["", ""]
    records = json.loads(show("--by", "category", "--format", "json", "--models", "good"))
    assert [(r["win_rate"], r["n_judged"]) for r in records] == [(None, 0)] * 2


def test_partial_rows_are_named_below_the_table(show, add_row):
    add_row("started", good_answers(), "--limit", "5")
    live, _, below = show().partition("not in the table:\n")
    assert "started" not in live
    assert below.splitlines()[0] == "  started (partial: 5 of 12 instructions)"
    assert "started" not in show("--format", "csv")
