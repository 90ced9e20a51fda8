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
from test_render import Parsed, cells

from leaderboard import __version__
from leaderboard.boards import Settings, load_board
from leaderboard.evaluation import evaluate as run_evaluation
from leaderboard.report import board_report, last_change
from leaderboard.results import ModelInfo, Row, summarise
from leaderboard.standings import standings


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
def test_the_command_writes_one_file_here(results, leaderboard, tmp_path, monkeypatch):
    before = files_of(results)
    monkeypatch.chdir(tmp_path)
    done = leaderboard("report", "toy", "--results", results)
    assert done.code == 0, done.err
    assert done.out == "toy.html: open it in a browser\n"
    assert (tmp_path / "toy.html").read_text("utf-8") == board_report(load_board("toy", results))
    assert files_of(results) == before, "the board is only read"


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
    assert [row[1].split()[1] for row in body] == list(frame["model"])
    assert [row[2] for row in body] == [f"{100 * rate:.1f}" for rate in frame["win_rate"]]
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
    assert cells(section(html, "table"))[1][1] == "1 base"
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
            category="",
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
    html = board_report(board)
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
        if name == "jinja2" or name.startswith(("leaderboard.report", "leaderboard.site")):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit):
        leaderboard("report", "--help")
    assert "jinja2" not in sys.modules
