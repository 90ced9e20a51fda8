"""`leaderboard show`: one table in every format, and what of strangers' texts gets into it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import bad_answers, good_answers, make_board, toy_instructions, write_answers
from hypothesis import given
from hypothesis import strategies as st

from judges.schema import Output
from leaderboard.boards import Settings, load_board, write_board
from leaderboard.evaluation import evaluate
from leaderboard.results import ModelInfo, Row, summarise
from leaderboard.table import CHOICES, latex, published_block

SAMPLE = ["good", "middling", "bad"]


def put(results: Path, leaderboard, name: str, texts: list[str], *args: str) -> None:
    file = write_answers(results.parent / f"{name}.jsonl", texts)
    done = leaderboard("eval", file, "--board", "toy", "--results", results, *args)
    assert done.code == 0, done.err


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A results folder with the board toy and three rows on it."""
    folder = tmp_path_factory.mktemp("prepared")
    make_board(folder / "results" / "toy")
    middling = good_answers()[:6] + bad_answers()[6:]
    for name, texts in zip(SAMPLE, (good_answers(), middling, bad_answers()), strict=True):
        file = write_answers(folder / f"{name}.jsonl", texts)
        evaluate(str(file), board="toy", results=folder / "results")
    return folder / "results"


@pytest.fixture
def results(tmp_path, prepared) -> Path:
    """A copy of `prepared` to change."""
    return Path(shutil.copytree(prepared, tmp_path / "results"))


@pytest.fixture
def show(results, leaderboard):
    """Runs `show` on the board toy: `show("--format", "csv")`."""

    def run(*args, code=0):
        done = leaderboard("show", "toy", "--results", results, *args)
        assert done.code == code, done.err
        return done.out if code == 0 else done.err

    return run


def grid(text: str) -> list[list[str]]:
    """The cells of the first Markdown table in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for n, row in enumerate(rows) if n != 1]


# ------------------------------------------------------------------------------------- the formats
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


@pytest.mark.parametrize("name", CHOICES)
def test_every_column_can_be_shown(show, name):
    assert len(grid(show("--format", "markdown", "--columns", name))) == 5
    assert len(json.loads(show("--format", "json", "--columns", name))) == 4


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
    assert "one of --by, --per and --worst" in show(
        "--by", "category", "--per", "instruction", code=2
    )
    assert "--columns does not go with" in show("--by", "category", "--columns", "rank", code=2)


def test_without_a_board_it_says_where_to_find_them(leaderboard):
    done = leaderboard("show")
    assert done.code == 2
    assert "leaderboard board list" in done.err


# -------------------------------------------------------------------------- categories, instructions
def test_by_category(show, results):
    cells = grid(show("--by", "category", "--format", "markdown"))
    assert cells[0] == ["category", "n", "good", "base", "middling", "bad"]
    assert [row[:2] for row in cells[1:]] == [["even", "6"], ["odd", "6"]]
    even = Row(results / "toy" / "middling").summary()["categories"]["even"]
    assert cells[1][4].startswith(f"{100 * even['value']:.1f} ± ")
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


def test_worst_needs_a_row_and_a_positive_number(show):
    assert "the board has: bad, good, middling" in show("--worst", "2", "nobody", code=2)
    assert "positive" in show("--worst", "0", "bad", code=2)


# ------------------------------------------------------------------------------------ several boards
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
    for part in ("Toy", "against base", "Judges: checklist", "$n = 12$", "orders: both"):
        assert part in caption
    assert re.sub(r"\\%", "", caption).count("%") == 0, "the rest of the line would be a comment"


def test_latex_of_categories(show):
    out = show("--by", "category", "--format", "latex")
    assert "category & n & good" in out
    assert "$\\pm$" in out


SPECIAL = "a_b&c%d$e#f{g}h~i^j\\k<l>m|n[o]p"


def test_special_characters_of_latex_are_escaped(results, leaderboard):
    settings = Settings(title=SPECIAL, references=("base_1",))
    base = {
        i.id: Output(instruction_id=i.id, generator="base_1", text="x") for i in toy_instructions(2)
    }
    instructions = tuple(replace(i, category=SPECIAL) for i in toy_instructions(2))
    panel = {"judges": [{"kind": "checklist", "name": "check_list"}]}
    write_board(results / "odd", settings, instructions, {"base_1": base}, panel, {})
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


# ----------------------------------------------------------------------------- what strangers wrote
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_csv_file_is_a_formula(show, results, leaderboard, text):
    Row(results / "toy" / "bad").write_info(ModelInfo(name="bad", link=text, group=text))
    put(results, leaderboard, "good", good_answers())  # derives leaderboard.csv again
    for table in (show("--format", "csv"), (results / "toy" / "leaderboard.csv").read_text()):
        rows = {row["model"]: row for row in csv.DictReader(io.StringIO(table))}
        assert rows["bad"]["link"] == rows["bad"]["group"] == "'" + text
        cells = [cell for row in rows.values() for cell in row.values()]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_a_category_is_no_formula_either(results, leaderboard):
    instructions = tuple(replace(i, category="=2*2") for i in toy_instructions(2))
    base = {i.id: Output(instruction_id=i.id, generator="base", text="x") for i in instructions}
    panel = {"judges": [{"kind": "checklist"}]}
    write_board(
        results / "odd", Settings(references=("base",)), instructions, {"base": base}, panel, {}
    )
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


def test_control_characters_never_reach_the_terminal(results, leaderboard):
    put(results, leaderboard, "evil", [EVIL + "\tx\r\ny"] * 12)
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


# ------------------------------------------------------------------------ rows that are not ranked
def lose_verdicts(results: Path, name: str, n: int) -> None:
    """Takes the row's first n verdicts away, as if the judge had failed on them."""
    file = results / "toy" / name / "annotations.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for record in lines[:n]:
        record |= {"preference": None, "error": "unparsed"}
    file.write_text("".join(json.dumps(record) + "\n" for record in lines))
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


def test_partial_rows_are_named_below_the_table(show, results, leaderboard):
    put(results, leaderboard, "started", good_answers(), "--limit", "5")
    live, _, below = show().partition("not in the table:\n")
    assert "started" not in live
    assert below.splitlines()[0] == "  started (partial: 5 of 12 instructions)"
    assert "started" not in show("--format", "csv")
