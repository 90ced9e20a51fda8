"""A new board, from prompts or from another board, without writing TOML by hand."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from judges.base import Orders
from judges.errors import UserError
from judges.records import to_json, validated
from judges.registry import judge_table, packaged_panels, read_panel
from judges.schema import Instruction, Output
from leaderboard.answers import read_answers
from leaderboard.boards import Board, Settings, check_instruction, load_board, write_board
from leaderboard.generate import generate_answers
from leaderboard.models import AnswersFile, LocalModel, parse_model_args, resolve, row_name
from leaderboard.results import Row
from leaderboard.user_files import check_name, read_rows
from leaderboard.watch import SILENT, Watch

PROMPT_COLUMNS = ("messages", "instruction", "prompt", "query", "question")
ID_COLUMNS = ("instruction_id", "id", "uid", "question_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a new board is made of; None is taken from `source`, else the default."""

    name: str
    source: str | None = None
    """A board whose instructions, references and panel are taken over where nothing is said."""
    prompts: Path | None = None
    prompt_column: str | None = None
    category_column: str | None = None
    references: Sequence[str] = ()
    """Models or answers files; the first is the one that controls are judged against."""
    judges: Sequence[str] = ()
    panel: str | None = None
    """A packaged panel's name, or a panel file."""
    orders: Orders | None = None
    private: bool = False
    model_args: str | None = None


def create_board(recipe: Recipe, results: Path, watch: Watch = SILENT) -> Board:
    """Make the board of a recipe in a results folder and return it.

    Raises UserError for whatever the recipe lacks or has wrong; then nothing is left behind.
    """
    check_name(recipe.name, "the board's name")
    path = results / recipe.name
    if path.exists():
        raise UserError(f"{path} is there already; choose another name")
    # A source that was edited by hand is welcome here: the new board pins it as it is now.
    source = load_board(recipe.source, results, verify=False) if recipe.source else None
    if recipe.prompts is None and source is None:
        raise UserError("say what to ask: --prompts FILE, or --from BOARD")
    if recipe.prompts is not None:
        instructions = read_prompts(recipe.prompts, recipe.prompt_column, recipe.category_column)
        watch.note(f"{len(instructions)} instructions from {recipe.prompts.name}")
    else:
        assert source is not None
        instructions = source.instructions
    if recipe.private:
        instructions = tuple(replace(i, visibility="private") for i in instructions)
    panel, files = _panel(recipe, source)
    settings = source.settings if source else Settings(references=())
    settings = replace(settings, title=recipe.name if source is None else settings.title)
    if recipe.orders is not None:
        settings = replace(settings, orders=recipe.orders)
    references = _references(recipe, source, instructions, settings, watch)
    settings = replace(settings, references=tuple(references))
    if source is not None and (source.path / "published.csv").is_file():
        files["published.csv"] = source.path / "published.csv"
    results.mkdir(parents=True, exist_ok=True)
    write_board(path, settings, instructions, references, panel, files)
    return load_board(recipe.name, results)


# ------------------------------------------------------------------------------------- the parts
def read_prompts(
    path: Path, prompt_column: str | None = None, category_column: str | None = None
) -> tuple[Instruction, ...]:
    """The instructions of a user's file of prompts.

    The prompt is the column named, else the first of PROMPT_COLUMNS that is there; the id is the
    first of ID_COLUMNS, else the row's number. `checks`, `gold_answer` and `category` are read
    where they are there. Raises UserError for a column that is missing, an empty or doubled
    prompt, or a doubled id.
    """
    rows = read_rows(path)
    columns = list(dict.fromkeys(column for _, row in rows for column in row))
    prompt = prompt_column or next((name for name in PROMPT_COLUMNS if name in columns), None)
    if prompt is None or prompt not in columns:
        what = (
            f"no column {prompt!r}" if prompt else f"none of {', '.join(PROMPT_COLUMNS)} is there"
        )
        raise UserError(
            f"{path}: {what}; the columns are {', '.join(columns)}. Name one with --prompt-column"
        )
    if category_column is not None and category_column not in columns:
        raise UserError(f"{path}: no column {category_column!r}; there are {', '.join(columns)}")
    named = next((name for name in ID_COLUMNS if name in columns), None)
    instructions: dict[str, Instruction] = {}
    seen: dict[str, str] = {}
    for number, (where, row) in enumerate(rows, 1):
        record = {
            "id": str(row[named]) if named and row.get(named) is not None else f"{number:04d}",
            "messages": _messages(row.get(prompt), where),
            "category": str(row.get(category_column or "category") or ""),
            "checks": _decoded(row.get("checks"), where) or (),
            "gold_answer": row.get("gold_answer"),
        }
        instruction = validated(TypeAdapter(Instruction), record, where)
        check_instruction(instruction, where)
        if instruction.id in instructions:
            raise UserError(f"{where}: a second prompt has the id {instruction.id!r}")
        key = json.dumps(to_json(instruction.messages))
        if key in seen:
            raise UserError(f"{where}: this prompt stands at {seen[key]} too")
        instructions[instruction.id] = instruction
        seen[key] = where
    return tuple(instructions.values())


