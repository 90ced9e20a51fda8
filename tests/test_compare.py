"""Two rows of a board: the paired difference, and whether they can be told apart."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import (
    TOY,
    Finished,
    good_answers,
    grid,
    make_board,
    mixed_answers,
    refused,
    write_answers,
    write_rows,
)
from scipy.special import ndtr
from scipy.stats import binom
from test_documented_files import documented

import leaderboard as api
from judges.errors import UserError
from leaderboard.boards.board import load_board
from leaderboard.cli import main
from leaderboard.comparing.comparison import compare, compare_in, compare_pairs, pairs_of
from leaderboard.display.comparison_table import differences_text, paragraph
from leaderboard.display.table import caption
from leaderboard.rows.standings import standings
from leaderboard.statistics.uncertainty import holm, paired_p, sign_flip_p

HEADLINE_KEYS = {"headline_difference", "headline_is_separable"}
# Of the weight of 4: the reference meets 3 in every answer, a good answer 4, a bad one 1.
BEST, WORST = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(2))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A results folder whose board toy has the rows strong, weak and empty."""
    folder = tmp_path_factory.mktemp("prepared")
    make_board(folder / "results" / "toy")
    rows = {"strong": mixed_answers(9), "weak": mixed_answers(6), "empty": [""] * 12}
    for name, texts in rows.items():
        file = write_answers(folder / f"{name}.jsonl", texts)
        api.evaluate(str(file), board="toy", results=folder / "results")
    return folder / "results"


@pytest.fixture
def results(prepared, tmp_path) -> Path:
    """A copy of `prepared` to change."""
    return Path(shutil.copytree(prepared, tmp_path / "results"))


@pytest.fixture(scope="module")
def toy(prepared):
    return load_board("toy", prepared)


def test_the_paired_difference_by_hand(toy):
    pair = compare("strong", "weak", board=toy)
    # They differ in three of twelve answers, by the same amount each.
    differences = np.array([0.0] * 6 + [BEST - WORST] * 3 + [0.0] * 3)
    assert pair.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert pair.standard_error == pytest.approx(differences.std(ddof=1) / 12**0.5, abs=1e-12)
    assert (pair.n, pair.n_wins, pair.n_ties, pair.n_losses) == (12, 3, 9, 0)
    # Of the eight choices of three signs, two have a sum as large.
    assert pair.p_value == pair.p_holm == pytest.approx(2 / 8)
    assert pair.n_comparisons == 1
    assert pair.low < pair.difference < pair.high
    assert not pair.is_separable


def test_against_the_reference_it_is_the_win_rate_less_a_half(toy):
    pair = compare("strong", "base", board=toy)
    assert pair.difference == pytest.approx((9 * BEST + 3 * WORST) / 12 - 0.5, abs=1e-12)
    assert (pair.n_wins, pair.n_losses) == (9, 3)


def test_swapping_the_rows_turns_every_sign(toy):
    for a, b in (("strong", "weak"), ("weak", "base"), ("empty", "strong")):
        there, back = compare(a, b, board=toy), compare(b, a, board=toy)
        assert (there.difference, there.low, there.high) == (
            -back.difference,
            -back.high,
            -back.low,
        )
        assert (there.n_wins, there.n_losses, there.n_ties) == (
            back.n_losses,
            back.n_wins,
            back.n_ties,
        )
        assert (there.p_value, there.p_holm) == (back.p_value, back.p_holm)
        assert there.is_separable == back.is_separable


def test_a_row_is_not_compared_with_itself(toy):
    with pytest.raises(UserError, match="weak is compared with itself"):
        compare("weak", "weak", board=toy)


