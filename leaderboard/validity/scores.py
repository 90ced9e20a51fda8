"""Two scores of the same models, side by side: of boards, of a board's judges, or of CSV columns.

A board's score is its rows' win rate, with the preferences that it is the mean of. A column's is
the number that stands in the file, with its standard error if the file has one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from judges.errors import UserError
from leaderboard.boards.board import Board, load_board
from leaderboard.rows.columns import by_instruction
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import excluded
from leaderboard.rows.standings import standings
from leaderboard.rows.summary import row_items
from leaderboard.statistics.rank_correlation import MIN_MODELS, Floats
from leaderboard.statistics.uncertainty import mean_interval
from leaderboard.user_files import SUFFIXES, read_rows

_FILE = re.compile(rf"(.*(?:{'|'.join(map(re.escape, SUFFIXES))}))(?::(.*))?", re.I | re.S)


@dataclass(frozen=True, eq=False)
class Side:
    """One score of models."""

    label: str
    models: tuple[str, ...]
    values: Floats
    """(models,): fractions where they are win rates, else the numbers of the file."""
    errors: Floats | None = None
    """Their standard errors, (models,)."""
    preferences: Floats | None = None
    """What a win rate is the mean of: (models, instructions), NaN where one is missing."""
    instructions: tuple[Any, ...] = ()
    """What tells the instructions apart, on whatever board they are asked."""
    left_out: Mapping[str, str] | None = None
    """Models without a score here, and why."""

    def of(self, models: Sequence[str]) -> Side:
        """The score of these models, in their order."""
        at = [self.models.index(model) for model in models]
        return replace(
            self,
            models=tuple(models),
            values=self.values[at],
            errors=None if self.errors is None else self.errors[at],
            preferences=None if self.preferences is None else self.preferences[at],
        )


@dataclass(frozen=True, eq=False)
class Pair:
    """Two scores of the same models, in one order: best first by the second, the reference."""

    a: Side
    b: Side
    left_out: Mapping[str, str]
    """Models that only one of the two scores, and why, as far as it is known."""

    @property
    def models(self) -> tuple[str, ...]:
        return self.b.models

    def of(self, models: Sequence[str]) -> Pair:
        return replace(self, a=self.a.of(models), b=self.b.of(models))

    def preferences(self) -> tuple[Floats, Floats] | None:
        """Both sides' preferences over the same columns, (models, instructions): one that only a
        side has asked is missing in the other. None where a side has none."""
        if self.a.preferences is None or self.b.preferences is None:
            return None
        columns = list(dict.fromkeys([*self.a.instructions, *self.b.instructions]))
        place = {instruction: n for n, instruction in enumerate(columns)}
        found = []
        for side in (self.a, self.b):
            assert side.preferences is not None
            spread = np.full((len(side.models), len(columns)), np.nan)
            spread[:, [place[instruction] for instruction in side.instructions]] = side.preferences
            found.append(spread)
        return found[0], found[1]


def pair_up(a: Side, b: Side) -> Pair:
    """The models that both sides score.

    Raises UserError where fewer than three are, and where a side scores all of them the same.
    """
    common = [model for model in b.models if model in set(a.models)]
    left_out = {}
    for side, other in ((a, b), (b, a)):
        for model in other.models:
            if model not in side.models:
                left_out[model] = (side.left_out or {}).get(model, f"not in {side.label}")
    if len(common) < MIN_MODELS:
        n = len(common) or "no"
        raise UserError(
            f"{a.label} and {b.label} have {n} model{'s' * (n != 1)} in common, and a correlation "
            f"takes at least {MIN_MODELS}. {_listed(a)}; {_listed(b)}"
        )
    values = dict(zip(b.models, b.values, strict=True))
    models = sorted(common, key=lambda model: (-values[model], model))
    pair = Pair(a.of(models), b.of(models), left_out)
    for side in (pair.a, pair.b):
        if np.ptp(side.values) == 0:
            raise UserError(
                f"{side.label} is {side.values[0]:g} for all {len(models)} models: "
                "what does not vary ranks nothing"
            )
    return pair


def _listed(side: Side) -> str:
    shown = ", ".join(side.models[:4]) or "none"
    return f"{side.label} has {shown}{', …' if len(side.models) > 4 else ''}"


# -------------------------------------------------------------------------------------- boards
def board_side(board: Board) -> Side:
    """The win rates of a board's ranked rows; not those of its references, whose 0.5 nobody judged.

    Raises UserError where there are none.
    """
    table = standings(board)
    names = [model for model in table.models if model not in board.settings.references]
    if not names:
        raise UserError(f"board {board.name} has no ranked rows: evaluate models on it first")
    preferences = table.preferences[[table.index(model) for model in names]]
    left_out = dict(table.left_out)
    for model in table.frame["model"]:
        if model not in names:
            is_reference = model in board.settings.references
            left_out[model] = (
                f"the reference of {board.name}"
                if is_reference
                else f"too many verdicts missing on {board.name}"
            )
    return _side(board, board.name, dict(zip(names, preferences, strict=True)), left_out)


def judge_pairs(board: Board) -> list[Pair]:
    """The judges of a board two by two, each with the win rates by its own verdicts.

    Raises UserError for a board with one judge, and as `pair_up`.
    """
    judges = board.panel.names
    if len(judges) < 2:
        raise UserError(
            f"board {board.name} has one judge, {judges[0]}: it takes two. Another panel's verdicts "
            "on the same answers: leaderboard rejudge"
        )
    names = board_side(board).models
    stored = {name: Row(board.path / name).annotations() for name in names}
    sides = []
    for judge in judges:
        found, left_out = {}, {}
        for name in names:
            without = excluded(board, Row(board.path / name))
            items = row_items(board, stored[name], board.instructions, judge=judge, without=without)
            preferences = by_instruction(board, items)
            if np.isnan(preferences).all():
                left_out[name] = f"no verdict of {judge}"
            else:
                found[name] = preferences
        sides.append(_side(board, judge, found, left_out))
    return [pair_up(one, other) for one, other in combinations(sides, 2)]


def _side(
    board: Board, label: str, preferences: Mapping[str, Floats], left_out: Mapping[str, str]
) -> Side:
    found = np.array(list(preferences.values())).reshape(len(preferences), -1)
    intervals = [mean_interval(row[~np.isnan(row)]) for row in found]
    return Side(
        label=label,
        models=tuple(preferences),
        # Sums of the same numbers in another order may differ in their last digits.
        values=np.array([one.value for one in intervals]).round(12),
        errors=np.array([one.standard_error for one in intervals]),
        preferences=found,
        # An id alone can stand for other words on another board.
        instructions=tuple((one.id, one.messages) for one in board.instructions),
        left_out=left_out,
    )


# --------------------------------------------------------------------------------------- columns
def find_sides(a: str, b: str, results: Path, models: str | None = None) -> tuple[Side, Side]:
    """What the two names mean: a board, or FILE.csv:COLUMN or FILE.csv:COLUMN:STANDARD_ERROR; the
    second can leave out the file, :COLUMN, if it is the first's. `models` is the column of the
    models' names, found if it is not said. Raises UserError."""
    file = _FILE.fullmatch(a)
    if b.startswith(":"):
        if file is None:
            raise UserError(f"{b}: which file? {a} is not one: FILE.csv{b}")
        b = f"{file[1]}{b}"
    one, other = _find(a, results, models), _find(b, results, models)
    if one.label == other.label:  # a column of this name in two files
        one, other = replace(one, label=a), replace(other, label=b)
    return one, other


