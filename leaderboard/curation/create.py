"""A new board, from prompts or from another board, without writing TOML by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from judges.base import Orders
from judges.calling.caller import Caller
from judges.errors import UserError
from judges.records import digest, to_line, validated
from judges.schema import Instruction, Output
from leaderboard.answers.answers import read_answers, with_input
from leaderboard.answers.generate import generate_answers
from leaderboard.answers.models import (
    AnswersFile,
    LanguageModel,
    parse_model_args,
    refuse_to_send,
    resolve,
    row_name,
)
from leaderboard.boards.board import Board, load_board, write_board
from leaderboard.boards.evalset import check_instruction
from leaderboard.boards.settings import SelfJudging, Settings
from leaderboard.curation.panel import BoardPanel, board_panel, new_panel
from leaderboard.rows.results import Row
from leaderboard.user_files import SUFFIXES, check_name, read_rows
from leaderboard.watch import SILENT, Watch

PROMPT_COLUMNS = ("messages", "instruction", "prompt", "query", "question")
ID_COLUMNS = ("instruction_id", "id", "uid", "question_id")
CONTROL_ITEMS = 100
"""Instructions that the controls are judged on where judges are paid."""
DRIFT_ITEMS = 20
"""Old comparisons that paid judges judge once more before a new row."""


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
    judge_models: Sequence[str] = ()
    """Models for what a panel leaves open: SLOT=MODEL, or MODEL for all."""
    parent: str = ""
    """The board whose answers are judged anew on this one."""
    self_judging: SelfJudging | None = None
    orders: Orders | None = None
    private: bool = False
    model_args: str | None = None
    base_url: str | None = None
    """Where a reference model openai-api/NAME is served."""


def create_board(recipe: Recipe, results: Path, watch: Watch = SILENT) -> Board:
    """Make the board of a recipe in a results folder and return it.

    Raises UserError for whatever the recipe lacks or has wrong; then nothing is left behind.
    """
    check_name(recipe.name, "the board's name")
    path = results / recipe.name
    if path.exists():
        raise UserError(f"{path} is there already; choose another name")
    if recipe.prompts is None and (recipe.prompt_column or recipe.category_column):
        raise UserError("--prompt-column and --category-column go with --prompts")
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
    settings = source.settings if source else Settings(references=())
    is_other = recipe.prompts or recipe.judges or recipe.panel
    settings = replace(settings, title=recipe.name, note="" if is_other else settings.note)
    # The new board is not calibrated yet.
    settings = replace(settings, headline="win_rate", parent=recipe.parent)
    if recipe.orders is not None:
        settings = replace(settings, orders=recipe.orders)
    if recipe.self_judging is not None:
        settings = replace(settings, self_judging=recipe.self_judging)
    wanted, folder = new_panel(
        source, judges=recipe.judges, panel=recipe.panel, models=recipe.judge_models
    )
    panel = board_panel(wanted, folder, instructions, settings.orders)
    if is_other or source is None:
        settings = replace(settings, **_for_servers(panel, len(instructions)))
    files = dict(panel.files)
    # Named by what is asked: an interrupted run is taken up only for the same instructions.
    unfinished = results / f".{recipe.name}.{digest(list(instructions))[7:15]}"
    references = _references(recipe, source, instructions, settings, unfinished, watch)
    settings = replace(settings, references=tuple(references))
    published = source.path / "published.csv" if source else None
    # Such rows are about their own prompts and references only.
    if published and published.is_file() and not (recipe.prompts or recipe.references):
        files["published.csv"] = published
    write_board(path, settings, instructions, references, panel.table, files)
    shutil.rmtree(unfinished, ignore_errors=True)
    return load_board(recipe.name, results)


def _for_servers(panel: BoardPanel, n: int) -> dict[str, Any]:
    """Judges behind a server are paid for and can change unseen: fewer controls, and old
    comparisons judged again before each row."""
    items = CONTROL_ITEMS if panel.is_served and n > CONTROL_ITEMS else None
    return {"control_items": items, "drift": DRIFT_ITEMS if panel.is_served else 0}


# ------------------------------------------------------------------------------------- the parts
def read_prompts(
    path: Path, prompt_column: str | None = None, category_column: str | None = None
) -> tuple[Instruction, ...]:
    """The instructions of a user's file of prompts.

    The prompt is the column named, else the first of PROMPT_COLUMNS that is there, `instruction`
    with AlpacaFarm's `input` below it; the id is the
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
        asked = row.get(prompt)
        if prompt == "instruction" and isinstance(asked, str):
            asked = with_input(asked, row)
        record = {
            "id": str(row[named]) if named and row.get(named) is not None else f"{number:04d}",
            "messages": turns_of(asked, where, prompt),
            "category": _text(row.get(category_column or "category")),
            "checks": _decoded(row.get("checks"), where) or (),
            "gold_answer": row.get("gold_answer"),
        }
        instruction = validated(Instruction, record, where)
        check_instruction(instruction, where)
        if instruction.id in instructions:
            raise UserError(f"{where}: a second prompt has the id {instruction.id!r}")
        key = to_line(instruction.messages)
        if key in seen:
            raise UserError(f"{where}: this prompt stands at {seen[key]} too")
        instructions[instruction.id] = instruction
        seen[key] = where
    return tuple(instructions.values())