def test_separability_is_what_the_rank_intervals_count(toy):
    table = standings(toy)
    frame = table.frame.set_index("model")
    some = False
    for a in table.models:
        pairs = [compare_in(table, a, b) for b in table.models if b != a]
        better = sum(p.is_separable and p.difference < 0 for p in pairs)
        worse = sum(p.is_separable and p.difference > 0 for p in pairs)
        assert frame.loc[a, "rank_low"] == 1 + better
        assert frame.loc[a, "rank_high"] == len(table.models) - worse
        some = some or worse > 0
    assert some, "a test of nothing if no two rows can be told apart"


def test_what_is_significant_alone_need_not_be_among_all_pairs(results, evaluate, tmp_path):
    perfect = write_answers(tmp_path / "perfect.jsonl", good_answers())
    feeble = write_answers(tmp_path / "feeble.jsonl", mixed_answers(5))
    evaluate(feeble, perfect)
    pair = compare("perfect", "feeble", board=load_board("toy", results))
    assert pair.p_value < 0.05
    assert not pair.is_separable


def test_only_common_instructions_count(tmp_path):
    board = make_board(tmp_path / "toy", 40)
    for name, good in (("one", 40), ("two", 0)):
        file = write_answers(tmp_path / f"{name}.jsonl", mixed_answers(good, 40))
        api.evaluate(str(file), board="toy", results=tmp_path)
    # One verdict of the first and another of the second are lost: still publishable.
    for name, at in (("one", 3), ("two", 7)):
        file = board.path / name / "annotations.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:at] + lines[at + 1 :]))
    pair = compare("one", "two", board=load_board("toy", tmp_path))
    assert pair.n == 38
    assert pair.difference == pytest.approx(BEST - WORST)


def test_it_is_public_and_takes_a_boards_name(prepared, toy):
    pair = api.compare("strong", "weak", board="toy", results=str(prepared))
    assert pair == compare("strong", "weak", board=toy)


def test_the_command_says_difference_counts_and_verdict(prepared, toy, leaderboard):
    done = leaderboard("compare", "toy", "strong", "weak", "--results", prepared)
    assert (done.code, done.err) == (0, "")
    pair = compare("strong", "weak", board=toy)
    assert f"strong - weak on toy: {100 * pair.difference:+.1f} points" in done.out
    assert f"95 % interval {100 * pair.low:+.1f} to {100 * pair.high:+.1f}" in done.out
    assert "12 instructions: 3 better, 9 equal, 0 worse" in done.out
    assert "p = 0.2500 (two-sided sign-flip test of these two alone)" in done.out
    assert "among all 6 pairs of the board, tested together as for ranks: cannot be" in done.out
    sure = leaderboard("compare", "toy", "strong", "empty", "--results", prepared)
    assert ": can be told apart" in sure.out


# --------------------------------------------------------------------------------------- families
def test_none_named_is_every_pair_in_the_order_of_the_table(prepared, toy):
    table = standings(toy)
    assert pairs_of(table, []) == list(combinations(["strong", "base", "weak", "empty"], 2))
    assert pairs_of(table, ["weak", "empty", "strong"]) == [
        ("strong", "weak"),
        ("strong", "empty"),
        ("weak", "empty"),
    ]
    assert pairs_of(table, ["weak", "strong"]) == [("weak", "strong")], "two stay as given"


def test_a_baseline_is_compared_with_each(toy):
    table = standings(toy)
    against = [(m, "weak") for m in ("strong", "base", "empty")]
    assert pairs_of(table, [], "weak") == against
    assert pairs_of(table, ["empty", "weak", "strong"], "weak") == [against[0], against[2]]


def test_holm_is_over_the_comparisons_shown(toy):
    table = standings(toy)
    for baseline in (None, "weak"):
        made = compare_pairs(table, pairs_of(table, [], baseline))
        k = {None: 6, "weak": 3}[baseline]
        assert [one.n_comparisons for one in made] == [k] * k
        p = sorted(one.p_value for one in made)
        by_hand = [min(1.0, max((k - j) * p[j] for j in range(i + 1))) for i in range(k)]
        assert sorted(one.p_holm for one in made) == pytest.approx(by_hand)
        for one in made:
            alone = compare_in(table, one.a, one.b)
            assert replace(one, p_holm=alone.p_holm, n_comparisons=1) == alone


