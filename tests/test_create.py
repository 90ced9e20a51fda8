"""`board new`: a board from the files that people have, or from another board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import read_json, read_lines, refused, write_rows

from judges.kinds.heuristic import Heuristic
from judges.storage.database import open_database
from leaderboard.boards.board import load_board
from leaderboard.curation.create import PROMPT_COLUMNS

TEXTS = ["Name a colour.", "Count to three,\nslowly.", "Grüße „Ada“ und 🐄!"]


TURNS = [
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": "Another."},
    ],
]


def mine(tmp_path: Path) -> Any:
    return load_board("mine", tmp_path / "results")


# ------------------------------------------------------------------------------------------ prompts
@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("column", [name for name in PROMPT_COLUMNS if name != "messages"])
def test_prompts_of_every_format_and_column(suffix, column, new_board, tmp_path):
    rows = [{column: text, "extra": "is passed over"} for text in TEXTS]
    run = new_board("--prompts", write_rows(tmp_path / f"prompts{suffix}", rows))
    assert run.code == 0, run.err
    assert "3 instructions, against echo, judged by heuristic/longest" in run.out
    instructions = mine(tmp_path).instructions
    assert [i.text for i in instructions] == TEXTS
    assert [[turn.role for turn in i.messages] for i in instructions] == [["user"]] * 3
    assert len({i.id for i in instructions}) == 3


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["messages", "prompt"])
def test_conversations_as_lists_and_as_json_text_in_csv(suffix, column, new_board, tmp_path):
    rows = [{column: turns} for turns in TURNS]
    run = new_board("--prompts", write_rows(tmp_path / f"prompts{suffix}", rows))
    assert run.code == 0, run.err
    read = [
        [{"role": turn.role, "content": turn.content} for turn in i.messages]
        for i in mine(tmp_path).instructions
    ]
    assert read == TURNS


@pytest.mark.parametrize(
    "prompt", ['[{"a": 1}] as a table, please', '[{"a": 1}, {"a": 2}]', "[{", "[1, 2]", "[]"]
)
def test_a_prompt_that_only_looks_like_json_is_a_text(prompt, new_board, tmp_path):
    run = new_board("--prompts", write_rows(tmp_path / "prompts.csv", [{"prompt": prompt}]))
    assert run.code == 0, run.err
    assert mine(tmp_path).instructions[0].text == prompt


def test_how_models_write_can_be_said(new_board, tmp_path):
    path = write_rows(tmp_path / "prompts.csv", [{"prompt": "Name a colour."}])
    run = new_board("--prompts", path, "--generation", "temperature=0.7, max_tokens=96")
    assert run.code == 0, run.err
    found = mine(tmp_path).settings.generation
    assert (found.temperature, found.max_tokens, found.top_p) == (0.7, 96, None)


def test_a_column_can_be_named(new_board, tmp_path):
    rows = [{"prompt": "not this one", "ask": text} for text in TEXTS]
    path = write_rows(tmp_path / "prompts.jsonl", rows)
    assert new_board("--prompts", path, "--prompt-column", "ask").code == 0
    assert [i.text for i in mine(tmp_path).instructions] == TEXTS


@pytest.mark.parametrize("flags", [(), ("--category-column", "topic")])
def test_categories_ids_checks_and_gold_answers_are_read(flags, new_board, tmp_path):
    check = {"kind": "contains", "all": ["red"]}
    rows = [
        {"id": "x1", "prompt": "Red?", "category": "a", "topic": 0, "checks": [check],
         "gold_answer": "red"},
        {"id": "x2", "prompt": "Blue?", "category": "b", "topic": 1, "checks": [check],
         "gold_answer": "red"},
    ]  # fmt: skip
    for suffix in (".jsonl", ".csv"):
        path = write_rows(tmp_path / f"prompts{suffix}", rows)
        name = f"board{suffix[1:]}"
        run = new_board("--prompts", path, "--judge", "checklist", *flags)
        assert run.code == 0, run.err
        board = mine(tmp_path)
        assert [i.id for i in board.instructions] == ["x1", "x2"]
        assert [i.category for i in board.instructions] == (["0", "1"] if flags else ["a", "b"])
        assert [i.checks for i in board.instructions] == [(check,)] * 2
        assert [i.gold_answer for i in board.instructions] == ["red"] * 2
        board.path.rename(board.path.with_name(name))


# ---------------------------------------------------------------------------- references, judges, …
def test_references_are_files_and_models_and_are_frozen(new_board, tmp_path):
    prompts = write_rows(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
    rows = [{"instruction": text, "output": f"<think>hm</think>{k}", "generator": "org/Model-7B"}
            for k, text in enumerate(TEXTS)]  # fmt: skip
    answers = write_rows(tmp_path / "answers.json", rows)
    run = new_board("--prompts", prompts, "--reference", answers, "--reference", "fake/echo")
    assert run.code == 0, run.err
    assert "against org__Model-7B and echo" in run.out
    answers.unlink()
    board = mine(tmp_path)
    assert board.settings.references == ("org__Model-7B", "echo")
    texts = {name: [o.text for o in outputs.values()] for name, outputs in board.references.items()}
    assert texts == {"org__Model-7B": ["0", "1", "2"], "echo": TEXTS}
    assert {o.generator for o in board.references["echo"].values()} == {"echo"}


def test_a_row_is_compared_with_every_reference(new_board, tmp_path, leaderboard):
    prompts = write_rows(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
    new_board("--prompts", prompts, "--reference", "fake/constant", "--reference", "fake/echo")
    run = leaderboard("eval", "fake/words", "--board", "mine", "--results", tmp_path / "results")
    assert run.code == 0, run.err
    lines = read_lines(tmp_path / "results/mine/words/annotations.jsonl")
    compared = [line["comparison_id"].split(":")[0] for line in lines]
    assert sorted(compared) == ["constant"] * 3 + ["echo"] * 3


def test_judges_are_repeatable_and_orders_are_pinned(new_board, tmp_path):
    prompts = write_rows(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
    run = new_board("--prompts", prompts, "--judge", "heuristic/longest", "--judge", "heuristic/random",
              "--orders", "random")  # fmt: skip
    assert run.code == 0, run.err
    board = mine(tmp_path)
    assert board.panel.names == ["heuristic/longest", "heuristic/random"]
    assert board.settings.orders == "random"


def test_both_orders_are_the_default(new_board, tmp_path):
    new_board("--prompts", write_rows(tmp_path / "prompts.csv", [{"prompt": "Hm?"}]))
    assert mine(tmp_path).settings.orders == "both"


def test_a_panel_by_name_and_by_file(new_board, tmp_path):
    rows = [{"prompt": "Red?", "checks": [{"kind": "contains", "all": ["red"]}]}]
    prompts = write_rows(tmp_path / "prompts.jsonl", rows)
    run = new_board("--prompts", prompts, "--panel", "offline")
    assert run.code == 0, run.err
    assert "checklist" in mine(tmp_path).panel.names
    mine(tmp_path).path.rename(tmp_path / "results" / "by-name")
    panel = tmp_path / "panel.toml"
    panel.write_text(
        'aggregate = "median"\n[[judges]]\nkind = "heuristic"\nrule = "shortest"\nname = "s"\n',
        encoding="utf-8",
    )
    run = new_board("--prompts", prompts, "--panel", panel)
    assert run.code == 0, run.err
    panel.unlink()
    made = mine(tmp_path).panel
    assert made.judges == (Heuristic(name="s", rule="shortest"),)
    assert made.aggregate == "median"


def test_recorded_verdicts_come_along(new_board, tmp_path, leaderboard):
    verdicts = write_rows(
        tmp_path / "people.jsonl",
        [{"instruction_id": "0001", "generator_1": "echo", "generator_2": "words",
          "preference": 0.8}],
    )  # fmt: skip
    prompts = write_rows(tmp_path / "prompts.csv", [{"prompt": "Hm?"}])
    run = new_board("--prompts", prompts, "--judge", f"recorded/{verdicts}")
    assert run.code == 0, run.err
    verdicts.unlink()
    board = mine(tmp_path)
    assert board.panel.names == ["recorded/people"]
    assert (board.path / "verdicts" / "people.jsonl").is_file()
    run = leaderboard("eval", "fake/words", "--board", "mine", "--results", tmp_path / "results")
    assert run.code == 0, run.err
    summary = read_json(board.path / "words" / "summary.json")
    assert summary["win_rate"]["value"] == pytest.approx(0.8)


# ---------------------------------------------------------------------------------- --from, private
def test_from_takes_over_what_is_not_said(results, leaderboard):
    run = leaderboard("board", "new", "mine", "--from", "toy", "--results", results)
    assert run.code == 0, run.err
    old, made = load_board("toy", results), load_board("mine", results)
    assert made.hashes == old.hashes
    assert made.instructions == old.instructions
    assert made.title == "mine"


def test_from_with_another_judge_or_reference_keeps_the_rest(results, leaderboard):
    run = leaderboard(
        "board", "new", "mine", "--from", "toy", "--judge", "heuristic/shortest",
        "--reference", "fake/constant", "--orders", "fixed", "--results", results,
    )  # fmt: skip
    assert run.code == 0, run.err
    old, made = load_board("toy", results), load_board("mine", results)
    assert made.instructions == old.instructions
    assert made.settings.generation == old.settings.generation
    assert made.settings.references == ("constant",)
    assert made.panel.names == ["heuristic/shortest"]
    assert made.settings.orders == "fixed"


def test_a_live_board_of_starter_does_not_claim_to_be_programmatic(tmp_path, leaderboard):
    flags = ("--from", "starter", "--results", tmp_path)
    assert leaderboard("board", "new", "same", *flags).code == 0
    assert leaderboard("board", "new", "live", *flags, "--judge", "heuristic/random").code == 0
    assert load_board("same", tmp_path).hashes == load_board("starter", tmp_path).hashes
    assert "programmatic" in load_board("same", tmp_path).settings.note
    assert load_board("live", tmp_path).settings.note == ""


def test_published_rows_stay_with_their_own_prompts_and_references(results, leaderboard):
    (results / "toy" / "published.csv").write_text("name\nsomeone\n", encoding="utf-8")
    for name, flags in (("live", ("--judge", "heuristic/random")),
                        ("other", ("--reference", "fake/echo"))):  # fmt: skip
        run = leaderboard("board", "new", name, "--from", "toy", *flags, "--results", results)
        assert run.code == 0, run.err
    assert (results / "live" / "published.csv").is_file()
    assert not (results / "other" / "published.csv").exists()


@pytest.mark.parametrize("flags", [("--from", "toy"), ("--prompts",)])
def test_private_marks_every_instruction(flags, results, leaderboard, tmp_path):
    if flags == ("--prompts",):
        prompts = write_rows(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
        flags = ("--prompts", prompts, "--reference", "fake/echo", "--judge", "heuristic/longest")
    run = leaderboard("board", "new", "mine", *flags, "--private", "--results", results)
    assert run.code == 0, run.err
    lines = read_lines(results / "mine" / "evalset.jsonl")
    assert {line["visibility"] for line in lines} == {"private"}


def test_the_input_of_an_instruction_stands_below_it(new_board, tmp_path):
    rows = [
        {"instruction": "Translate.", "input": "Guten Tag"},
        {"instruction": "Translate.", "input": "Danke"},
        {"instruction": "Name a colour.", "input": ""},
    ]
    run = new_board("--prompts", write_rows(tmp_path / "prompts.csv", rows))
    assert run.code == 0, run.err
    texts = ["Translate.\n\nGuten Tag", "Translate.\n\nDanke", "Name a colour."]
    assert [i.text for i in mine(tmp_path).instructions] == texts


def test_what_reference_models_cost_is_the_new_boards(new_board, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    prompts = write_rows(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
    run = new_board("--prompts", prompts, "--reference", "openai/m", "--base-url",
                    f"{serve().url}/v1")  # fmt: skip
    assert run.code == 0, run.err
    database = open_database()
    rows = database.read("SELECT DISTINCT board, row, purpose, folder FROM herdbook_ledger", [])
    assert rows == [("mine", "m", "answers", str((tmp_path / "results").resolve()))]


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("openai-api/mine@localhost:8000", "@http://localhost:8000"),
        ("openai-api/mine@127.0.0.1:8000/v1", "@http://127.0.0.1:8000/v1"),
        ("openai-api/mine@gpu.example.com", "@http://gpu.example.com"),
        ("openai/", "the name"),
        ("openai-api/@http://127.0.0.1:8000/v1", "the name"),
    ],
)
def test_a_judge_model_that_names_no_server_or_no_model(model, part, new_board, tmp_path):
    prompts = write_rows(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
    refused(new_board("--prompts", prompts, "--judge", f"pairwise/{model}"), part)
