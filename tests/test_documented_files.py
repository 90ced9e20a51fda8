"""What docs/files.md says of the files of a board is what an evaluation writes."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

from conftest import (
    files_of,
    good_answers,
    make_board,
    read_json,
    read_lines,
    write_answers,
)

from judges.backends.base import Completion
from judges.schema import Annotation, Instruction, Output
from leaderboard.rows.results import Manifest, ModelInfo
from leaderboard.rows.standings import COLUMNS

FILES_DOC = Path(__file__).parents[1] / "docs" / "files.md"


def documented(heading: str, nth: int = 0) -> list[str]:
    """The keys in the first column of a table under a heading, in order."""
    text = FILES_DOC.read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, heading
    tables = re.findall(r"(?:^\|.*\n)+", section[1], re.M)
    rows = tables[nth].splitlines()[2:]
    return [key for row in rows for key in re.findall(r"`([^`]+)`", row.split("|")[1])]


def fields_of(record: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(record)}


def test_the_documented_fields_are_the_fields():
    assert set(documented("Lines of evalset.jsonl")) == fields_of(Instruction)
    assert set(documented("Lines of outputs.jsonl and references/")) == fields_of(Output)
    assert set(documented("Lines of annotations.jsonl")) == fields_of(Annotation)
    assert set(documented("manifest.json")) == fields_of(Manifest)
    assert set(documented("model.toml")) == fields_of(ModelInfo)
    assert set(documented("Columns of leaderboard.csv")) == set(COLUMNS)


def test_summary_json_has_the_documented_keys(evaluate, results, tmp_path):
    evaluate(write_answers(tmp_path / "good.jsonl", good_answers()))
    rate_keys = documented("summary.json", 1)
    for path in ("good/summary.json", "controls/null/summary.json"):
        summary = read_json(results / "toy" / path)
        assert set(summary["categories"]) == {"even", "odd"}
        assert set(summary["judges"]) == {"checklist"}
        rates = [summary["win_rate"], *summary["categories"].values(), *summary["judges"].values()]
        for rate in rates:
            assert sorted(rate) == sorted(rate_keys)
        found = []
        for key, value in summary.items():
            if key in ("board", "verdicts", "answers"):
                found += [f"{key}.{inner}" for inner in value]
            elif key in ("categories", "judges"):
                found.append(
                    {"categories": "categories.<category>", "judges": "judges.<judge>"}[key]
                )
            else:
                found.append(key)
        assert found == documented("summary.json")


def test_the_transcripts_of_a_judge_that_asks_a_model(leaderboard, tmp_path):
    judge = {"kind": "pairwise", "name": "own", "model": "fake/judge"}
    board = make_board(tmp_path / "results" / "toy", 3, {"judges": [judge]})
    file = write_answers(tmp_path / "good.jsonl", good_answers(3))
    leaderboard("eval", file, "--board", "toy", "--results", tmp_path / "results")
    lines = read_lines(board.path / "good/transcripts.jsonl")
    assert len(lines) == 6
    for line in lines:
        assert list(line) == documented("Lines of transcripts.jsonl")
        assert all(set(call) <= set(call_fields()) for call in line["calls"])


def call_fields() -> list[str]:
    """The fields of a reply that are named in the line about `calls`."""
    text = FILES_DOC.read_text(encoding="utf-8")
    (line,) = re.findall(r"^\| `calls` \| (every .*)$", text, re.M)
    named = re.findall(r"`([^`]+)`", line)
    assert set(named) == fields_of(Completion)
    return named


def test_board_and_panel_toml_have_the_documented_keys(results):
    table = tomllib.loads((results / "toy" / "board.toml").read_text("utf-8"))
    optional = {"generation.top_p", "generation.top_k", "generation.repetition_penalty"}
    optional |= {"control_items", "max_cost_usd"}
    found = set()
    for key, value in table.items():
        inner = [f"{key}.{k}" for k in value] if isinstance(value, dict) else [key]
        found |= set(inner)
    assert found | optional == set(documented("board.toml"))
    panel = tomllib.loads((results / "toy" / "panel.toml").read_text("utf-8"))
    assert set(panel) | {"aggregate", "assign", "note"} == set(documented("panel.toml"))


def test_the_files_of_an_evaluation_are_the_documented_ones(evaluate, results, tmp_path):
    evaluate(write_answers(tmp_path / "good.jsonl", good_answers()))
    layout = documented("The layout")
    for name in files_of(results / "toy"):
        if name.endswith(".lock"):
            continue
        pattern = "<board>/" + re.sub(r"^good/", "<model>/", name)
        pattern = re.sub(r"references/.*\.jsonl", "references/<name>.jsonl", pattern)
        pattern = re.sub(r"controls/.*", "controls/<control>/", pattern)
        assert pattern in layout, name


def test_no_file_of_a_board_names_the_folder_it_lies_in(evaluate, results, tmp_path):
    evaluate(write_answers(tmp_path / "good.jsonl", good_answers()))
    for name, content in files_of(results / "toy").items():
        assert str(tmp_path).encode() not in content, name
