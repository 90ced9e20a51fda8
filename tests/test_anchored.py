"""`show --humans` and `plan --humans`: labels bound to a row, refused where they say nothing."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import (
    Finished,
    grid,
    make_board,
    mixed_answers,
    refused,
    toy_instructions,
    write_answers,
    write_rows,
)
from test_documented_files import documented

from judges.errors import UserError
from leaderboard import evaluation
from leaderboard.boards.board import Board, load_board
from leaderboard.boards.settings import Settings
from leaderboard.rows.results import Row, write_annotations
from leaderboard.rows.standings import standings
from leaderboard.statistics.ppi import anchored_rate
from leaderboard.validity.anchored import (
    OPTIONAL,
    REQUIRED,
    AnchoredBoard,
    AnchoredRow,
    anchor,
    judged,
)
from leaderboard.validity.anchored_table import with_anchored
from leaderboard.validity.label_plan import plan_labels

N = 60
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose board toy has 60 instructions and the rows strong, even; not to be
    changed."""
    folder = tmp_path_factory.mktemp("anchored")
    make_board(folder / "results" / "toy", N)
    for name, good in (("strong", 48), ("even", 30)):
        file = write_answers(folder / f"{name}.jsonl", mixed_answers(good, N))
        evaluation.evaluate(str(file), board="toy", results=folder / "results")
    return folder / "results"


@pytest.fixture(scope="module")
def board(home: Path) -> Board:
    return load_board("toy", home)


@pytest.fixture
def run(leaderboard: Callable[..., Finished], home: Path) -> Callable[..., Finished]:
    return lambda command, *args: leaderboard(command, "toy", "--results", home, *args)


def labels(model: str = "strong", n: int = 40, wins: int = 28, *annotators: str) -> Rows:
    """People's labels of every third instruction first, wins before losses."""
    order = sorted(range(N), key=lambda k: (k % 3, k))[:n]
    return [
        {
            "model": model,
            "instruction_id": f"toy-{k:02d}",
            "annotator": annotator,
            "preference": float(place < wins),
            "sampled": "random",
        }
        for place, k in enumerate(sorted(order))
        for annotator in annotators or ("anna",)
    ]


def anchored(board: Board, tmp_path: Path, rows: Rows):
    file = write_rows(tmp_path / "labels.jsonl", rows)
    return anchor(board, standings(board), file)


# --------------------------------------------------------------------------------------- the figure
def test_the_figure_is_that_of_the_statistics(board, tmp_path):
    found = anchored(board, tmp_path, labels()).rows["strong"]
    said = {row["instruction_id"]: row["preference"] for row in labels()}
    values = [said.get(instruction.id, np.nan) for instruction in board.instructions]
    assert found.figures == anchored_rate(values, judged(board, Row(board.path / "strong")))
    assert (found.figures.n_labelled, found.figures.n_items, found.n_unbound) == (40, N, 40)
    assert found.corrected is not None
    assert found.corrected.n_wins == 28


def test_annotators_of_an_item_are_averaged(board, tmp_path):
    rows = labels("strong", 40, 28, "anna", "ben")
    for row in rows[1:20:2]:  # ben sees ten of the wins the other way
        row["preference"] = 0.0
    found = anchored(board, tmp_path, rows).rows["strong"]
    assert found.figures.n_labelled == 40
    assert (found.n_labels, found.n_annotators) == (80, 2)
    assert found.figures.labels_only.value == pytest.approx((18 + 5) / 40)
    assert found.corrected is None
    assert "not all wins and losses" in found.uncorrected


def test_a_missing_verdict_keeps_the_label(home, tmp_path):
    results = Path(shutil.copytree(home, tmp_path / "results"))
    board = load_board("toy", results)
    row = Row(board.path / "strong")
    kept = [a for a in row.annotations() if a.comparison_id not in ("base:toy-00", "base:toy-03")]
    write_annotations(row.annotations_file, kept)
    found = anchored(board, tmp_path, labels()).rows["strong"]
    assert (found.figures.n_labelled, found.figures.n_unjudged) == (40, 2)
    assert found.figures.labels_only.value == 28 / 40


def test_several_references_need_a_label_against_each(tmp_path):
    settings = Settings(title="Two", references=("base", "other"))
    make_board(tmp_path / "results" / "two", toy_instructions(N), settings=settings)
    file = write_answers(tmp_path / "strong.jsonl", mixed_answers(48, N))
    evaluation.evaluate(str(file), board="two", results=tmp_path / "results")
    board = load_board("two", tmp_path / "results")
    with pytest.raises(UserError, match="the field 'reference' is missing"):
        anchored(board, tmp_path, labels())
    against = {name: [{**row, "reference": name} for row in labels()] for name in ("base", "other")}
    with pytest.raises(UserError, match="has no label against other"):
        anchored(board, tmp_path, against["base"])
    for row in against["other"]:
        row["preference"] = 0.0
    both = anchored(board, tmp_path, against["base"] + against["other"]).rows["strong"]
    assert both.figures.labels_only.value == pytest.approx(14 / 40)