def _text(value: object) -> str:
    return "" if value is None else str(value)


def turns_of(value: object, where: str, column: str) -> list[Any]:
    """The turns of a conversation, which a CSV file holds as JSON text; of a plain text, one."""
    turns = _conversation(value) if isinstance(value, str) else value
    if turns is None or turns == [] or (isinstance(turns, str) and not turns.strip()):
        raise UserError(f"{where}: the prompt is empty")
    if isinstance(turns, list):
        return turns
    if column == "messages" or not isinstance(turns, str):
        raise UserError(
            f"{where}: {column} must be {'' if column == 'messages' else 'a text or '}a list of "
            'turns like {"role": "user", "content": …}'
        )
    return [{"role": "user", "content": turns}]


def _conversation(text: str) -> Any:
    """The turns in a text that is a JSON list of turns; any other text as it is."""
    try:
        turns = json.loads(text) if text.lstrip().startswith("[") else None
    except ValueError:
        return text
    if not isinstance(turns, list) or not turns:
        return text
    return (
        turns if all(isinstance(t, dict) and {"role", "content"} <= set(t) for t in turns) else text
    )


def _decoded(value: object, where: str) -> Any:
    """A cell that a CSV file holds as JSON text, decoded."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON in a cell ({error})") from None


def _references(
    recipe: Recipe,
    source: Board | None,
    instructions: Sequence[Instruction],
    settings: Settings,
    unfinished: Path,
    watch: Watch,
) -> dict[str, Mapping[str, Output]]:
    """Reference → instruction id → answer, from files, by models, or from the source board.

    What models write is kept in `unfinished` until the board is there, so that a run that was
    interrupted goes on where it stopped.
    """
    if not recipe.references:
        if source is None or recipe.prompts is not None:
            raise UserError("say what to compare with: --reference MODEL_OR_FILE")
        return dict(source.references)
    chosen: dict[str, Mapping[str, Output] | LanguageModel] = {}
    for spec in recipe.references:
        args = {} if _is_file(spec) else parse_model_args(recipe.model_args)
        model = resolve(spec, args, base_url=None if _is_file(spec) else recipe.base_url)
        outputs, generator = (
            read_answers(model.path, instructions) if isinstance(model, AnswersFile) else ({}, None)
        )
        if isinstance(model, LanguageModel):
            refuse_to_send(instructions, model.spec, f"--reference {spec}")
        name = row_name(model, None, generator)
        if name in chosen:
            raise UserError(f"two references are called {name!r}")
        chosen[name] = model if isinstance(model, LanguageModel) else outputs
    # Models write only now that everything else is known to be right.
    references: dict[str, Mapping[str, Output]] = {}
    for name, answers in chosen.items():
        if isinstance(answers, LanguageModel):
            row, sampling = Row(unfinished / name), settings.sampling
            with Caller.default() as caller:
                generate_answers(
                    row,
                    answers,
                    instructions,
                    sampling,
                    watch,
                    overwrite=True,
                    caller=caller,
                    board=unfinished.parent / recipe.name,
                )
            answers = row.outputs()
        references[name] = {i: replace(o, generator=name) for i, o in answers.items()}
    return references


def _is_file(spec: str) -> bool:
    path = Path(spec)
    return path.suffix.lower() in SUFFIXES and not path.is_dir()
