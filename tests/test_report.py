"""`leaderboard report`: what a board's files hold, as one HTML file, and nothing that is private."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from conftest import (
    CHECKLIST,
    LONGEST,
    Finished,
    edit_json,
    files_of,
    good_answers,
    make_board,
    mixed_answers,
    read_json,
    read_lines,
    refused,
    toy_instructions,
    write_answers,
    write_rows,
)
from test_documented_files import documented
from test_render import Parsed, cells

from judges.errors import UserError
from leaderboard import __version__
from leaderboard.boards.board import load_board
from leaderboard.boards.settings import Settings
from leaderboard.comparing.head_to_head import head_to_head
from leaderboard.evaluation import evaluate as run_evaluation
from leaderboard.rows.results import ModelInfo, Row
from leaderboard.rows.standings import standings
from leaderboard.rows.summary import summarise
from leaderboard.site.methods import methods_paragraph
from leaderboard.site.report import board_report, constant_rows, last_change
from leaderboard.user_files import check_name


@pytest.fixture
def results(ranked, tmp_path) -> Path:
    """A copy of the board with ranked rows, to change."""
    return Path(shutil.copytree(ranked, tmp_path / "results"))


@pytest.fixture
def html(results) -> str:
    return board_report(load_board("toy", results))


def text_of(html: str) -> str:
    return " ".join("".join(Parsed(html).text).split())


def section(html: str, name: str) -> str:
    return html.partition(f'aria-labelledby="{name}"')[2].partition("</section>")[0]


def told(html: str) -> dict[str, str]:
    """What stands beside each term."""
    pairs = re.findall(r"<dt>(.*?)</dt>\s*<dd>(.*?)</dd>", html, re.S)
    return {unescape(term): unescape(re.sub("<.*?>", "", said)) for term, said in pairs}


# -------------------------------------------------------------------------------------- the command
def test_the_command_writes_one_file_beside_the_board(results, leaderboard, tmp_path, monkeypatch):
    before = files_of(results)
    monkeypatch.chdir(tmp_path)
    done = leaderboard("report", "toy", "--results", results)
    assert done.code == 0, done.err
    report = results / "toy" / "report.html"
    assert done.out == f"{report}: open it in a browser\n"
    assert report.read_text("utf-8") == board_report(load_board("toy", results))
    report.unlink()
    assert files_of(results) == before, "nothing else is written"
    assert not list(tmp_path.glob("*.html")), "and nothing here"


def test_two_boards_of_one_name_keep_their_reports(results, leaderboard, tmp_path):
    other = Path(shutil.copytree(results, tmp_path / "other"))
    assert leaderboard("report", "toy", "--results", results).code == 0
    before = (results / "toy" / "report.html").read_bytes()
    shutil.rmtree(other / "toy" / "bad")
    assert leaderboard("report", "toy", "--results", other).code == 0
    assert (results / "toy" / "report.html").read_bytes() == before


def test_a_report_is_no_row_and_the_board_stays_sound(results, leaderboard):
    before = leaderboard("show", "toy", "--results", results).out
    assert leaderboard("report", "toy", "--results", results).code == 0
    assert leaderboard("show", "toy", "--results", results).out == before
    assert leaderboard("board", "check", "toy", "--results", results).code == 0
    assert "<board>/report.html" in documented("The layout")
    with pytest.raises(UserError, match="reserved"):
        check_name("Report.html", "the row's name")


def test_a_report_is_replaced_and_no_other_file(results, leaderboard, tmp_path):
    out = tmp_path / "mine.html"
    for _ in range(2):
        assert leaderboard("report", "toy", "--results", results, "--out", out).code == 0
    out.write_text("<!DOCTYPE html>\n<p>my own page</p>\n", encoding="utf-8")
    done = leaderboard("report", "toy", "--results", results, "--out", out)
    refused(done, str(out), "no report", "another name")
    assert "my own page" in out.read_text("utf-8")


def wrong(leaderboard, results: Path, out: Path) -> Finished:
    return leaderboard("report", "toy", "--results", results, "--out", out)


def test_where_a_report_cannot_go(results, leaderboard, tmp_path):
    refused(wrong(leaderboard, results, tmp_path / "toy.pdf"), "ends in .html")
    refused(wrong(leaderboard, results, tmp_path / "none" / "toy.html"), "there is no folder")
    (tmp_path / "folder.html").mkdir()
    refused(wrong(leaderboard, results, tmp_path / "folder.html"), "this is a folder")


def test_a_board_that_is_not_there(leaderboard, tmp_path):
    refused(leaderboard("report", "none", "--results", tmp_path), "none")


# ---------------------------------------------------------------------------------------- the bytes
def test_the_same_files_make_the_same_bytes(results, tmp_path):
    one = board_report(load_board("toy", results))
    elsewhere = Path(shutil.copytree(results, tmp_path / "elsewhere"))
    assert board_report(load_board("toy", elsewhere)) == one
    assert str(tmp_path) not in one


def test_the_day_is_that_of_the_last_change(results):
    board = load_board("toy", results)
    for file in results.rglob("*"):
        if file.is_file():
            os.utime(file, (0, 86400))
    assert last_change(board) == "1970-01-02"
    os.utime(results / "toy" / "bad" / "annotations.jsonl", (0, 10 * 86400 + 1))
    assert last_change(board) == "1970-01-11"
    assert "1970-01-11" in board_report(board)


# -------------------------------------------------------------------------------------- the figures
def test_the_table_is_that_of_the_board(results, html):
    frame = standings(load_board("toy", results)).frame
    body = cells(section(html, "table"))[1:]
    assert [row[1] for row in body] == list(frame["model"])
    assert [row[2].split()[0] for row in body] == [f"{100 * p:.1f}" for p in frame["win_rate"]]
    assert [row[-2] for row in body] == ["12/12"] * 4


def test_the_header_says_what_was_judged_by_whom(html):
    header = html.partition("<header>")[2].partition("</header>")[0]
    assert "Toy" in text_of(header)
    assert "Win rate against base, judged by checklist." in text_of(header)
    facts = told(header)
    assert facts["Instructions"] == "12"
    assert facts["Rows ranked"] == "4 of 4"
    assert facts["Orders of presentation"] == "none is seen"
    assert facts["Herdbook"] == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts["Files last changed"])
    assert facts["Board’s hash"].startswith("sha256:")


def test_pairs_controls_configuration_and_methods_are_there(results, html):
    board = load_board("toy", results)
    table = standings(board)
    apart = int((table.pairs.holm <= 0.05).sum()) // 2
    assert f"{apart} of 6 pairs of rows can be told apart" in text_of(section(html, "pairs"))
    controls = cells(section(html, "controls"))[1:]
    assert [row[0] for row in controls] == [
        "gold", "null", "echo", "truncated", "padded", "injected",
    ]  # fmt: skip
    assert {row[-1] for row in controls} == {"✓ passed"}
    configuration = told(section(html, "configuration"))
    assert set(board.hashes.items()) <= set(configuration.items())
    assert configuration["generation.max_tokens"] == "1024"
    assert configuration["tie_band"] == "0.05"
    methods = unescape(section(html, "methods"))
    assert "3 models were evaluated with Herdbook" in methods
    assert "@article{wilson1927," in methods


def test_every_chosen_setting_is_there(tmp_path):
    generation = replace(Settings(references=("base",)).generation, temperature=0.7, top_p=0.9)
    settings = Settings(references=("base",), seed=7, orders="random", generation=generation)
    make_board(tmp_path / "b", settings=settings)
    shown = told(section(board_report(load_board("b", tmp_path)), "configuration"))
    assert (shown["orders"], shown["seed"]) == ("random", "7")
    assert (shown["generation.temperature"], shown["generation.top_p"]) == ("0.7", "0.9")
    assert "generation.top_k" not in shown, "not chosen"


def test_a_panel_that_fails_its_controls_is_told_at_the_top(tmp_path):
    make_board(tmp_path / "longest", panel=LONGEST)
    file = write_answers(tmp_path / "good.jsonl", good_answers())
    run_evaluation(str(file), board="longest", results=tmp_path)
    html = board_report(load_board("longest", tmp_path))
    header = text_of(html.partition("<header>")[2].partition("</header>")[0])
    assert re.search(r"The judges failed \d of 6 controls \(.*padded.*\)", header)
    assert "✗ failed" in section(html, "controls")


def test_a_board_without_rows(tmp_path):
    make_board(tmp_path / "empty")
    html = board_report(load_board("empty", tmp_path))
    assert cells(section(html, "table"))[1][1] == "base"
    assert "controls: not judged" in section(html, "controls")
    assert 'id="pairs"' not in html
    assert 'id="length"' not in html


def test_several_references_and_no_row(tmp_path):
    make_board(tmp_path / "two", settings=Settings(references=("base", "second")))
    html = board_report(load_board("two", tmp_path))
    Parsed(html)
    assert "base and second" in text_of(html)
    file = write_answers(tmp_path / "good.jsonl", good_answers())
    run_evaluation(str(file), board="two", results=tmp_path)
    assert "good" in cells(section(board_report(load_board("two", tmp_path)), "table"))[1][1]


def test_training_seeds_are_grouped(results, add_row):
    for name, good in (("dpo-0", 10), ("dpo-1", 8)):
        add_row(name, mixed_answers(good), "--group", "dpo")
    add_row("sft-0", mixed_answers(4), "--group", "sft")
    html = board_report(load_board("toy", results))
    body = cells(section(html, "groups"))[1:]
    assert [(row[0], row[5], row[6]) for row in body] == [
        ("dpo", "2", "dpo-0, dpo-1"),
        ("sft", "1", "sft-0"),
    ]
    assert body[1][3] == "–", "one seed tells of no spread"


def test_categories_are_there_unless_the_board_is_private(results, html):
    body = cells(section(html, "categories"))
    assert body[0] == ["Model", "even 6 instructions", "odd 6 instructions"]
    assert [row[0] for row in body[1:]] == list(
        standings(load_board("toy", results)).frame["model"]
    )
    assert body[2][1].startswith(("0.0 [", "50.0", "100.0 [", "66.7 ["))


def test_rows_that_met_each_other_are_there_and_nobody_is_judged(results, judged):
    board = load_board("toy", results)
    assert 'id="head-to-head"' not in board_report(board)
    (duel,) = head_to_head(board, ["bad", "good"]).duels
    judged.clear()
    html = board_report(load_board("toy", results))
    assert judged == []
    row = cells(section(html, "head-to-head"))[1]
    assert (row[0], row[2], row[3]) == ("bad", "good", "12/12")
    assert row[1].startswith(f"{100 * duel.rate.value:.1f}")
    assert "Bradley–Terry ratings" in section(html, "head-to-head")
    lines = read_lines(results / "toy" / "good" / "outputs.jsonl")
    write_rows(results / "toy" / "good" / "outputs.jsonl", [o | {"text": "other"} for o in lines])
    assert 'id="head-to-head"' not in board_report(load_board("toy", results)), "on other texts"
    manifest = results / "toy" / "head_to_head" / "bad--vs--good" / "manifest.json"
    write_rows(results / "toy" / "good" / "outputs.jsonl", lines)
    edit_json(manifest, parts={"panel": "sha256:other"})
    assert 'id="head-to-head"' not in board_report(load_board("toy", results)), "by others"
    (results / "toy" / "good" / "outputs.jsonl").unlink()
    assert 'id="head-to-head"' not in board_report(load_board("toy", results)), "on unknown texts"


def test_two_references_make_ratings(tmp_path):
    make_board(tmp_path / "two", settings=Settings(references=("base", "second")))
    file = write_answers(tmp_path / "good.jsonl", good_answers())
    run_evaluation(str(file), board="two", results=tmp_path)
    part = section(board_report(load_board("two", tmp_path)), "head-to-head")
    assert {row[0] for row in cells(part)[1:]} == {"base", "second", "good"}
    assert "against</th>" not in part, "no two rows met"


def test_a_constant_answer_is_marked(results):
    board = load_board("toy", results)
    table = standings(board)
    assert constant_rows(board, table) == []
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "is_constant_guarded": True}
    columns = {"lc_joint": figure}
    edit_json(results / "toy" / "bad" / "summary.json", columns=columns)
    assert constant_rows(board, table) == ["bad"]


def test_published_figures_stand_apart(results):
    board = load_board("toy", results)
    file = results / "toy" / "published.csv"
    file.write_text("model,win_rate,n_wins,mode\nx<b>,12.34,7,v1.2a\ny,,8\n\n", encoding="utf-8")
    part = section(board_report(board), "published")
    assert cells(part.replace("&lt;b&gt;", "")) == [
        ["model", "win rate", "n wins", "mode"],
        ["x", "12.3", "7", "v1.2a"],
        ["y", "", "8", ""],
    ]
    assert "never ranked" in part
    file.write_text("", encoding="utf-8")
    assert 'id="published"' not in board_report(board)
    file.write_bytes(b"model\n\xff\n")
    with pytest.raises(UserError, match="not a readable CSV"):
        board_report(board)


def test_a_board_that_ranks_by_another_column(leaderboard, shared_data, tmp_path):
    source = shared_data / "alpaca_eval_2"
    files = ("--difficulty", source / "instruction_difficulty.csv")
    files += ("--gamed", source / "gamed_references.csv")
    where = ("--name", "ae", "--results", tmp_path)
    assert leaderboard("board", "import", "alpaca_eval", source, *files, *where).code == 0
    calibrate = ("board", "calibrate", "ae", "--headline", "lc_joint", "--results", tmp_path)
    assert leaderboard(*calibrate).code == 0
    board = load_board("ae", tmp_path)
    table, html = standings(board), board_report(board)
    header, *body = cells(section(html, "table"))
    assert [name.split(" %")[0] for name in header[2:6]] == [
        "lc_joint", "lc_joint, drawn 0 50 70", "Win rate", "lc_alpaca_eval",
    ]  # fmt: skip
    assert [row[2].split()[0] for row in body] == [
        f"{100 * p:.1f}" for p in table.frame["lc_joint"]
    ]
    apart = int((table.ranking_pairs.holm <= 0.05).sum()) // 2
    assert f"{apart} of 406 pairs of rows can be told apart" in text_of(section(html, "pairs"))
    best = table.frame["lc_joint"].to_list()[:2]
    assert cells(section(html, "pairs"))[1][2] == f"+{100 * (best[0] - best[1]):.1f}"
    assert len(cells(section(html, "published"))) == 29
    text = methods_paragraph(board, table, [])
    assert (
        "It was calibrated on 28 rows of the board; the differences in form are those in char"
        in text
    )
    assert "gpt4_1106_preview_verbose (neutral)" in text
    assert "intervals of lc_alpaca_eval and lc_joint follow" in text
    assert "include the error of the row's fit" in text


# ------------------------------------------------------------------------------------- what is not
def lose(results: Path, name: str, n: int, error: str) -> None:
    row, board = Row(results / "toy" / name), load_board("toy", results)
    lines = read_lines(row.annotations_file)
    for record in lines[:n]:
        record |= {"preference": None, "error": error}
    write_rows(row.annotations_file, lines)
    row.write_summary(summarise(board, row, board.instructions, row.outputs()))


def test_missing_verdicts_are_counted_with_bounds_and_reasons(results):
    lose(results, "good", 3, "unparsed")
    html = board_report(load_board("toy", results))
    rate = read_json(results / "toy" / "good" / "summary.json")["win_rate"]
    assert cells(section(html, "missing"))[1] == [
        "good",
        "3 of 12",
        f"{100 * rate['bound_low']:.1f}",
        f"{100 * rate['bound_high']:.1f}",
        "unparsed: 3",
    ]
    last = cells(section(html, "table"))[-1]
    assert (last[0], last[-1]) == ("–", "answers submitted, not ranked")


def test_a_row_without_any_verdict(results):
    lose(results, "good", 12, "refused")
    html = board_report(load_board("toy", results))
    assert cells(section(html, "table"))[-1][2] == "–"
    Parsed(html)


def test_rows_that_are_not_in_the_table_and_why(results, add_row, evaluate, tmp_path):
    add_row("started", good_answers(), "--limit", "5")
    evaluate(write_answers(tmp_path / "later.jsonl", good_answers()), "--only", "generate")
    (results / "toy" / "bad" / "summary.json").write_text("{", encoding="utf-8")
    html = board_report(load_board("toy", results))
    left = dict(row[:2] for row in cells(section(html, "missing"))[1:])
    assert set(left) == {"started", "later", "bad"}
    assert left["started"] == "partial: 5 of 12 instructions"
    assert left["bad"].startswith("toy/bad/summary.json: not valid JSON")
    assert str(tmp_path) not in html, "a report travels; where the boards lie is nobody's business"


SECRET = "Saffron Walden 1709"


def test_no_text_of_an_instruction_or_an_answer_is_in_a_report(tmp_path, leaderboard):
    instructions = tuple(
        replace(
            i,
            messages=(replace(i.messages[-1], content=f"{SECRET} question {i.text}"),),
            gold_answer=f"{SECRET} gold",
            category=f"{SECRET} {i.category}",
            visibility="private",
        )
        for i in toy_instructions(12)
    )
    make_board(tmp_path / "secret", instructions, CHECKLIST)
    file = write_answers(tmp_path / "mine.jsonl", [f"{SECRET} answer {k}" for k in range(12)])
    assert leaderboard("eval", file, "--board", "secret", "--results", tmp_path).code == 0
    board = load_board("secret", tmp_path)
    row = Row(board.path / "mine")
    lines = read_lines(row.annotations_file)
    lines[0] |= {"preference": None, "error": f"unparsed: the judge said {SECRET}"}
    write_rows(row.annotations_file, lines)
    row.write_summary(summarise(board, row, board.instructions, row.outputs()))
    assert leaderboard(
        "eval", file, "--board", "secret", "--name", "torn", "--results", tmp_path
    ).code == 0  # fmt: skip
    torn = board.path / "torn" / "annotations.jsonl"
    torn.write_text(json.dumps({"order": SECRET}) + "\n{}\n", encoding="utf-8")
    assert SECRET in standings(board).left_out["torn"]
    html = board_report(board)
    assert "its files cannot be read" in html
    assert SECRET in json.dumps(read_json(row.summary_file))
    assert SECRET not in html
    assert "12, private" in text_of(html)
    assert cells(section(html, "missing"))[1][-1] == "", "a reason may quote what was judged"


# ------------------------------------------------------------------------------------- of strangers
ATTACK = "</title><script>alert('x')</script>\"' \u202e<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x.example/?a=<b>", ATTACK])
def test_what_strangers_wrote_stays_text(results, tmp_path, link, leaderboard):
    toml = results / "toy" / "board.toml"
    text = toml.read_text("utf-8").replace('title = "Toy"', f"title = {json.dumps(ATTACK)}")
    toml.write_text(text.replace('note = ""', f"note = {json.dumps(ATTACK)}"), encoding="utf-8")
    info = ModelInfo(name=ATTACK, link=link, group="<b>g</b>", license=ATTACK)
    Row(results / "toy" / "good").write_info(info)
    out = tmp_path / "toy.html"
    done = leaderboard("report", "toy", "--results", results, "--out", out)
    assert done.code == 0, done.err
    html = out.read_text("utf-8")
    parsed = Parsed(html)
    assert not parsed.of("script")
    assert not parsed.of("img")
    assert not any(name.startswith("on") for _, a in parsed.elements for name in a)
    assert all(str(a["href"]).startswith("#") for a in parsed.of("a"))
    assert "\u202e" not in html
    assert ATTACK.replace("\u202e", "\ufffd") in "".join(parsed.text)
    assert "<b>g</b>" in "".join(parsed.text)


def test_a_judge_can_be_called_anything_printable(tmp_path):
    name = "<svg onload=alert(1)>&amp;"
    panel = {"judges": [{"kind": "checklist", "name": name}]}
    make_board(tmp_path / "odd", panel=panel)
    html = board_report(load_board("odd", tmp_path))
    assert name in "".join(Parsed(html).text)
    assert "<svg onload" not in html


def test_help_needs_no_templates(monkeypatch, leaderboard):
    for name in list(sys.modules):
        if name == "jinja2" or name.startswith(("leaderboard.site.report", "leaderboard.site")):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit):
        leaderboard("report", "--help")
    assert "jinja2" not in sys.modules