def _find(name: str, results: Path, models: str | None) -> Side:
    if (file := _FILE.fullmatch(name)) is not None:
        return column_side(Path(file[1]), file[2] or "", models)
    return board_side(load_board(name, results))


def column_side(path: Path, columns: str, models: str | None = None) -> Side:
    """The numbers of a column, and of a second one with their standard errors: SCORE or
    SCORE:STANDARD_ERROR. What has an empty cell is left out.

    Raises UserError for an unknown column, a name that stands twice, and a cell that is no number.
    """
    rows = read_rows(path)
    known = list(dict.fromkeys(key for _, row in rows for key in row))
    said = f"{path} has the columns: {', '.join(known)}"
    if not columns:
        raise UserError(f"{path}: which column? {path}:COLUMN. {said}")
    score, error = _split(columns, known)
    for column in (score, error, models):
        if column is not None and column not in known:
            raise UserError(f"{path}: no column {column!r}. {said}")
    named = _names_column([row for _, row in rows], known) if models is None else models
    if named is None:
        raise UserError(f"{path}: which column names the models? Say --models COLUMN. {said}")
    values: dict[str, float] = {}
    errors: dict[str, float] = {}
    seen: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for where, row in rows:
        if row.get(named) is None:
            left_out[where] = f"no {named}"
            continue
        model = str(row[named])
        if model in seen:
            raise UserError(f"{where}: the model {model!r} stands there already: {seen[model]}")
        seen[model] = where
        cells = {key: _number(row.get(key), f"{where}, {key!r}") for key in (score, error) if key}
        if missing := [key for key, cell in cells.items() if cell is None]:
            left_out[model] = f"no {missing[0]}"
            continue
        values[model] = cells[score] or 0.0
        if error is not None:
            errors[model] = cells[error] or 0.0
            if errors[model] < 0:
                raise UserError(f"{where}, {error!r}: a standard error is not negative")
    return Side(
        label=score,
        models=tuple(values),
        values=np.array(list(values.values())),
        errors=np.array(list(errors.values())) if error is not None else None,
        left_out=left_out,
    )


def _split(columns: str, known: Sequence[str]) -> tuple[str, str | None]:
    """The score's and the standard error's column; either name can hold a colon."""
    if columns in known or ":" not in columns:
        return columns, None
    parts = columns.split(":")
    splits = [(":".join(parts[:n]), ":".join(parts[n:])) for n in range(1, len(parts))]
    return next((s for s in splits if s[0] in known and s[1] in known), splits[0])


def _names_column(rows: Sequence[Mapping[str, Any]], known: Sequence[str]) -> str | None:
    """The column `model`, or the first with no empty cell that is not one of numbers."""
    if "model" in known:
        return "model"
    for column in known:
        cells = [row.get(column) for row in rows]
        if all(isinstance(cell, str) for cell in cells) and not any(map(_is_number, cells)):
            return column
    return None


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _number(cell: Any, where: str) -> float | None:
    if cell is None:
        return None
    if isinstance(cell, bool) or not _is_number(cell):
        raise UserError(f"{where}: {str(cell)[:40]!r} is not a number")
    if not math.isfinite(number := float(cell)):
        raise UserError(f"{where}: {cell} is no figure; leave the cell empty where there is none")
    return number