def _messages(value: object, where: str) -> list[dict[str, str]]:
    decoded = _decoded(value, where) if isinstance(value, str) and value[:2] == "[{" else value
    if isinstance(decoded, list):
        return [dict(turn) if isinstance(turn, Mapping) else turn for turn in decoded]
    if not isinstance(decoded, str) or not decoded.strip():
        raise UserError(f"{where}: the prompt is empty")
    return [{"role": "user", "content": decoded}]


def _decoded(value: object, where: str) -> Any:
    """A cell that a CSV file holds as JSON text, decoded."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON in a cell ({error})") from None


def _panel(recipe: Recipe, source: Board | None) -> tuple[dict[str, Any], dict[str, Path | str]]:
    """The content of panel.toml, and the files of verdicts that have to come along."""
    if recipe.judges and recipe.panel:
        raise UserError("give --judge or --panel, not both")
    if recipe.judges:
        base, panel = Path(), {"judges": [judge_table(spec) for spec in recipe.judges]}
    elif recipe.panel:
        packaged = packaged_panels()
        file = packaged.get(recipe.panel, Path(recipe.panel))
        if not file.is_file():
            raise UserError(
                f"no panel {recipe.panel!r}; packaged: {', '.join(packaged)}, or give a file"
            )
        base, panel = file.parent, read_panel(file)
    elif source is not None:
        base, panel = source.path, read_panel(source.path / "panel.toml")
    else:
        raise UserError("say who judges: --judge JUDGE or --panel PANEL")
    files: dict[str, Path | str] = {}
    for table in panel["judges"]:
        if table.get("kind") == "recorded" and table.get("path"):
            verdicts = base / table["path"]
            if not verdicts.is_file():
                raise UserError(f"{verdicts}: the file of recorded verdicts is not there")
            table["path"] = f"verdicts/{verdicts.name}"
            table.setdefault("name", f"recorded/{verdicts.stem}")
            files[table["path"]] = verdicts
    return panel, files


def _references(
    recipe: Recipe,
    source: Board | None,
    instructions: Sequence[Instruction],
    settings: Settings,
    watch: Watch,
) -> dict[str, Mapping[str, Output]]:
    """Reference → instruction id → answer, from files, by models, or from the source board."""
    if not recipe.references:
        if source is None or recipe.prompts is not None:
            raise UserError("say what to compare with: --reference MODEL_OR_FILE")
        return dict(source.references)
    references: dict[str, Mapping[str, Output]] = {}
    for spec in recipe.references:
        model = resolve(spec, parse_model_args(recipe.model_args) if _is_local(spec) else {})
        if isinstance(model, AnswersFile):
            outputs, generator = read_answers(model.path, instructions)
            name = row_name(model, None, generator)
        else:
            assert isinstance(model, LocalModel)
            name = row_name(model, None, None)
            outputs = _generated(name, model, instructions, settings, watch)
        if name in references:
            raise UserError(f"two references are called {name!r}")
        references[name] = {i: replace(o, generator=name) for i, o in outputs.items()}
    return references


def _is_local(spec: str) -> bool:
    return spec.startswith(("hf/", "fake/")) or Path(spec).is_dir()


def _generated(
    name: str,
    model: LocalModel,
    instructions: Sequence[Instruction],
    settings: Settings,
    watch: Watch,
) -> dict[str, Output]:
    """A model's answers to instructions that are on no board yet."""
    source = f"model {model.default_name}"
    with tempfile.TemporaryDirectory() as folder:
        row = Row(Path(folder) / name)
        generate_answers(row, source, model.load(), instructions, settings.sampling, watch)
        return row.outputs()