def test_categories_are_compared_each_and_adjusted_together(toy):
    table = standings(toy)
    categories = [i.category for i in toy.instructions]
    made = compare_pairs(table, pairs_of(table, []), categories)
    assert len(made) == 12
    assert [one.p_holm for one in made] == list(holm([one.p_value for one in made]))
    for one in made:
        held = np.array(categories) == one.category
        d = (table.preferences[table.index(one.a)] - table.preferences[table.index(one.b)])[held]
        assert (one.n, one.n_wins, one.n_losses) == (6, (d > 1e-9).sum(), (d < -1e-9).sum())
        assert one.difference == pytest.approx(d.mean())
        assert one.p_value == pytest.approx(sign_flip_p(np.where(abs(d) < 1e-9, 0, d)))


def test_a_category_without_common_verdicts_is_left_out(toy):
    table = standings(toy)
    categories = [i.category for i in toy.instructions]
    preferences = table.preferences.copy()
    preferences[table.index("strong"), [c == "odd" for c in categories]] = np.nan
    table = replace(table, preferences=preferences)
    made = compare_pairs(table, [("strong", "weak"), ("weak", "empty")], categories)
    assert [(one.a, one.category, one.n_comparisons) for one in made] == [
        ("strong", "even", 3),
        ("weak", "even", 3),
        ("weak", "odd", 3),
    ]
    preferences[table.index("strong")] = np.nan
    with pytest.raises(UserError, match="strong and weak have no judged instruction in common"):
        compare_pairs(table, [("strong", "weak")])


def test_p_is_never_zero_and_rounding_no_difference(toy):
    table = standings(toy)
    many = np.full((len(table.models), 5000), 0.5)
    many[table.index("strong")] = 1.0
    many[table.index("weak")] = 0.5 + 1e-15
    table = replace(table, preferences=many)
    sure, equal = compare_pairs(table, [("strong", "base"), ("weak", "base")])
    assert 0 < sure.p_value < 1e-300
    assert 0 < sure.p_holm < 1e-300
    assert (equal.n_ties, equal.p_value) == (5000, 1.0)


# -------------------------------------------------------------------------- the choice of the test
def test_the_normal_p_of_hard_verdicts_rejects_as_often_as_it_says():
    """With m equal differences the sum is binomial, so that the true size is known."""
    size = {0.05: [], 0.01: []}
    for m in range(15, 401):
        wins = np.arange(m + 1)
        p = 2 * ndtr(-np.abs(2 * wins - m) / math.sqrt(m))
        assert p[3] == pytest.approx(sign_flip_p(np.repeat([1.0, -1.0], [3, m - 3])))
        for level, sizes in size.items():
            sizes.append(binom.pmf(wins, m, 0.5)[p <= level].sum())
    assert np.mean(size[0.05]) == pytest.approx(0.050, abs=5e-4)
    assert np.mean(size[0.01]) == pytest.approx(0.0098, abs=5e-5)
    assert max(size[0.05]) < 0.079


@pytest.mark.parametrize(("folder", "n_pairs"), [("alpaca_eval_1", 351), ("alpaca_eval_2", 435)])
def test_on_published_verdicts_it_decides_as_the_test_of_the_ranks(shared_data, folder, n_pairs):
    verdicts = pd.read_parquet(shared_data / folder / "annotations.parquet")
    wide = verdicts.pivot_table(index="model", columns="instruction_index", values="preference")
    preferences = np.vstack([wide.to_numpy() - 1, np.full(wide.shape[1], 0.5)])
    flips, scores = [], []
    for one, two in combinations(preferences, 2):
        difference = (one - two)[~np.isnan(one - two)]
        flips.append(sign_flip_p(difference))
        scores.append(paired_p(difference))
    assert len(flips) == n_pairs
    for alone, other in ((flips, scores), (holm(flips), holm(scores))):
        for level in (0.05, 0.01):
            assert ((np.array(alone) <= level) != (np.array(other) <= level)).sum() <= 1


