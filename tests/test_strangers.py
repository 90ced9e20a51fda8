"""Boards and files that strangers made: nothing of theirs reaches further than it should."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from conftest import (
    comparison,
    exchanged,
    good_answers,
    make_board,
    read_lines,
    refused,
    verdicts,
    write_answers,
    write_rows,
)
from test_documented_files import documented

from judges.criteria.share import parse
from judges.errors import UserError
from judges.kinds.recorded import Recorded
from judges.prompting import templates
from judges.prompting.thinking import begins_inside, opens_thinking, split_thinking
from judges.records import Appender
from leaderboard.boards.board import load_board, write_board
from leaderboard.boards.settings import Settings
from leaderboard.user_files import RESERVED, check_name

ESCAPE = "\x1b[2J"


def edit_toml(path: Path, **changes: Any) -> None:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    path.write_text(tomli_w.dumps({**table, **changes}), encoding="utf-8")


# --------------------------------------------------------------------------- thinking in answers
@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("France?</think>Paris.", "France?", "Paris."),
        ("France?</thinking>\n\nParis.", "France?", "Paris."),
        ("France?[/THINK]Paris.", "France?", "Paris."),
        ("<THINK>France?</Think>Paris.", "France?", "Paris."),
        ("[THINK]France?[/THINK]Paris.", "France?", "Paris."),
        ("[THINK]a</think>b[/THINK]c", "a</think>b", "c"),
        ("Use <think>x</think> tags.", "", "Use <think>x</think> tags."),
        ("Use [THINK]x[/THINK] tags.", "", "Use [THINK]x[/THINK] tags."),
        ("Paris.", "", "Paris."),
    ],
)
def test_thinking_of_others(text, reasoning, answer):
    assert split_thinking(text, begins_inside(text)) == (reasoning, answer, True)


def test_thinking_without_its_opening_tag_is_not_judged(evaluate, results, tmp_path):
    texts = [f"A plan{k}.\n</think>\n\n{answer}" for k, answer in enumerate(good_answers())]
    assert evaluate(write_answers(tmp_path / "r1.jsonl", texts)).code == 0
    lines = read_lines(results / "toy" / "r1" / "outputs.jsonl")
    assert [line["text"] for line in lines] == good_answers()
    assert lines[0]["reasoning"] == "A plan0."


def test_a_prompt_opens_the_thinking_in_any_case_and_form():
    assert opens_thinking("[INST]Hi[/INST][THINK]")
    assert opens_thinking("<Think>\n")
    assert not opens_thinking("[THINK]a[/THINK]")


# ------------------------------------------------------------------------------------------ links
@pytest.mark.parametrize("link", ["controls/null/annotations.jsonl", "a-row", "examples/x.jsonl"])
def test_a_board_with_a_symbolic_link_is_refused(link, evaluate, results, tmp_path, leaderboard):
    victim = tmp_path / "victim"
    path = results / "toy" / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim)
    refused(evaluate(write_answers(tmp_path / "a.jsonl", good_answers())), link, "symbolic link")
    refused(leaderboard("show", "toy", "--results", results), link)
    assert not victim.exists()


def test_a_link_to_a_board_is_no_link_inside_it(results, tmp_path):
    (tmp_path / "elsewhere").symlink_to(results)
    assert load_board("toy", tmp_path / "elsewhere").name == "toy"


def test_an_appender_follows_no_link(tmp_path):
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), Appender(tmp_path / "a.jsonl"):
        pass
    assert not (tmp_path / "victim").exists()


# ----------------------------------------------------------------------------------- board.toml
@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ((), "there is no reference"),
        (("../../../victim",), "the reference's name '../../../victim' is not usable"),
        (("/etc/passwd",), "is not usable"),
        (("base", "base"), "two references have one name: base, base"),
    ],
)
def test_references_have_names_that_stay_in_the_board(names, problem, results, leaderboard):
    with pytest.raises(UserError, match=problem):
        write_board(results / "new", Settings(references=names), (), {}, {}, {})
    assert not (results / "new").exists()
    edit_toml(results / "toy" / "board.toml", references=list(names))
    refused(leaderboard("show", "toy", "--results", results), "board.toml", problem)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("max_tokens", -5, "greater than 0"),
        ("max_tokens", 0, "greater than 0"),
        ("temperature", -1.0, "greater than or equal to 0"),
        ("temperature", float("inf"), "finite"),
        ("top_p", 7, "less than or equal to 1"),
        ("top_p", 0, "greater than 0"),
        ("top_k", -1, "greater than or equal to 0"),
        ("repetition_penalty", 0.0, "greater than 0"),
    ],
)
def test_sampling_that_cannot_be_is_refused(key, value, problem, results, leaderboard):
    edit_toml(results / "toy" / "board.toml", generation={key: value})
    run = leaderboard("show", "toy", "--results", results)
    refused(run, "board.toml", f"generation.{key}", problem)


# ------------------------------------------------------------------------------------ panel.toml
@pytest.mark.parametrize(
    "prompt", ["../../../../victim", "/tmp/victim", "../prompts/pairwise", "no_such", ""]
)
def test_a_packaged_prompt_has_a_plain_name(prompt, results, tmp_path, leaderboard):
    outside = tmp_path / "victim.toml"
    outside.write_text('user = "{first} {second} {nonce}"\n', encoding="utf-8")
    name = os.path.relpath(tmp_path, Path(templates.__file__).parent / "prompts") + "/victim"
    for wanted in (prompt, name):
        table = {"kind": "pairwise", "model": "fake/judge", "prompt": wanted}
        edit_toml(results / "toy" / "panel.toml", judges=[table])
        run = leaderboard("show", "toy", "--results", results)
        refused(run, "no such file", "packaged: checklist_llm")


@pytest.mark.parametrize("kind", ["pairwise", "pairwise_logprob", "reward_model"])
@pytest.mark.parametrize("template", ["../t.jinja", "{tmp}/t.jinja"])
def test_chat_templates_lie_in_the_board(kind, template, results, tmp_path, leaderboard):
    for folder in (tmp_path, results):
        (folder / "t.jinja").write_text("secret", encoding="utf-8")
    table = {"kind": kind, "model": "fake/judge", "name": "j"}
    table["args"] = {"chat_template": template.format(tmp=tmp_path)}
    edit_toml(results / "toy" / "panel.toml", judges=[table])
    run = leaderboard("show", "toy", "--results", results)
    refused(run, "the args.chat_template", "must lead to a file in the board's folder")


DEEP = {
    "lists": "x = " + "[" * 50_000,
    "tables": "extra = " + "{a = " * 3_000 + "1" + "}" * 3_000,
    "shallow tables": "extra = " + "{a = " * 60 + "1" + "}" * 60,
    "dots": "extra." + ".".join("a" * 5_000) + " = 1",
    "a number": "x = " + "9" * 5_000,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_toml_that_is_nested_too_deeply_is_refused(text, results, tmp_path, leaderboard):
    judge = tmp_path / "judge.toml"
    judge.write_text(f'kind = "pairwise"\nmodel = "fake/judge"\n{text}\n', encoding="utf-8")
    run = leaderboard("judges", "--panel", judge)
    refused(run, "judge.toml", "not valid TOML")
    for name in ("panel.toml", "board.toml"):
        before = (results / "toy" / name).read_text(encoding="utf-8")
        (results / "toy" / name).write_text(f"{text}\n{before}", encoding="utf-8")
        refused(leaderboard("show", "toy", "--results", results), name, "not valid TOML")
        (results / "toy" / name).write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    "value",
    ["1979-05-27", "07:32:00", "nan", "inf", "[{b = 1979-05-27T07:32:00Z}]", "{b = [-inf]}"],
)
def test_what_no_server_takes_cannot_stand_in_extra(value, tmp_path, leaderboard):
    judge = tmp_path / "judge.toml"
    judge.write_text(f'kind = "pairwise"\nmodel = "fake/judge"\nextra = {{a = {value}}}\n')
    refused(leaderboard("judges", "--panel", judge), "extra must hold no date and no number like")
    judge.write_text(f'kind = "pairwise"\nmodel = "fake/judge"\nargs = {{a = {value}}}\n')
    refused(leaderboard("judges", "--panel", judge), "args must")


# ------------------------------------------------------------------------------------- rows' names
def test_no_row_is_called_as_a_file_of_a_board_is():
    own = {pattern.split("/")[1] for pattern in documented("The layout") if "/" in pattern}
    own -= {"<model>"}
    assert own <= RESERVED
    assert {"drift.json", "evaluators", "templates"} <= own
    for name in own:
        with pytest.raises(UserError, match="is reserved"):
            check_name(name.upper(), "the row's name")


# ----------------------------------------------------------------------------- recorded verdicts
LINE = {"instruction_id": "i0", "generator_1": "base", "generator_2": "model", "preference": 0.8}


@pytest.mark.parametrize("path", ["../people.jsonl", "a\0b", "{tmp}/people.jsonl"])
def test_recorded_verdicts_lie_in_the_board(path, results, tmp_path, leaderboard):
    (tmp_path / "results" / "people.jsonl").write_text('{"password": "1"}\n', encoding="utf-8")
    (tmp_path / "people.jsonl").write_text('{"password": "1"}\n', encoding="utf-8")
    table = {"kind": "recorded", "path": path.format(tmp=tmp_path)}
    with pytest.raises(UserError, match="must lead to a file in the board's folder"):
        make_board(results / "new", 4, {"judges": [table]})
    edit_toml(results / "toy" / "panel.toml", judges=[table])
    run = leaderboard("show", "toy", "--results", results)
    refused(run, "panel.toml", "must lead to a file in the board's folder")
    assert "password" not in run.err


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        # another pair has orders, this one has none
        ([LINE, {**LINE, "instruction_id": "i1", "order": "original"}], [0.8, 0.8]),
        ([{**LINE, "order": "original"}, {**LINE, "preference": 0.6}], [0.8, 0.6]),
        (
            [
                {**LINE, "order": "swapped"},
                {**LINE, "generator_1": "model", "generator_2": "base", "preference": 0.6},
            ],
            [0.4, 0.8],
        ),
    ],
)
def test_a_verdict_without_an_order_stands_in_for_either(rows, found, tmp_path):
    write_rows(tmp_path / "v.jsonl", rows)
    judge = Recorded(path="v.jsonl", folder=tmp_path)
    done = verdicts(judge, comparison())
    assert [a.order for a in done] == ["original", "swapped"]
    assert [a.preference for a in done] == pytest.approx(found)


def toy_lines(**added: str) -> list[dict[str, Any]]:
    return [{**LINE, "instruction_id": f"toy-{k:02d}", **added} for k in range(12)]


def test_one_order_only_does_not_go_with_orders_both(results, tmp_path, leaderboard):
    one = write_rows(tmp_path / "one.jsonl", toy_lines(order="original"))
    command = ("board", "new", "rec", "--from", "toy", "--results", results)
    run = leaderboard(*command, "--judge", f"recorded/{one}")
    refused(run, "no pair has verdicts in both orders; use --orders fixed or record both orders")
    run = leaderboard(*command, "--judge", f"recorded/{one}", "--orders", "fixed")
    assert run.code == 0, run.err
    lines = [*toy_lines(order="original"), *toy_lines(order="swapped")]
    both = write_rows(tmp_path / "both.jsonl", lines)
    run = leaderboard(*command[:2], "two", *command[3:], "--judge", f"recorded/{both}")
    assert run.code == 0, run.err
    turned = toy_lines(order="original", generator_1="model", generator_2="base")
    ways = write_rows(tmp_path / "ways.jsonl", [*toy_lines(order="original"), *turned])
    run = leaderboard(*command[:2], "three", *command[3:], "--judge", f"recorded/{ways}")
    assert run.code == 0, run.err


def test_a_verdict_with_a_digest_is_on_these_texts_only(tmp_path):
    pair, other = comparison("one", "two"), comparison("one", "new text")
    write_rows(tmp_path / "v.jsonl", [{**LINE, "digest": pair.digest}])
    judge = Recorded(path="v.jsonl", folder=tmp_path)
    (same,), (turned,) = verdicts(judge, pair), verdicts(judge, exchanged(pair))
    assert same.preference == 0.8
    assert turned.preference == pytest.approx(0.2)
    (stale,) = verdicts(judge, other)
    assert (stale.preference, stale.error) == (None, "recorded on other texts")
    write_rows(tmp_path / "free.jsonl", [LINE])
    assert judge.identity() != Recorded(path="free.jsonl", folder=tmp_path).identity()


def test_a_digest_that_is_no_text_is_named_by_its_line(tmp_path):
    write_rows(tmp_path / "v.jsonl", [{**LINE, "digest": 5}])
    with pytest.raises(UserError, match="line 1: digest must be a text, not 5"):
        verdicts(Recorded(path="v.jsonl", folder=tmp_path), comparison())


# ------------------------------------------------------------------------------ what is printed
@pytest.mark.parametrize("name", [ESCAPE, "two\nlines", "", "x" * 97])
def test_a_judges_name_is_plain(name, results, leaderboard):
    judges = [{"kind": "checklist", "name": name}]
    edit_toml(results / "toy" / "panel.toml", judges=judges)
    run = leaderboard("show", "toy", "--results", results)
    refused(run, "a judge's name must be printable, 1 to 96 characters")
    assert ESCAPE not in run.err


def test_nothing_that_a_board_says_steers_the_terminal(results, evaluate, leaderboard, tmp_path):
    edit_toml(results / "toy" / "board.toml", title=f"T{ESCAPE}", note=f"N{ESCAPE}\x9b31m")
    run = evaluate(write_answers(tmp_path / "a.jsonl", good_answers()))
    assert run.code == 0, run.err
    assert "note: N" in run.out
    (results / "toy" / f"row{ESCAPE}").mkdir()
    (results / "toy" / f"row{ESCAPE}" / "summary.json").write_text("{}", encoding="utf-8")
    shown = leaderboard("show", "toy", "--results", results)
    listed = leaderboard("board", "list", "--results", results)
    edit_toml(results / "toy" / "board.toml", **{f"key{ESCAPE}": 1})
    broken = leaderboard("show", "toy", "--results", results)
    assert "key" in broken.err
    for text in (run.out, run.err, shown.out, shown.err, listed.out, broken.err):
        assert not [c for c in text if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize("command", [["--help"], ["show", "toy"], ["eval", "--help"]])
def test_a_terminal_that_knows_ascii_only(command, ranked):
    run = subprocess.run(
        [sys.executable, "-m", "leaderboard.cli", *command],
        cwd=ranked.parent,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.isascii()
    assert run.stderr == b""


@pytest.mark.parametrize(
    "command", [["--help"], ["--version"], ["show", "toy"], ["eval", "--help"]]
)
def test_a_reader_that_leaves_early_is_no_fault(command, ranked):
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-m", "leaderboard.cli", *command],
        cwd=ranked.parent,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (run.returncode, run.stderr) == (0, b"")


# --------------------------------------------------------------------------------- what is no UTF-8
LATIN = "é".encode("latin-1")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("board.toml", b'title = "' + LATIN + b'"'),
        ("panel.toml", b"# " + LATIN),
        ("evalset.jsonl", b'{"id": "' + LATIN + b'"}\n'),
        ("references/base.jsonl", b'{"text": "' + LATIN + b'"}\n'),
        ("published.csv", b"name,rate\ncaf" + LATIN + b",5\n"),
    ],
)
def test_a_boards_file_that_is_no_utf8(file, text, results, leaderboard):
    (results / "toy" / file).write_bytes(text)
    refused(leaderboard("show", "toy", "--results", results), file)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
def test_an_answers_file_that_is_no_utf8(suffix, evaluate, tmp_path):
    path = write_answers(tmp_path / "a.jsonl", [*good_answers(11), "XX"])
    path = write_rows(tmp_path / f"b{suffix}", read_lines(path))
    path.write_bytes(path.read_bytes().replace(b"XX", LATIN))
    refused(evaluate(path), path.name)


# ----------------------------------------------------------------------------- regular expressions
@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("a" * 2001, "may have 2,000 characters, not 2,001"),
        ("a{100001}", "may have 100,000 characters, not 100,001"),
        ("(?:a{1000}){1000}", "not 1,000,000"),
        ("(?:(?:[)]{0,100}){100}b){11}", "not 110,011"),
        ("(?#[)(?:a{1000}){1000}(?#])", "not 1,000,002"),
        ("(?:a{50000}b){2,}c", "not 100,003"),
        ("a{60000}" * 2, "not 120,000"),
    ],
)
def test_an_expression_that_would_fill_the_memory_is_refused(pattern, problem, monkeypatch):
    monkeypatch.setattr("judges.criteria.share.compiled", None)  # it must not come to that
    with pytest.raises(UserError, match=f"criterion 'regex'.*{problem}"):
        parse({"kind": "regex", "pattern": pattern})


@pytest.mark.parametrize(
    "pattern", ["a" * 2000, "a{100000}", "(?:ab{3}){2}", r"\{9\d{9}", "[{999999}]", "x{2,}y{,3}"]
)
def test_an_expression_of_usual_size_is_taken(pattern):
    parse({"kind": "regex", "pattern": pattern})


def test_no_memory_for_an_expression_is_no_crash(monkeypatch):
    def full(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr("judges.criteria.share.compiled", full)
    with pytest.raises(UserError, match="too large for the memory"):
        parse({"kind": "regex", "pattern": "a"})
