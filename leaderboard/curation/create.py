"""A new board, from prompts or from another board, without writing TOML by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
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
from leaderboard.curation.panel import (
    BoardPanel,
    board_panel,
    floating,
    new_panel,
    without_address,
)
from leaderboard.display.dry_run import answers_estimate
from leaderboard.judging.estimate import Estimate, in_dollars
from leaderboard.rows.results import Row
from leaderboard.user_files import SUFFIXES, check_name, read_rows
from leaderboard.watch import SILENT, Watch

PROMPT_COLUMNS = ("messages", "instruction", "prompt", "query", "question")
ID_COLUMNS = ("instruction_id", "id", "uid", "question_id")
CONTROL_ITEMS = 100
"""Instructions that the controls are judged on where judges are paid."""
DRIFT_ITEMS = 20
"""Old comparisons that paid judges judge once more before a new row."""


_Answers = Mapping[str, Output] | LanguageModel
"""Of a reference: its answers, or who is to give them."""


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
    control_items: int | None = None
    """Instructions that every control is judged on."""
    private: bool = False
    generation: str | None = None
    """How every model on the board writes, as KEY=VALUE,…, for what is to differ."""
    model_args: str | None = None
    base_url: str | None = None
    """Where a reference model openai-api/NAME is served."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """All of a new board but the answers of its references."""

    path: Path
    source: Board | None
    instructions: tuple[Instruction, ...]
    settings: Settings
    panel: BoardPanel
    unfinished: Path
    """Where answers of models are kept until the board is there."""


def create_board(
    recipe: Recipe, results: Path, watch: Watch = SILENT, caller: Caller | None = None
) -> Board:
    """Make the board of a recipe in a results folder and return it; `caller` calls the references
    that are models.

    Raises UserError for whatever the recipe lacks or has wrong; then nothing is left behind.
    """
    draft = _drafted(recipe, results, watch)
    chosen = _chosen(recipe, draft)
    with ExitStack() as stack:
        calls = caller or stack.enter_context(Caller.default(tell=watch.note, show=watch.waiting))
        if estimates := _reference_estimates(draft, chosen, calls):
            n = sum(of.n_calls for of in estimates)
            watch.note(f"{n:,} calls to references, {in_dollars(estimates)}")
        references = _references(draft, chosen, watch, calls)
    settings = replace(draft.settings, references=tuple(references))
    files, source = dict(draft.panel.files), draft.source
    published = source.path / "published.csv" if source else None
    # Such rows are about their own prompts and references only.
    if published and published.is_file() and not (recipe.prompts or recipe.references):
        files["published.csv"] = published
    write_board(draft.path, settings, draft.instructions, references, draft.panel.table, files)
    shutil.rmtree(draft.unfinished, ignore_errors=True)
    board = load_board(recipe.name, results)
    for line in filter(None, (without_address(board.panel), floating(board.panel))):
        watch.note(line)
    return board


def reference_estimates(recipe: Recipe, results: Path, caller: Caller) -> list[Estimate]:
    """What `create_board` would ask of references behind servers; nothing is made, nobody asked."""
    draft = _drafted(recipe, results, SILENT)
    return _reference_estimates(draft, _chosen(recipe, draft), caller)


def _reference_estimates(
    draft: _Draft, chosen: Mapping[str, _Answers], caller: Caller
) -> list[Estimate]:
    return [
        answers_estimate(
            Row(draft.unfinished / name),
            model,
            draft.instructions,
            draft.settings.sampling,
            caller,
        )
        for name, model in chosen.items()
        if isinstance(model, LanguageModel) and model.spec.is_remote
    ]


def _drafted(recipe: Recipe, results: Path, watch: Watch) -> _Draft:
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
    if recipe.generation is not None:
        settings = replace(settings, generation=settings.generation.but(recipe.generation))
    wanted, folder = new_panel(
        source, judges=recipe.judges, panel=recipe.panel, models=recipe.judge_models
    )
    panel = board_panel(wanted, folder, instructions, settings.orders)
    if is_other or source is None:
        settings = replace(settings, **_for_servers(panel, len(instructions)))
    if recipe.control_items is not None:
        settings = replace(settings, control_items=recipe.control_items)
    # Named by what is asked: an interrupted run is taken up only for the same instructions.
    unfinished = results / f".{recipe.name}.{digest(list(instructions))[7:15]}"
    return _Draft(path, source, instructions, settings, panel, unfinished)


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
            "checks": decoded(row.get("checks"), where) or (),
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


def decoded(value: object, where: str) -> Any:
    """A cell that a CSV file holds as JSON text, decoded."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON in a cell ({error})") from None


def _chosen(recipe: Recipe, draft: _Draft) -> dict[str, _Answers]:
    """Reference → its answers, from a file or from the source board, or the model that is to give
    them."""
    if not recipe.references:
        if draft.source is None or recipe.prompts is not None:
            raise UserError("say what to compare with: --reference MODEL_OR_FILE")
        return dict(draft.source.references)
    instructions = draft.instructions
    chosen: dict[str, _Answers] = {}
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
    return chosen


def _references(
    draft: _Draft, chosen: Mapping[str, _Answers], watch: Watch, caller: Caller
) -> dict[str, Mapping[str, Output]]:
    """Reference → instruction id → answer, those of models written now.

    What models write is kept until the board is there, so that a run that was interrupted goes on
    where it stopped.
    """
    references: dict[str, Mapping[str, Output]] = {}
    for name, answers in chosen.items():
        if isinstance(answers, LanguageModel):
            row = Row(draft.unfinished / name)
            generate_answers(
                row,
                answers,
                draft.instructions,
                draft.settings.sampling,
                watch,
                overwrite=True,
                caller=caller,
                board=draft.path,
            )
            answers = row.outputs()
        references[name] = {i: replace(o, generator=name) for i, o in answers.items()}
    return references


def _is_file(spec: str) -> bool:
    path = Path(spec)
    return path.suffix.lower() in SUFFIXES and not path.is_dir()
