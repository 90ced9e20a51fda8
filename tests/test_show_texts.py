"""What others wrote cannot break out of a table: LaTeX, CSV, Markdown and the terminal."""

from __future__ import annotations

import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import (
    good_answers,
    grid,
    make_board,
    toy_instructions,
)
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.boards.settings import Settings
from leaderboard.display.table import latex, published_block
from leaderboard.rows.results import ModelInfo, Row


@pytest.fixture
def results(ranked, tmp_path) -> Path:
    """A copy of the board with ranked rows, to change."""
    return Path(shutil.copytree(ranked, tmp_path / "results"))


# -------------------------------------------------------------------------------------------- LaTeX
def test_latex_is_a_table_that_compiles(show, results):
    lines = show("--format", "latex").splitlines()
    assert lines[0] == "\\begin{table}[t]"
    assert lines[-1] == "\\end{table}"
    opened = re.findall(r"\\begin\{(\w+)\}", "\n".join(lines))
    closed = re.findall(r"\\end\{(\w+)\}", "\n".join(lines))
    assert opened == closed[::-1] == ["table", "tabular"]
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", "\n".join(lines)).group(1)
    body = [line for line in lines if line.endswith("\\\\")]
    assert len(body) == 5
    assert {line.count(" & ") + 1 for line in body} == {len(columns)}
    rules = [line for line in lines if line in ("\\toprule", "\\midrule", "\\bottomrule")]
    assert rules == ["\\toprule", "\\midrule", "\\bottomrule"]
    rate = Row(results / "toy" / "good").summary()["win_rate"]
    assert f"{100 * rate['value']:.1f} $\\pm$ {50 * (rate['high'] - rate['low']):.1f}" in body[1]
    assert not re.search("[±–−]", "\n".join(lines))


def test_the_latex_caption_says_who_judged_what(show):
    caption = next(line for line in show("--format", "latex").splitlines() if "caption" in line)
    for part in ("Toy", "against base", "Judges: checklist", "$n = 12$"):
        assert part in caption
    assert "orders" not in caption, "a checklist sees none"
    assert re.sub(r"\\%", "", caption).count("%") == 0, "the rest of the line would be a comment"


def test_latex_of_categories(show):
    out = show("--by", "category", "--format", "latex")
    assert "category & n & good" in out
    assert "{[}" in out


SPECIAL = "a_b&c%d$e#f{g}h~i^j\\k<l>m|n[o]p"


def test_special_characters_of_latex_are_escaped(results, leaderboard):
    settings = Settings(title=SPECIAL, references=("base_1",))
    instructions = tuple(replace(i, category=SPECIAL) for i in toy_instructions(2))
    panel = {"judges": [{"kind": "checklist", "name": "check_list"}]}
    make_board(results / "odd", instructions, panel, settings)
    shown = leaderboard(
        "show", "odd", "--results", results, "--by", "category", "--format", "latex"
    )
    for part in ("base\\_1", "check\\_list", "a\\_b\\&c\\%d\\$e\\#f\\{g\\}h", "k\\textless{}l"):
        assert part in shown.out
    assert unescaped(shown.out.splitlines()[-4].split(" & ")[0]) == SPECIAL


def unescaped(tex: str) -> str:
    """What LaTeX prints for an escaped text."""
    names = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^"}
    names |= {"textless": "<", "textgreater": ">", "textbar": "|"}
    tex = re.sub(r"\\(text\w+)\{\}", lambda m: f"\0{ord(names[m.group(1)])}\0", tex)
    tex = re.sub(r"\{([\[\]])\}", r"\1", tex)
    tex = tex.replace("$\\pm$", "±").replace("$-$", "−").replace("--", "–")
    tex = re.sub(r"\\([&%$#_{}])", r"\1", tex)
    return re.sub("\0(\\d+)\0", lambda m: chr(int(m.group(1))), tex)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="-")))
def test_no_text_breaks_out_of_a_latex_cell(text):
    row = latex(["x", "y"], [[text, "1"]], "").splitlines()[-4]
    cell = row.removesuffix(" & 1 \\\\")
    assert unescaped(cell) == text
    bare = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\{[\[\]]\}", "", cell)
    assert not re.search(r"[\\&%$#_{}~^\[\]<>|]", bare)


# ---------------------------------------------------------------------- CSV, Markdown, the terminal
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_csv_file_is_a_formula(show, results, add_row, text):
    Row(results / "toy" / "bad").write_info(ModelInfo(name="bad", link=text, group=text))
    add_row("good", good_answers())  # derives leaderboard.csv again
    for table in (show("--format", "csv"), (results / "toy" / "leaderboard.csv").read_text()):
        rows = {row["model"]: row for row in csv.DictReader(io.StringIO(table))}
        assert rows["bad"]["link"] == rows["bad"]["group"] == "'" + text
        cells = [cell for row in rows.values() for cell in row.values()]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_a_category_is_no_formula_either(results, leaderboard):
    instructions = tuple(replace(i, category="=2*2") for i in toy_instructions(2))
    make_board(results / "odd", instructions)
    for option in (("--by", "category"), ("--per", "instruction")):
        shown = leaderboard("show", "odd", "--results", results, *option, "--format", "csv")
        row = next(csv.DictReader(io.StringIO(shown.out)))
        assert row["category"] == "'=2*2"


@pytest.mark.parametrize("text", FORMULAS)
def test_published_rows_are_in_no_csv(show, results, text):
    (results / "toy" / "published.csv").write_text(f"model,win_rate\n{text},50\n")
    shown, rows = show(), show("--format", "csv")
    assert "published elsewhere" in shown
    assert len(rows.splitlines()) == 5
    assert text not in rows


EVIL = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202e \x00 \r hidden"


def controls_in(out: str) -> list[str]:
    return [c for c in out if not c.isprintable() and c != "\n"]


def test_control_characters_never_reach_the_terminal(results, add_row, leaderboard):
    add_row("evil", [EVIL + "\tx\r\ny"] * 12)
    Row(results / "toy" / "evil").write_info(ModelInfo(name="evil", link=EVIL, group=EVIL))
    (results / "toy" / "published.csv").write_text("model,n\nx\x1b[2J,1\n")
    for args in (
        ("--worst", "1", "evil"),
        ("--columns", "model", "link", "group"),
        ("--columns", "model", "link", "--format", "markdown"),
        ("--columns", "model", "link", "--format", "latex"),
        (),
    ):
        out = leaderboard("show", "toy", "--results", results, *args).out
        assert "evil" in out
        assert controls_in(out) == [], args
    worst = leaderboard("show", "toy", "--results", results, "--worst", "1", "evil").out
    assert re.search(r"hidden +x\n    y\n", worst), "tabs and line ends are kept as what they are"


def test_a_pipe_does_not_break_markdown(show, results):
    Row(results / "toy" / "bad").write_info(ModelInfo(name="bad", group="a|b\nc"))
    out = show("--format", "markdown", "--columns", "model", "group")
    assert "a\\|b c" in out


def test_published_rows_with_ragged_lines(tmp_path):
    file = tmp_path / "published.csv"
    file.write_text("model,win_rate,n_total\none,50.25\n\ntwo,1,2,3\n")
    cells = grid(published_block(file, "markdown"))
    assert cells == [["model", "win rate", "n total"], ["one", "50.2", ""], ["two", "1", "2"]]
    file.write_text("model,win_rate\n")
    assert published_block(file, "table") is None