def test_labelled_pairs_are_found_by_their_texts(board, tmp_path):
    outputs = Row(board.path / "strong").outputs()
    rows = []
    for n, comparison in enumerate(board.comparisons(board.instructions[:40], outputs, "strong")):
        texts = [comparison.output_1, comparison.output_2]
        one, two = texts if n % 2 else texts[::-1]
        better = comparison.output_2 if n < 28 else comparison.output_1
        rows.append(
            {
                "messages": [{"role": "user", "content": comparison.instruction.text}],
                "output_1": one,
                "output_2": two,
                "label": "output_1" if better == one else "output_2",
                "annotator": "anna",
                "sampled": "random",
            }
        )
    found = anchored(board, tmp_path, rows).rows["strong"]
    assert found.figures.labels_only.value == 28 / 40
    assert found.n_unbound == 0
    with pytest.raises(UserError, match="is not said"):
        anchored(board, tmp_path, [{k: v for k, v in r.items() if k != "sampled"} for r in rows])
    rows[3]["output_1"] = "something else"
    with pytest.raises(UserError, match="are those of no row of the board"):
        anchored(board, tmp_path, rows)


# ---------------------------------------------------------------------------------------- the table
def test_the_table_gains_a_column_and_says_what_it_rests_on(run, board, tmp_path):
    file = write_rows(tmp_path / "labels.jsonl", labels() + labels("even", 10))
    figures = anchored(board, tmp_path, labels()).rows["strong"].figures
    file = write_rows(tmp_path / "labels.jsonl", labels() + labels("even", 10))
    done = run("show", "--humans", file, "--format", "markdown")
    assert done.code == 0, done.err
    table = grid(done.out.split("human labels of")[0])
    cells = {row[1]: row[-1] for row in table[1:]}
    assert table[0][-1] == "win rate (PPI)"
    shown = f"{100 * figures.rate.value:.1f} ± {100 * figures.rate.half_width:.1f}"
    assert cells == {"strong": shown, "base": "", "even": ""}
    block = grid("human labels of" + done.out.split("human labels of")[1])
    assert block[1][:2] == ["strong", f"40/{N}"]
    assert block[1][4:7] == [
        f"{figures.weight:.2f}", f"{figures.correlation:.2f}", f"{figures.gain:.1f}"
    ]  # fmt: skip
    assert "even: 10 labelled instructions, 30 are needed" in done.out
    assert "strong: 40 of 40 labels have no digest" in done.out
    assert "random sample" in done.out


def test_a_rate_near_the_end_has_its_ends_where_half_a_width_leads_beyond():
    rows = {
        name: AnchoredRow(
            model=name, figures=anchored_rate(labels, np.full(50, 0.5)), corrected=None,
            uncorrected="", n_labels=50, n_annotators=1, n_unbound=0,
        )
        for name, labels in (("all", np.ones(50)), ("half", np.tile([0.0, 1.0], 25)))
    }  # fmt: skip
    table = with_anchored(pd.DataFrame({"model": list(rows)}), AnchoredBoard(rows, {}))
    one, other = table["win rate (PPI)"]
    assert re.fullmatch(r"100\.0 \[9\d\.\d, 100\.0\]", one)
    assert re.fullmatch(r"50\.0 ± \d+\.\d", other)


def test_programs_get_the_figures_in_full(run, board, tmp_path):
    file = write_rows(tmp_path / "labels.jsonl", labels())
    figures = anchor(board, standings(board), file).rows["strong"].figures
    records = json.loads(run("show", "--humans", file, "--format", "json").out)
    strong = next(record for record in records if record["model"] == "strong")
    assert strong["win_rate_ppi"] == figures.rate.value
    assert strong["win_rate_ppi_low"] == figures.rate.low
    assert strong["lambda"] == figures.weight
    assert strong["n_labelled"] == 40
    even = next(record for record in records if record["model"] == "even")
    added = documented("What show --humans and plan --humans print")
    assert set(added) == set(strong) - set(json.loads(run("show", "--format", "json").out)[0])
    assert all(even[field] is None for field in added)
    rows = list(csv.DictReader(io.StringIO(run("show", "--humans", file, "--format", "csv").out)))
    assert rows[0].keys() == strong.keys()


def test_without_the_flag_nothing_changes(run, tmp_path):
    assert "PPI" not in run("show").out
    file = write_rows(tmp_path / "labels.jsonl", labels())
    latex = run("show", "--humans", file, "--format", "latex").out
    assert "win rate (PPI)" in latex
    assert "human labels of" not in latex


@pytest.mark.parametrize("flags", [["--by", "category"], ["--judges"], ["--methods"]])
def test_what_it_does_not_go_with(run, tmp_path, flags):
    file = write_rows(tmp_path / "labels.jsonl", labels())
    refused(run("show", "--humans", file, *flags), "go")