def test_where_interval_and_test_are_of_two_minds_it_is_said(tmp_path, leaderboard):
    """Nine of eleven hard verdicts: p = 0.065, and an interval just above zero."""
    answers = [{"instruction_id": f"toy-{k:02d}", "output": text} for k, text in enumerate(
        ["much longer than what the reference says of it"] * 9 + [""] * 2
        + [f"The word is word{k}, I believe." for k in range(11, 20)])]  # fmt: skip
    panel = {"judges": [{"kind": "heuristic", "rule": "longest"}]}
    make_board(tmp_path / "toy", 20, panel=panel)
    api.evaluate(str(write_rows(tmp_path / "m.jsonl", answers)), board="toy", results=tmp_path)
    pair = compare("m", "base", board="toy", results=str(tmp_path))
    assert pair.low > 0
    assert pair.p_value == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    for format_ in ("table", "markdown"):
        done = leaderboard("compare", "toy", "m", "base", "--results", tmp_path,
                           "--format", format_)  # fmt: skip
        assert "read that as undecided" in done.out


# ------------------------------------------------------------------------------------- the command
@pytest.fixture
def run(prepared, leaderboard):
    """Runs `compare toy` with these arguments."""
    return lambda *args: leaderboard("compare", "toy", *args, "--results", prepared)


def printed(run: Finished) -> str:
    assert (run.code, run.err) == (0, "")
    return run.out


def test_the_table_names_its_family(run, toy):
    out = printed(run("--baseline", "empty", "--format", "markdown"))
    head, *lines = grid(out)
    assert head == ["model", "against", "points", "interval", "p", "Holm",
                    "better/equal/worse", "n"]  # fmt: skip
    assert [line[:2] for line in lines] == [["strong", "empty"], ["base", "empty"],
                                            ["weak", "empty"]]  # fmt: skip
    pair = compare("strong", "empty", board=toy)
    assert lines[0][2] == f"{100 * pair.difference:+.1f}"
    assert "Holm: adjusted for the 3 comparisons shown" in out
    assert "another test of all 6 pairs of its rows together" in out
    assert "differences of win rates against base" in out
    every = printed(run())
    assert "Holm: adjusted for the 6 comparisons shown" in every
    assert every.count("strong") == 3


def test_data_hold_the_documented_keys_in_full(run, toy):
    records = json.loads(printed(run("--format", "json")))
    assert [set(one) for one in records] == [
        set(documented("What compare prints", 0)) - {"category", *HEADLINE_KEYS}
    ] * 6
    pair = compare_in(standings(toy), records[0]["a"], records[0]["b"])
    assert records[0]["difference"] == pair.difference
    assert records[0]["is_separable"] is pair.is_separable
    rows = list(csv.DictReader(io.StringIO(printed(run("--format", "csv", "--by", "category")))))
    assert set(rows[0]) == set(documented("What compare prints", 0)) - {
        "is_separable", *HEADLINE_KEYS}  # fmt: skip
    assert {row["n_comparisons"] for row in rows} == {"12"}


def test_by_category_is_one_table(run):
    head, *lines = grid(printed(run("strong", "weak", "--by", "category", "--format", "markdown")))
    assert head[0] == "category"
    assert [line[:3] for line in lines] == [["even", "strong", "weak"], ["odd", "strong", "weak"]]


