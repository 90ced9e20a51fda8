"""A board's judges beside each other: `show --judges`, the report's section, flips on the card."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TOY, edit_json, grid, make_board, read_json, toy_instructions
from test_documented_files import documented

from judges.records import to_line
from judges.registry import read_panel
from judges.schema import Output
from leaderboard.boards.board import Board, load_board, write_board
from leaderboard.curation.checking import check_board
from leaderboard.display.card import card
from leaderboard.display.panel_report import PanelReport, panel_report
from leaderboard.display.panel_tables import panel_notes, panel_records, panel_tables
from leaderboard.evaluation import evaluate
from leaderboard.judging.controls import ControlResult
from leaderboard.rows.results import Row
from leaderboard.rows.standings import standings
from leaderboard.rows.summary import both_orders, summarise
from leaderboard.site.methods import methods_paragraph
from leaderboard.site.report import board_report
from leaderboard.statistics.dawid_skene import dawid_skene
from leaderboard.statistics.panels import effective_votes, flips

N = 60
ROWS = {"strong": 0.8, "fair": 0.65, "weak": 0.25}
JUDGES = {"a": 0.0, "b": 0.1, "c": 0.35}
"""Judge → how often the order decides in the place of the answers."""


def verdict(rng: np.random.Generator, strength: float, bias: float, order: str) -> float | None:
    if rng.random() < bias:
        return 0.0 if order == "original" else 1.0  # the first shown
    if rng.random() < 0.05:
        return 0.5
    return float(rng.random() < strength)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The board toy, judged by three recorded judges in both orders; c dislikes the row `fair`."""
    rng = np.random.default_rng(0)
    instructions = toy_instructions(N)
    folder = tmp_path_factory.mktemp("made") / "results"
    recorded = {judge: [] for judge in JUDGES}
    for row, strength in ROWS.items():
        for i in instructions:
            # What the judges share: an instruction that is hard for a row.
            shared = min(max(strength + rng.normal(0, 0.3), 0), 1)
            for judge, bias in JUDGES.items():
                liked = 0.05 if (judge, row) == ("c", "fair") else shared
                seed = rng.integers(1 << 30)
                for order in ("original", "swapped"):
                    found = verdict(np.random.default_rng(seed), liked, bias, order)
                    line = {"instruction_id": i.id, "generator_1": "base", "generator_2": row}
                    recorded[judge].append(line | {"order": order, "preference": found})
    tables = [
        {"kind": "recorded", "name": judge, "path": f"verdicts/{judge}.jsonl"} for judge in JUDGES
    ]
    files = {
        f"verdicts/{judge}.jsonl": "".join(to_line(line) + "\n" for line in lines)
        for judge, lines in recorded.items()
    }
    references = {
        i.id: Output(instruction_id=i.id, generator="base", text=f"base {i.id}")
        for i in instructions
    }
    board = folder / "toy"
    write_board(board, TOY, instructions, {"base": references}, {"judges": tables}, files)
    for row in ROWS:
        answers = [{"instruction": i.text, "output": f"{row} {i.id}"} for i in instructions]
        file = folder.parent / f"{row}.json"
        file.write_text(json.dumps(answers))
        evaluate(str(file), board="toy", results=folder)
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of that board, to change."""
    return Path(shutil.copytree(made, tmp_path / "results"))


@pytest.fixture
def board(results: Path) -> Board:
    return load_board("toy", results)


@pytest.fixture
def report(board: Board) -> PanelReport:
    return panel_report(board, standings(board))


def votes_of(board: Board) -> pd.DataFrame:
    """row, instruction, judge, original, swapped: counted from the files."""
    lines = []
    for row in ROWS:
        for judge, pairs in both_orders(Row(board.path / row).annotations()).items():
            lines += [(row, c, judge, *pair) for c, pair in pairs.items()]
    return pd.DataFrame(lines, columns=["row", "comparison", "judge", "original", "swapped"])


# ----------------------------------------------------------------------------------- the figures
def test_flips_of_a_judge_are_those_of_its_rows(board, report):
    stored = votes_of(board)
    for judge in report.judges:
        own = stored[stored["judge"] == judge.name]
        counted = flips(own["original"], own["swapped"], own["comparison"])
        assert judge.flips == counted
        parts = [read_json(board.path / row / "summary.json")["flips"] for row in ROWS]
        for figure in ("n_flipped", "n_decided", "n_tied"):
            total = sum(of[judge.name][figure] for of in parts)
            assert getattr(judge.flips, figure) == total
    by_name = {judge.name: judge.flips for judge in report.judges}
    assert by_name["a"].n_flipped == 0
    assert 0 < by_name["b"].n_flipped < by_name["c"].n_flipped
    assert by_name["c"].first_shown.low > 0.5


def test_rates_are_those_of_the_summaries(board, report):
    for row in ROWS:
        summary = read_json(board.path / row / "summary.json")
        assert report.panel[row].value == summary["win_rate"]["value"]
        for judge in report.judges:
            rate, stored = judge.rates[row], summary["judges"][judge.name]
            found = (rate.value, rate.low, rate.high)
            assert found == pytest.approx((stored["value"], stored["low"], stored["high"]))


def test_effective_votes_and_agreement_are_from_all_votes(board, report):
    stored = votes_of(board)
    stored["vote"] = (stored["original"] + stored["swapped"]) / 2
    wide = stored.pivot_table(index=["row", "comparison"], columns="judge", values="vote")
    expected = effective_votes(wide.to_numpy(), wide.index.get_level_values("comparison"))
    assert report.effective.votes.value == pytest.approx(expected.votes.value)
    assert report.effective.votes.low == pytest.approx(expected.votes.low)
    assert set(report.pairs) == {("a", "b"), ("a", "c"), ("b", "c")}
    sides = np.sign(wide - 0.5)
    for (one, two), pair in report.pairs.items():
        assert pair.n == 3 * N
        agreement = 1 - (sides[one] - sides[two]).abs().mean() / 2
        assert pair.raw.value == pytest.approx(agreement)
        assert pair.correlation.value == pytest.approx(wide[one].corr(wide[two]))


def test_weights_learnt_from_the_votes_are_shown_and_not_used(board, report):
    stored = votes_of(board)
    stored["vote"] = (stored["original"] + stored["swapped"]) / 2
    wide = stored.pivot_table(index=["row", "comparison"], columns="judge", values="vote")
    expected = dawid_skene(wide.to_numpy())
    assert report.learnt.weights == pytest.approx(expected.weights)
    title, _, body = panel_tables(report)[-1]
    assert "not used" in title
    assert [row[0] for row in body] == list(JUDGES)
    assert [row[-1] for row in body] == [f"{100 * w:.1f}" for w in expected.weights]
    assert any("of 3 votes" in line for line in panel_notes(report))
    one_sided = replace(report.learnt, path=np.array([[0.1, 0.1, 0.8]]))
    notes = panel_notes(replace(report, learnt=one_sided))
    assert any(line.startswith("c would have 80 % of the weight") for line in notes)


def test_the_ranking_without_a_judge(board, report):
    """Without c, which dislikes it, the row `fair` passes the reference."""
    rates = {row: {j.name: j.rates[row].value for j in report.judges} for row in ROWS}
    assert report.ranked[0] == "strong"
    assert set(report.ranked) == {*ROWS, "base"}
    for judge in report.judges:
        mean = {
            row: np.mean([rate for name, rate in of.items() if name != judge.name])
            for row, of in rates.items()
        } | {"base": 0.5}
        order = sorted(mean, key=lambda row: -mean[row])
        assert judge.ranks_without == tuple(order.index(row) + 1 for row in report.ranked)
        assert judge.without.largest == max(map(abs, judge.without.shifts))
    (c,) = (judge for judge in report.judges if judge.name == "c")
    at = report.ranked.index("fair")
    assert c.ranks_without[at] < report.ranks[at]
    assert c.without.tau < 1


def rejudged(results: Path, tmp_path: Path, **panel: object) -> PanelReport:
    """The same rows before the same judges by another panel rule."""
    old = load_board("toy", results)
    tables = read_panel(old.path / "panel.toml")["judges"]
    weights = panel.pop("weights", (None,) * len(tables))
    for table, weight in zip(tables, weights, strict=True):
        table |= {} if weight is None else {"weight": weight}
    files = {f"verdicts/{judge}.jsonl": old.path / f"verdicts/{judge}.jsonl" for judge in JUDGES}
    folder = tmp_path / "others"
    new = folder / "toy"
    write_board(new, TOY, old.instructions, old.references, {**panel, "judges": tables}, files)
    for row in ROWS:
        evaluate(str(old.path / row / "outputs.jsonl"), board="toy", results=folder, name=row)
    board = load_board("toy", folder)
    return panel_report(board, standings(board))


def test_weights_count_in_the_effective_votes(board, results, report, tmp_path):
    weighed = rejudged(results, tmp_path, aggregate="weighted", weights=(1.0, 2.0, 4.0))
    stored = votes_of(board)
    stored["vote"] = (stored["original"] + stored["swapped"]) / 2
    wide = stored.pivot_table(index=["row", "comparison"], columns="judge", values="vote")
    expected = effective_votes(wide.to_numpy(), weights=[1, 2, 4])
    assert weighed.effective.votes.value == pytest.approx(expected.votes.value)
    assert weighed.effective.votes.value < report.effective.votes.value


def test_where_one_judge_judges_an_item_nobody_agrees(results, tmp_path):
    alone = rejudged(results, tmp_path, assign="one")
    assert (alone.agreement, alone.effective.votes) == (None, None)
    assert sum(j.flips.n_decided + j.flips.n_tied for j in alone.judges) == 3 * N
    assert sum(rate.n_instructions for j in alone.judges for rate in j.rates.values()) == 3 * N
    for j in alone.judges:
        assert not np.isnan(j.without.tau)
    assert len(panel_tables(alone)) == 2
    assert "effective votes: not known, as no comparison has those of all" in panel_notes(alone)
    assert not [r for r in panel_records(alone) if r["figure"] in ("agreement", "correlation")]


# -------------------------------------------------------------------------------------- what is shown
def show(leaderboard, results, *args, code=0):
    done = leaderboard("show", "toy", "--judges", "--results", results, *args)
    assert done.code == code, done.err
    return done.out if code == 0 else done.err


def test_the_text_says_what_the_judges_are_worth(leaderboard, results, report):
    out = show(leaderboard, results)
    c = report.judges[2]
    assert f"{c.flips.n_flipped} of {c.flips.n_decided}" in out
    assert f"effective votes: {report.effective.votes.value:.1f} of 3" in out
    assert "without c: base 2 → 3, fair 3 → 2" in out
    assert "→" in out
    cells = grid(show(leaderboard, results, "--format", "markdown"))
    assert cells[0] == ["model", "panel", "a", "b", "c"]
    assert [row[0] for row in cells[1:4]] == list(report.panel)
    cells = grid(show(leaderboard, results, "--format", "markdown", "--models", "weak"))
    assert [row[0] for row in cells[1:3]] == ["weak", "judge"]
    latex = show(leaderboard, results, "--format", "latex")
    assert latex.count("\\begin{tabular}") == 4
    assert not [line for line in latex.splitlines() if " %" in line.replace("\\%", "")]


def test_a_star_marks_what_the_rank_interval_does_not_hold(report):
    assert not [line for line in panel_notes(report) if "*" in line]
    sure = replace(report, rank_intervals=tuple((rank, rank) for rank in report.ranks))
    notes = panel_notes(sure)
    assert "without c: base 2 → 3*, fair 3 → 2*" in notes
    assert notes[-1] == "* outside of the rank interval of the whole panel"
    # Those of another headline say nothing of ranks by win rate.
    assert not [line for line in panel_notes(replace(sure, rank_intervals=None)) if "*" in line]


def test_records_are_the_documented_ones(leaderboard, results, report):
    records = json.loads(show(leaderboard, results, "--format", "json"))
    heading = "What show --by group and plan print"
    assert list(records[0]) == documented(heading, 1)
    assert {record["figure"] for record in records} == set(documented(heading, 2))
    rows = list(csv.DictReader(io.StringIO(show(leaderboard, results, "--format", "csv"))))
    assert len(rows) == len(records)
    (found,) = (r for r in records if r["figure"] == "flips" and r["judge"] == "c")
    assert (found["count"], found["n"]) == (
        report.judges[2].flips.n_flipped,
        report.judges[2].flips.n_decided,
    )
    assert found["low"] < found["value"] < found["high"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--by", "category"), "give one of"),
        (("--columns", "model"), "--columns does not go"),
        (("--methods",), "--methods goes with no other"),
        (("--models", "nobody"), "no row 'nobody'"),
    ],
)
def test_what_does_not_go_together(leaderboard, results, args, said):
    assert said in show(leaderboard, results, *args, code=2)


def test_a_board_without_rows_has_nothing_to_say(leaderboard, tmp_path):
    make_board(tmp_path / "results" / "toy")
    said = show(leaderboard, tmp_path / "results", code=2)
    assert "board toy has no ranked rows" in said


def test_the_report_has_a_section_of_judges(board):
    html = board_report(board)
    section = html.partition('aria-labelledby="judges"')[2].partition("</section>")[0]
    assert "effective votes:" in section
    assert "without c: base 2 → 3, fair 3 → 2" in section
    assert section.count("<table") == 4
    assert '<a href="#judges">' in html


def test_a_judge_alone_that_sees_no_order_has_no_section(ranked):
    assert 'id="judges"' not in board_report(load_board("toy", ranked))
    single = panel_report(load_board("toy", ranked), standings(load_board("toy", ranked)))
    assert single.effective is None
    assert single.judges[0].flips is None
    assert single.judges[0].without is None


# ---------------------------------------------------------------------------- summaries and cards
def test_a_card_says_how_often_the_order_decided(leaderboard, results, tmp_path):
    done = leaderboard("eval", "weak", "--only", "judge", "--board", "toy", "--results", results)
    assert done.code == 0, done.err
    flips_of = read_json(results / "toy" / "weak" / "summary.json")["flips"]
    assert max(found["n_tied"] for found in flips_of.values()) > 0
    for judge, found in flips_of.items():
        share = 100 * found["n_flipped"] / found["n_decided"]
        expected = f"flips ({judge}): {found['n_flipped']} of {found['n_decided']} decided pairs"
        ties = f", {found['n_tied']} ties apart" if found["n_tied"] else ""
        assert f"  {expected} ({share:.1f} %){ties}\n" in done.out


def test_many_judges_share_a_line_of_the_card(board):
    row = read_json(board.path / "weak" / "summary.json")
    row["flips"] = {
        f"j{n}": {"n_flipped": n, "n_decided": 10 * (n > 0), "n_tied": 0} for n in range(5)
    }
    text = card(board, row, standings(board), [])
    expected = "flips: 10.0 to 40.0 % of the decided pairs, by judge; leaderboard show toy --judges"
    assert f"  {expected}\n" in text
    del row["flips"]
    assert "flips" not in card(board, row, standings(board), [])


def test_an_old_summary_without_flips_is_good(board):
    path = board.path / "weak" / "summary.json"
    summary = read_json(path)
    del summary["flips"]
    path.write_text(json.dumps(summary))
    assert check_board(board) == {}
    assert len(panel_report(board, standings(board)).panel) == 3


def test_flips_that_do_not_follow_are_found(board):
    summary = read_json(board.path / "weak" / "summary.json")
    wrong = {**summary["flips"], "c": {**summary["flips"]["c"], "n_flipped": 99}}
    edit_json(board.path / "weak" / "summary.json", flips=wrong)
    assert check_board(board) == {"weak": "the summary's flips do not follow from the row's files"}


# ------------------------------------------------------------------------- judges that say nothing
def dead(results: Path, vote: float | None) -> Path:
    """The board with a judge c that always gives the one vote, or none."""
    folder = results / "toy"
    for row in ROWS:
        path = folder / row / "annotations.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if line["annotator"] == "c":
                line |= {"preference": vote, "error": None if vote is not None else "budget"}
        path.write_text("".join(to_line(line) + "\n" for line in lines))
    return results


def test_a_dead_judge_is_no_vote_and_is_named(results):
    board = load_board("toy", dead(results, 0.5))
    found = panel_report(board, standings(board))
    assert found.effective.constant == (2,)
    assert "c's vote is the same everywhere: it adds nothing" in panel_notes(found)
    assert found.effective.votes.value < 2


def test_a_card_says_that_the_votes_of_all_are_not_there(results):
    board = load_board("toy", dead(results, None))
    row = Row(board.path / "weak")
    summary = summarise(board, row, board.instructions, row.outputs())
    text = card(board, summary, standings(board), [])
    said = " ".join(text.split())
    assert "win rate: none, no instruction has the votes of all judges (min_votes = all)" in said
    assert f"votes: a {N} of {N}, b {N} of {N}, c 0 of {N}" in said


def test_many_judges_stand_one_below_another(report):
    tables = panel_tables(replace(report, is_drawn=True))
    _, headers, body = tables[0]
    assert headers == ["model", "judge", "win rate", "instructions"]
    assert [line[:2] for line in body[:4]] == [
        ["strong", "(panel)"], ["strong", "a"], ["strong", "b"], ["strong", "c"]
    ]  # fmt: skip
    _, headers, body = tables[2]
    assert [line[:2] for line in body] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert max(len(headers) for _, headers, _ in tables) <= 7
    still = replace(report.pairs["a", "b"], correlation=None)
    pairs = {**report.pairs, ("a", "b"): still, ("a", "c"): None}
    _, _, body = panel_tables(replace(report, is_drawn=True, pairs=pairs))[2]
    assert [line[3] for line in body] == ["", body[1][3]]


def test_a_card_before_the_last_has_the_controls_in_one_line(ranked):
    board = load_board("toy", ranked)
    row = read_json(board.path / "bad" / "summary.json")
    failed = [ControlResult("null", 0.6, 0.55, 0.7, "below", "failed")]
    full, short = (
        card(board, row, standings(board), failed, with_note=is_last) for is_last in (True, False)
    )
    assert "FAILED null: 60.0 %" in full
    assert "controls: 0 of 1 where they belong" in short
    assert "FAILED" not in short


def test_the_methods_say_flips_kin_and_served_names(board):
    path = board.path / "weak" / "summary.json"
    edit_json(path, self_judging={"a": "it is the candidate"}, served={"a": {"gpt-x-1": 3}})
    text = methods_paragraph(board, standings(board), [])
    assert "Judges that are kin of a candidate: a of weak (it is the candidate)" in text
    assert "named their models thus: a: gpt-x-1." in text
    assert "changed with the order, of those decided: a 0 of " in text