# ----------------------------------------------------------------------------------------- refusals
BAD: dict[str, tuple[Callable[[Rows], object], str]] = {
    "no word on sampling": (lambda r: r[4].pop("sampled"), "line 5: how the labelled instructions"),
    "chosen by hand": (lambda r: r[0].update(sampled="hardest"), "is said to be 'hardest'"),
    "too few": (lambda r: r.__delitem__(slice(29, None)), "at least 30 instructions"),
    "unknown item": (lambda r: r[0].update(instruction_id="toy-99"), "no instruction 'toy-99'"),
    "unknown row": (lambda r: r[0].update(model="nobody"), "no row 'nobody'"),
    "the reference": (lambda r: r[0].update(model="base"), "no row 'base'"),
    "unknown reference": (lambda r: r[0].update(reference="other"), "no 'other'"),
    "said twice": (lambda r: r.append({**r[2]}), "'anna' labelled strong on 'toy-03' before"),
    "unknown class": (lambda r: r[0].update(preference="win"), "preference 'win' is none of"),
    "a number between": (lambda r: r[0].update(preference=0.7), "preference 0.7 is none of"),
    "true": (lambda r: r[0].update(preference=True), "preference True is none of"),
    "not a number": (lambda r: r[0].update(preference=float("nan")), "preference nan is none of"),
    "nothing": (lambda r: r[0].update(preference=None), "'preference' is missing"),
    "mixed ids": (lambda r: r[0].update(instruction_id=0), "instruction_id 0 is no text"),
    "mixed annotators": (lambda r: r[0].update(annotator=1), "annotator 1 is no text"),
    "other texts": (lambda r: r[0].update(digest="0" * 16), "of other texts than strong and base"),
    "unknown field": (lambda r: r[0].update(note="!"), "unknown field 'note'"),
}


@pytest.mark.parametrize("name", BAD)
def test_labels_that_are_refused(run, tmp_path, name):
    spoil, complaint = BAD[name]
    rows = labels()
    spoil(rows)
    file = write_rows(tmp_path / "labels.jsonl", rows)
    refused(run("show", "--humans", file), complaint)


def test_a_digest_binds_a_label_to_its_texts(board, tmp_path):
    outputs = Row(board.path / "strong").outputs()
    held = {c.instruction.id: c.digest for c in board.comparisons(board.instructions, outputs, "")}
    rows = [{**row, "digest": held[row["instruction_id"]]} for row in labels()]
    assert anchored(board, tmp_path, rows).rows["strong"].n_unbound == 0


def test_one_class_and_all_ties_have_a_figure(board, tmp_path):
    same = anchored(board, tmp_path, labels("strong", 40, 40)).rows["strong"]
    assert same.figures.rate.value == 1
    assert same.figures.rate.low < 1
    assert same.corrected is None
    ties = anchored(board, tmp_path, [{**r, "preference": 0.5} for r in labels()]).rows["strong"]
    assert ties.figures.rate == ties.figures.labels_only


def test_the_documented_fields_of_a_label():
    assert documented("Labels of a row") == [*REQUIRED, *OPTIONAL]


# ------------------------------------------------------------------------------------------- plans
def test_a_plan_with_assumed_correlations(run, board):
    plan = plan_labels(board, standings(board))
    assert plan.is_assumed
    assert [size.n for size in plan.expected] == [30, 50]
    for size in plan.expected:
        assert size.alone > size.together[0] > size.together[1] > size.together[2]
    done = run("plan", "--humans", "--format", "markdown")
    assert done.code == 0, done.err
    table = grid(done.out.split("Labelled instructions that")[0])
    assert table[0][1:] == [
        "labels alone", "correlation 0.40", "correlation 0.60", "correlation 0.80"
    ]  # fmt: skip
    assert [row[0] for row in table[1:]] == ["30", "50"]
    assert "assumed" in done.out


def test_a_plan_with_what_was_observed(run, board, tmp_path):
    file = write_rows(tmp_path / "labels.jsonl", labels())
    plan = plan_labels(board, standings(board), n=45, labels=file)
    figures = anchor(board, standings(board), file).rows["strong"].figures
    assert plan.correlations == (figures.correlation,)
    assert plan.deviation == pytest.approx(np.std([1] * 28 + [0] * 12, ddof=1))
    assert [size.n for size in plan.expected] == [45]
    printed = json.loads(run("plan", "--humans", "45", file, "--format", "json").out)
    assert printed["expected"][0]["n"] == 45
    assert printed["is_assumed"] is False
    rows = list(csv.DictReader(io.StringIO(run("plan", "--humans", file, "--format", "csv").out)))
    assert {row["figure"] for row in rows} == {"half_width", "labels"}
    assert "\\toprule" in run("plan", "--humans", "--format", "latex").out


def test_plans_that_are_refused(run, leaderboard, ranked, tmp_path):
    refused(run("plan", "--humans", "10"), "from 30 labels")
    refused(run("plan", "--humans", "61"), "60 instructions")
    refused(run("plan", "--humans", "40", "50"), "a number, a file of labels, or both")
    refused(run("plan", "--humans", "--n", "40"), "no other option")
    refused(run("plan", "--humans", tmp_path / "none.jsonl"), "no such file")
    refused(leaderboard("plan", "toy", "--results", ranked, "--humans"), "has 12 instructions")
    same = write_rows(tmp_path / "same.jsonl", labels("strong", 40, 40))
    refused(run("plan", "--humans", same), "no correlation can be seen")