def test_latex_marks_what_differs_from_the_baseline(run, toy):
    out = printed(run("--baseline", "weak", "--format", "latex"))
    table = standings(toy)
    made = {one.a: one.p_holm for one in compare_pairs(table, pairs_of(table, [], "weak"))}
    cells = [line.removesuffix(" \\\\").split(" & ") for line in out.splitlines() if " & " in line]
    assert [row[0] for row in cells[1:]] == [
        f"\\textbf{{{row.model}}}" if row.rank_low == 1 else row.model
        for row in table.frame.itertuples()
    ]
    for name, rate in cells[1:]:
        p = made.get(name.removeprefix("\\textbf{").removesuffix("}"), 1.0)
        mark = "*" if p <= 0.01 else "\\dag{}" if p <= 0.05 else ""
        whole = re.fullmatch(r"(\\textbf\{)?\d+\.\d \$\\pm\$ \d+\.\d(.*?)(?(1)\})", rate)
        assert whole[2] == mark
    assert min(made.values()) <= 0.05, "a test of nothing if nothing is marked"
    assert "win rate different from that of weak, for better or worse" in out
    assert "orders" not in out, "a checklist sees no order"
    assert "Holm-adjusted for 3 comparisons" in out
    assert "Bold: no other row of the board has a significantly better win rate" in out


def test_latex_without_a_baseline_has_no_marks(run):
    out = printed(run("--format", "latex"))
    assert "\\dag" not in out
    assert "*" not in out
    assert "\\textbf{strong}" in out


def test_latex_of_two_rows_marks_the_first(run):
    out = printed(run("strong", "empty", "--format", "latex"))
    assert "different from that of empty" in out
    assert "base &" not in out
    assert "paired by instruction)" in out, "one comparison alone needs no adjustment"


def test_latex_by_category_marks_cells(run):
    out = printed(run("--baseline", "strong", "--by", "category", "--format", "latex"))
    assert "category & n & strong & base & weak & empty" in out
    assert "Holm-adjusted for 6 comparisons" in out
    assert "\\textbf" not in out


def test_latex_holds_no_raw_special_characters(results, evaluate, leaderboard, tmp_path):
    for name, good in (("a_1", 12), ("b_2", 3)):
        evaluate(write_answers(tmp_path / f"{name}.jsonl", mixed_answers(good)))
    for flags in ([], ["--by", "category"]):
        out = printed(leaderboard("compare", "toy", "a_1", "b_2", *flags, "--results", results,
                                  "--format", "latex"))  # fmt: skip
        assert "a\\_1" in out
        assert not re.search(r"(?<!\\)[_%#]", out)
        assert out.count("{") == out.count("}")


# -------------------------------------------------------------------------------------------- slips
def test_an_unknown_row_is_an_error_that_lists_the_rows(run):
    ranked = "base, empty, strong, weak"
    refused(run("strong", "nobody"), f"no row 'nobody'; the board has: {ranked}")
    refused(run("--baseline", "nobody"), f"no row 'nobody'; the board has: {ranked}")
    refused(run("weak", "--baseline", "weak"), f"nothing else; the ranked rows are: {ranked}")
    refused(run("weak"), "a second row to compare weak with")
    refused(run("weak", "weak", "strong"), "weak is compared with itself")


def test_rows_that_are_not_ranked_are_refused_with_the_reason(
    results, evaluate, leaderboard, tmp_path
):
    evaluate(write_answers(tmp_path / "part.jsonl", good_answers()), "--limit", "5")
    evaluate(write_answers(tmp_path / "torn.jsonl", good_answers()))
    file = results / "toy" / "torn" / "annotations.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:6]))
    for name, why in (
        ("part", "partial: 5 of 12 instructions"),
        ("torn", "verdicts are missing, or"),
    ):
        done = leaderboard("compare", "toy", "base", name, "--results", results)
        refused(done, f"the row '{name}' is not", why, "the ranked rows are: base")
    make_board(results / "lone")
    lone = leaderboard("compare", "lone", "--results", results)
    refused(lone, "there is nothing to compare yet: the board ranks base alone")
    refused(leaderboard("compare", "lone", "--direct", "--results", results), "nothing to c")
    refused(leaderboard("compare", "lone", "base", "nobody", "--results", results), "no row 'nob")


