"""What strangers call things is text in Markdown, whatever it looks like."""

from __future__ import annotations

import pytest

from leaderboard.display.markdown import cell, escaped, paragraph
from leaderboard.display.table import grid


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a<img src=x onerror=alert(1)>", r"a\<img src=x onerror=alert(1)>"),
        ("![i](http://e/x.png)", r"\!\[i]\(http://e/x.png)"),
        ("[i](http://e/)", r"\[i]\(http://e/)"),
        ("[i][j]", r"\[i]\[j]"),
        ("**b** and `c` and $x$ and ~~d~~", r"\*\*b\*\* and \`c\` and \$x\$ and \~\~d\~\~"),
        ("_em_ but gpt_4", r"\_em\_ but gpt_4"),
        ("&lt;b&gt; & &#60;", r"\&lt;b\&gt; & \&#60;"),
        ("a\\<b>", r"a\\\<b>"),
        ("\x1b[31m", "\ufffd[31m"),
    ],
)
def test_markup_is_escaped(text, written):
    assert escaped(text) == written


@pytest.mark.parametrize("text", ["0.98 [0.95, 1.00]", "n < 5", "gpt-4_turbo", "50 % (of 3)", "!"])
def test_what_is_none_stays_as_it_is(text):
    assert escaped(text) == paragraph(text) == cell(text) == text


def test_a_paragraph_begins_no_block():
    assert paragraph("# a\n> b\n- c\n-5.0") == "\\# a\n\\> b\n\\- c\n-5.0"


def test_a_cell_is_one_line_and_one_cell():
    assert cell("a|b\n<c>") == r"a\|b \<c>"
    assert cell("a\\|b") == r"a\\\|b"


def test_tables_escape_in_markdown_alone():
    shown = grid(["<b>"], [["`a|b`"]], "markdown")
    assert r"\<b>" in shown
    assert r"\`a\|b\`" in shown
    plain = grid(["<b>"], [["`a|b`"]], "table")
    assert "<b>" in plain
    assert "`a|b`" in plain
