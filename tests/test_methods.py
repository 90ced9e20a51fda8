"""The methods paragraph is true of every setting a board can have."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import (
    CHECKLIST,
    LONGEST,
    bad_answers,
    good_answers,
    make_board,
    mixed_answers,
    read_lines,
    toy_instructions,
    write_answers,
    write_rows,
)

from leaderboard import __version__
from leaderboard.boards.board import Board, load_board, write_board
from leaderboard.boards.settings import Generation, Settings
from leaderboard.evaluation import evaluate
from leaderboard.judging.controls import ControlResult, control_results
from leaderboard.rows.results import ModelInfo, Row
from leaderboard.rows.standings import standings
from leaderboard.rows.summary import summarise
from leaderboard.site.citations import ENTRIES
from leaderboard.site.methods import (
    bibliography,
    board_hash,
    length_columns,
    methods_paragraph,
    sampling_text,
)

TWO_JUDGES = {"aggregate": "median", "judges": [*CHECKLIST["judges"], *LONGEST["judges"]]}


def said(board: Board) -> str:
    return methods_paragraph(board, standings(board), control_results(board))


def cited(board: Board) -> list[str]:
    return re.findall(r"@\w+\{(\w+),", bibliography(board, standings(board)))


@pytest.fixture
def toy(ranked, tmp_path) -> Board:
    """The board with three rows, to change."""
    shutil.copytree(ranked, tmp_path / "results")
    return load_board("toy", tmp_path / "results")


def board_of(path: Path, **settings: object) -> Board:
    return make_board(path / "other", settings=Settings(references=("base",), **settings))


def recorded(folder: Path, orders: list[str], board_orders: str) -> Board:
    """A board of recorded verdicts, one an instruction and order."""
    lines = [
        {"instruction_id": i.id, "generator_1": "base", "generator_2": "x", "preference": 0.7}
        | ({"order": order} if order != "none" else {})
        for i in toy_instructions(12)
        for order in orders
    ]
    file = write_rows(folder / "people.jsonl", lines)
    panel = {"judges": [{"kind": "recorded", "name": "people", "path": "people.jsonl"}]}
    made = make_board(folder / "plain")
    settings = Settings(references=("base",), orders=board_orders)
    files = {"people.jsonl": file}
    write_board(folder / "rec", settings, made.instructions, made.references, panel, files)
    return load_board("rec", folder)


# ------------------------------------------------------------------------------ what a board pins
def test_what_every_paragraph_says(toy):
    text = said(toy)
    for part in (
        f"3 models were evaluated with Herdbook {__version__} on the board toy (12 instructions",
        board_hash(toy).removeprefix("sha256:")[:16],
        "compared with that of the reference base.",
        "The judge was checklist, a program",
        "tie band 0.05, temperature 0.25",
        "It judged without an order of presentation.",
        "The answers of 3 models were made elsewhere",
        "Every comparison had a preference.",
        "95 % score intervals",
        "Wilson's (1927)",
        "All 6 pairs of ranked rows (among them the reference, a draw everywhere)",
        "Holm's method (Holm, 1979)",
        "against base, lay where they must in 6 of 6 cases (gold ",
    ):
        assert part in text
    assert "\n" not in text
    for absent in (" references", "panel of", "length-controlled", "AlpacaEval", "were run by us"):
        assert absent not in text


def test_the_hash_changes_with_what_is_pinned_and_only_then(tmp_path):
    one = make_board(tmp_path / "one")
    again = make_board(tmp_path / "again", settings=Settings(title="Else", references=("base",)))
    other = make_board(tmp_path / "other", 11)
    assert board_hash(one) == board_hash(again) != board_hash(other)


def test_several_references(tmp_path):
    board = make_board(tmp_path / "two", settings=Settings(references=("base", "second")))
    for name, good in (("a", 12), ("b", 6), ("c", 0)):
        file = write_answers(tmp_path / f"{name}.jsonl", mixed_answers(good))
        evaluate(str(file), board="two", results=tmp_path)
    text = said(board)
    assert "compared with those of 2 references (base, second)." in text
    assert "that were judged against every reference, each the mean over the references" in text
    assert "All 3 pairs of ranked rows were compared" in text, "no reference is a row"


def test_a_panel(tmp_path):
    board = make_board(tmp_path / "panel", panel=TWO_JUDGES)
    text = said(board)
    assert "a panel of 2: checklist, a program that prefers" in text
    assert "heuristic/longest, a rule that prefers the longest answer" in text
    assert "the median of their votes, where at least 2 of the 2 votes are there" in text
    settings = Settings(references=("base",), min_votes=1)
    board = make_board(tmp_path / "lenient", panel=TWO_JUDGES, settings=settings)
    assert "at least 1 of the 2 votes" in said(board)


def test_a_rule_that_draws_lots(tmp_path):
    panel = {"judges": [{"kind": "heuristic", "rule": "random"}]}
    assert "a rule that prefers at random" in said(make_board(tmp_path / "r", panel=panel))


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ("both", "both orders of presentation, whose mean is the vote"),
        ("random", r"one order of presentation, drawn for each instruction by a hash \(seed 0\)"),
        ("fixed", "one order of presentation, the reference's first"),
    ],
)
def test_orders_that_a_judge_sees(tmp_path, orders, expected):
    board = recorded(tmp_path, ["original", "swapped"], orders)
    assert re.search(f"It judged each pair of answers in {expected}", said(board))


def test_recorded_verdicts_whose_order_is_not_known(tmp_path):
    board = recorded(tmp_path, ["none"], "both")
    text = said(board)
    assert "The judge was people, whose verdicts were recorded elsewhere." in text
    assert "It judged in orders of presentation that were not recorded." in text
    assert "no control answers could be put to the judges" in text


# ------------------------------------------------------------------------------------- the answers
@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        (Generation(max_tokens=7), "at most 7 new tokens, greedy decoding, the rest as each"),
        (Generation(temperature=0.7), "temperature 0.7, seed 3, the rest"),
        (Generation(top_p=0.9, top_k=5, repetition_penalty=1.2), "top_p 0.9, top_k 5, repetition"),
    ],
)
def test_generation_settings(tmp_path, generation, expected):
    board = board_of(tmp_path, generation=generation, seed=3)
    assert expected in sampling_text(board)
    assert ("the rest" in sampling_text(board)) == (generation.top_p is None)


def test_who_ran_the_models(toy):
    info = Row(toy.path / "good").info()
    Row(toy.path / "good").write_info(replace(info, status="generated by host"))
    text = said(toy)
    assert "1 model was run by us: at most 1024 new tokens, greedy decoding" in text
    assert "The answers of 2 models were made elsewhere" in text


# ------------------------------------------------------------------------------- rows and verdicts
def lose(board: Board, name: str, n: int) -> None:
    row = Row(board.path / name)
    lines = read_lines(row.annotations_file)
    for record in lines[:n]:
        record |= {"preference": None, "error": "unparsed"}
    write_rows(row.annotations_file, lines)
    row.write_summary(summarise(board, row, board.instructions, row.outputs()))


def test_missing_verdicts_and_unranked_rows(toy):
    lose(toy, "bad", 3)
    text = said(toy)
    assert "left out, not imputed: 75.0 to 100.0 % of a model's comparisons had one" in text
    assert "and 1 model with less than 95 % was not ranked." in text
    assert "All 3 pairs" in text


def test_few_missing_verdicts_leave_a_row_ranked(tmp_path):
    board = make_board(tmp_path / "forty", 40)
    file = write_answers(tmp_path / "good.jsonl", good_answers(40))
    evaluate(str(file), board="forty", results=tmp_path)
    lose(board, "good", 1)
    text = said(board)
    assert "imputed: 97.5 % of a model's comparisons had one. " in text
    assert "not ranked" not in text


def test_no_row_and_one_row(tmp_path):
    board = make_board(tmp_path / "toy")
    text = said(board)
    assert text.startswith("0 models were evaluated")
    assert "The board's control answers have not been judged." in text
    for absent in ("had a preference", "Holm", "pairs"):
        assert absent not in text
    assert "holm1979" not in cited(board)
    evaluate(
        str(write_answers(tmp_path / "good.jsonl", good_answers())), board="toy", results=tmp_path
    )
    text = said(board)
    assert text.startswith("1 model was evaluated")
    assert "The two ranked rows" in text
    assert "Holm" not in text, "one test needs no adjustment"
    assert "holm1979" not in cited(board)


def test_controls_that_failed_are_named(toy):
    results = [
        ControlResult("null", 0.6, 0.55, 0.7, "below", "failed"),
        ControlResult("echo", 0.5, 0.4, 0.6, "below", "inconclusive"),
        ControlResult("null", 0.2, 0.1, 0.3, "below", "passed", "lc_joint"),
    ]
    text = methods_paragraph(toy, standings(toy), results)
    assert (
        "in 0 of 2 cases (null 60.0 %, echo 50.0 %); null failed; echo could not be told." in text
    )
    assert "By lc_joint they lay where they must in the one case there is (null 20.0 %)." in text


# -------------------------------------------------------------------------------------- references
def test_what_is_cited(toy):
    assert cited(toy) == ["herdbook", "wilson1927", "owen2001", "holm1979"]
    assert f"version = {{{__version__}}}" in ENTRIES["herdbook"]


def test_training_seeds_are_told_and_cited(toy, tmp_path):
    assert "training seed" not in said(toy)
    for name, good in (("dpo-0", 10), ("dpo-1", 8), ("sft-0", 4)):
        file = write_answers(tmp_path / f"{name}.jsonl", mixed_answers(good))
        group = name.partition("-")[0]
        evaluate(str(file), board="toy", results=toy.path.parent, group=group)
    text = said(toy)
    assert "1 training method is there with several training seeds: dpo (2 seeds)." in text
    assert "two-way bootstrap over seeds and instructions (Owen, 2007)" in text
    assert "sft" not in text, "one seed is no group"
    assert "owen2007" in cited(toy)


def test_a_calibration_is_told(toy):
    frozen = SimpleNamespace(models="abcdefgh", mediators=["length", "lists"], controls=[])
    table = standings(toy)
    used = replace(table, frame=table.frame.assign(lc_joint=0.5))
    text = methods_paragraph(replace(toy, calibration=frozen), used, [])
    assert (
        "It was calibrated on 8 rows of the board; the differences in form are those in "
        "characters, list items, and no verdicts on controls take part." in text
    )
    assert "The 95 % intervals of lc_joint follow from the influence" in text
    frozen.controls = [SimpleNamespace(name="padded", role="neutral")]
    text = methods_paragraph(replace(toy, calibration=frozen), used, [])
    assert "the verdicts on these controls take part: padded (neutral)." in text


def test_one_is_singular(toy, tmp_path):
    board = board_of(tmp_path, generation=Generation(max_tokens=1))
    assert "at most 1 new token," in sampling_text(board)
    settings = Settings(references=("base",), min_votes=1)
    board = make_board(tmp_path / "lenient", panel=TWO_JUDGES, settings=settings)
    assert "at least 1 of the 2 votes is there" in said(board)
    failed = [ControlResult("null", 0.6, 0.55, 0.7, "below", "failed")]
    assert "in no case (null 60.0 %); null failed." in methods_paragraph(
        toy, standings(toy), failed
    )


def test_length_control_is_told_and_cited_where_it_is_used(toy):
    table = standings(toy)
    assert length_columns(table.frame) == []
    for column in ("lc_alpaca_eval", "lc_joint"):
        used = replace(table, frame=table.frame.assign(**{column: 0.5}))
        assert length_columns(used.frame) == [column]
        assert f"The column {column} is" in methods_paragraph(toy, used, [])
        assert "@misc{dubois2024," in bibliography(toy, used)
    headed = replace(toy, settings=replace(toy.settings, headline="lc_joint"))
    text = methods_paragraph(headed, table, [])
    assert "compared by lc_joint, with Student's t test" in text
    assert "score test that the interval" not in text


def test_verdicts_of_alpaca_eval_are_cited(leaderboard, shared_data, tmp_path):
    source = shared_data / "alpaca_eval_2"
    done = leaderboard(
        "board", "import", "alpaca_eval", source, "--name", "ae", "--results", tmp_path
    )
    assert done.code == 0, done.err
    board = load_board("ae", tmp_path)
    text = said(board)
    assert "The verdicts on 28 models were taken over from AlpacaEval (Li et al., 2023)." in text
    assert "Missing verdicts were left out" in text
    assert cited(board)[-1] == "alpacaeval2023"


def test_a_recorded_row_of_other_origin_cites_nothing(toy):
    for name in ("good", "bad"):
        Row(toy.path / name).write_info(ModelInfo(name=name, status="recorded verdicts"))
    (toy.path / "bad" / "manifest.json").write_text("{", encoding="utf-8")
    assert "The verdicts on 2 models were taken over." in said(toy)
    assert "alpacaeval2023" not in cited(toy)


def test_every_entry_is_balanced_bibtex_that_names_no_stranger():
    for key, entry in ENTRIES.items():
        assert re.match(rf"@(article|book|misc|software)\{{{key},\n", entry)
        assert entry.count("{") == entry.count("}")
        assert entry.endswith("\n}")
    urls = re.findall(r"https?://[^}\s]+", "".join(ENTRIES.values()))
    assert urls == ["https://github.com/tatsu-lab/alpaca_eval"]


# ---------------------------------------------------------------------------------------- the flag
def test_show_prints_the_paragraph_and_the_entries(show, add_row):
    add_row("good", good_answers())
    add_row("bad", bad_answers())
    first, _, rest = show("--methods").partition("\n\n")
    assert first.startswith("2 models were evaluated with Herdbook")
    assert rest.startswith("@software{herdbook,")
    assert max(map(len, first.splitlines())) <= 88


def test_methods_go_with_no_other_option(show):
    for flags in (("--by", "category"), ("--format", "json"), ("--models", "base")):
        assert "--methods goes with no other option" in show("--methods", *flags, code=2)