def test_flags_that_do_not_go_together_are_refused(run):
    refused(run("strong", "weak", "--direct", "--by", "category"), "--by is for verdicts against")
    refused(run("strong", "weak", "--direct", "--panel", "offline"), "give --direct or --panel")
    refused(run("strong", "--strengths"), "--strengths takes no rows")
    refused(run("--baseline", "strong", "--strengths"), "--strengths takes no rows")


def test_a_forgotten_board_is_said_first(prepared, leaderboard):
    refused(leaderboard("compare", "strong", "weak", "--results", prepared),
            "there is no board 'strong'", "known: starter, toy")  # fmt: skip


def test_a_reference_of_several_is_compared_directly(tmp_path, leaderboard):
    settings = replace(TOY, references=("base", "more"))
    board = make_board(tmp_path / "two", settings=settings)
    refused(leaderboard("compare", "two", "--results", tmp_path), "the board ranks no row")
    for name in ("one", "other"):
        file = write_answers(tmp_path / f"{name}.jsonl", mixed_answers(len(name)))
        api.evaluate(str(file), board="two", results=tmp_path)
    hint = "'more' is one of the references that all rows are judged against"
    refused(leaderboard("compare", "two", "one", "more", "--results", tmp_path), hint, "--direct")
    refused(leaderboard("compare", "two", "--baseline", "more", "--results", tmp_path), hint)
    with pytest.raises(UserError, match=hint):
        compare("one", "more", board=board)
    done = leaderboard("compare", "two", "--direct", "--results", tmp_path, "--format", "json")
    met = {(one["a"], one["b"]) for one in json.loads(done.out)}
    assert met == set(combinations(["other", "one", "base", "more"], 2))


# --------------------------------------------------------------------------- a pair, and rounding
def test_one_pair_is_not_all_pairs(tmp_path, leaderboard):
    make_board(tmp_path / "toy", 40)
    api.evaluate(str(write_answers(tmp_path / "m.jsonl", good_answers(40))), board="toy",
                 results=tmp_path)  # fmt: skip
    said = printed(leaderboard("compare", "toy", "--results", tmp_path))
    assert "as the only pair of the board, tested as for ranks: can be told apart" in said
    table = printed(leaderboard("compare", "toy", "--results", tmp_path, "--format", "markdown"))
    assert "Holm: the same, as one comparison alone is shown" in table
    assert "of the only pair of its rows." in table
    for text in (said, table):
        assert "all 1" not in text
        assert "1 comparison" not in text


def test_nothing_has_no_minus_sign(toy):
    table = standings(toy)
    preferences = table.preferences.copy()
    preferences[table.index("weak")] = preferences[table.index("base")] - 1e-6
    one = compare_pairs(replace(table, preferences=preferences), [("weak", "base")])
    assert one[0].difference < 0
    said = paragraph(toy, table, one[0])
    assert "+0.0 points" in said
    assert "-0.0" not in said + differences_text(toy, table, one, "markdown")


def test_orders_stand_in_the_caption_where_a_judge_sees_them(toy):
    class Reader:
        """A judge that is shown one answer first."""

        name, sees_order = "reader", True

    panel = replace(toy.panel, judges=(*toy.panel.judges, Reader()))
    assert "instructions; orders: both." in caption(replace(toy, panel=panel))
    assert "instructions." in caption(toy)


# ------------------------------------------------------------- a board that ranks by another figure
@pytest.fixture(scope="module")
def by_lc_joint(tmp_path_factory) -> Path:
    """A results folder whose board toy ranks its eight rows by lc_joint."""
    results = tmp_path_factory.mktemp("lc") / "results"
    make_board(results / "toy", 40)
    for n in range(8):
        texts = [text + " And so on." * ((k * (n + 2)) % 5)
                 for k, text in enumerate(mixed_answers(4 + 5 * n, 40))]  # fmt: skip
        file = write_answers(results.parent / f"row{n}.jsonl", texts)
        api.evaluate(str(file), board="toy", results=results)
    command = ["board", "calibrate", "toy", "--headline", "lc_joint", "--results", str(results)]
    assert main(command) == 0
    return results


def test_the_headline_is_compared_where_it_ranks(by_lc_joint, leaderboard):
    board = load_board("toy", by_lc_joint)
    table = standings(board)
    frame = table.frame.set_index("model")
    pair = compare("row7", "row0", board=board)
    assert pair.headline_difference == pytest.approx(
        frame.loc["row7", "lc_joint"] - frame.loc["row0", "lc_joint"]
    )
    assert pair.headline_difference != pytest.approx(pair.difference)
    some = set()
    for a in table.models:
        pairs = [compare_in(table, a, b) for b in table.models if b != a]
        apart = [p for p in pairs if p.headline_is_separable]
        assert frame.loc[a, "rank_low"] <= 1 + sum(p.headline_difference < 0 for p in apart)
        assert frame.loc[a, "rank_high"] >= len(frame) - sum(
            p.headline_difference > 0 for p in apart
        )
        some |= {p.headline_is_separable for p in pairs}
    assert some == {True, False}, "a test of nothing if all pairs are alike"

    def run(*args: str) -> str:
        return printed(leaderboard("compare", "toy", *args, "--results", by_lc_joint))

    said = run("row7", "row0")
    assert "among all 36 pairs of the board, by win rate, tested together: " in said
    assert "as for ranks" not in said
    verdict = "can" if pair.headline_is_separable else "cannot"
    assert (
        f"by lc_joint, which the board ranks by: {100 * pair.headline_difference:+.1f} points, "
        f"{verdict} be told apart among all 36 pairs of the board" in said
    )
    out = run("--format", "markdown")
    head, *lines = grid(out)
    assert head[-1] == "by lc_joint"
    assert {line[-1].endswith("*") for line in lines} == {True, False}
    assert "The board ranks by lc_joint, not by win rate" in out
    assert "*: a test of all 36 pairs of its rows together tells the two apart" in out
    by_category = run("--format", "markdown", "--by", "category")
    assert grid(by_category)[0][-1] == "n"
    assert "The board ranks by lc_joint, not by win rate.\n" in by_category


def test_records_of_such_a_board_have_two_keys_more(by_lc_joint, leaderboard):
    def keys(*args: str) -> set[str]:
        done = leaderboard("compare", "toy", *args, "--format", "json", "--results", by_lc_joint)
        (one,) = {frozenset(record) for record in json.loads(printed(done))}
        return set(one)

    assert keys() == set(documented("What compare prints", 0)) - {"category"}
    assert keys("--by", "category") == set(documented("What compare prints", 0)) - {
        "is_separable", *HEADLINE_KEYS}  # fmt: skip


def test_latex_shows_the_figure_that_ranks_first(by_lc_joint, leaderboard):
    def run(*args: str) -> str:
        flags = ("--format", "latex", "--results", by_lc_joint)
        return printed(leaderboard("compare", "toy", *args, *flags))

    frame = standings(load_board("toy", by_lc_joint)).frame
    out = run()
    cells = [line.removesuffix(" \\\\").split(" & ") for line in out.splitlines() if " & " in line]
    assert cells[0] == ["model", "lc\\_joint", "win rate"]
    for row, (name, ranks_by, _) in zip(frame.itertuples(), cells[1:], strict=True):
        half = 50 * (row.lc_joint_high - row.lc_joint_low)
        assert f"{100 * row.lc_joint:.1f} $\\pm$ {half:.1f}" in ranks_by
        assert name.startswith("\\textbf") == (row.rank_low == 1)
    assert "The rows are in the order of lc\\_joint, the win rate controlled for length" in out
    assert "a significantly better lc\\_joint (all pairs" in out
    assert "lc joint" not in out
    assert "The columns are in the order of lc\\_joint" in run("--by", "category")
