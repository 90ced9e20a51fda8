"""The length-controlled figures of a row: from its verdicts, its answers and what the board froze.

`lc_alpaca_eval` is AlpacaEval's published recipe, `lc_joint` our own. A board has a column when it
holds what the column needs; where it does not, or where a row's answers are not known well enough,
the reason stands in the figure's place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from judges.reading import list_items
from judges.schema import Output
from leaderboard.boards.board import Board
from leaderboard.boards.settings import Column
from leaderboard.statistics.uncertainty import Floats

if TYPE_CHECKING:
    from leaderboard.statistics.lc_joint import LcJoint
    from leaderboard.statistics.length_control import LengthControlled

LENGTH_CONTROLLED: tuple[Column, ...] = ("lc_joint", "lc_alpaca_eval")

_MARKDOWN = re.compile(r"^ {0,3}#{1,6} |\*\*[^*\n]+\*\*|^ {0,3}```|^\|.*\|\s*$", re.MULTILINE)

MEASURES: dict[str, Callable[[Output], float]] = {
    "length": lambda output: output.characters,
    "lists": lambda output: len(list_items(output.text)),
    "markdown": lambda output: len(_MARKDOWN.findall(output.text)),
}
"""What of an answer's form can sway a judge: characters, list items, and marks of Markdown
(headings, bold, code fences, table rows)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figure:
    """A length-controlled win rate in [0, 1], or None and the reason why there is none.

    `influence` is by the board's instructions, NaN where nothing was judged; its mean square over
    n is the squared standard error. `details` are the coefficients and what else is worth keeping.
    """

    value: float | None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int = 0
    absent: str = ""
    details: Mapping[str, Any] | None = None
    influence: Floats | None = None

    def json(self) -> dict[str, Any]:
        """As it stands in summary.json."""
        if self.value is None:
            return {"value": None, "absent": self.absent}
        error = self.standard_error
        return {
            "value": self.value,
            # A single instruction has none.
            "standard_error": None if error is None or math.isnan(error) else error,
            "low": self.low,
            "high": self.high,
            "level": self.level,
            "n": self.n,
            **(self.details or {}),
        }


def column_absent(board: Board, column: Column) -> str:
    """Why the board cannot have the column; empty where it has it."""
    if column == "win_rate" or column in board_columns(board):
        return ""
    if len(board.settings.references) > 1:
        return "only on boards with one reference"
    if column == "lc_alpaca_eval":
        return (
            "it needs AlpacaEval's difficulties and gamed references: "
            "board import … --difficulty FILE --gamed FILE"
        )
    from leaderboard.statistics.lc_calibration import MIN_MODELS

    return f"not calibrated: leaderboard board calibrate {board.name}, from {MIN_MODELS} rows on"


def board_columns(board: Board) -> list[Column]:
    """The length-controlled columns that the board has."""
    if len(board.settings.references) > 1:
        return []
    files = {"lc_joint": board.calibration, "lc_alpaca_eval": board.lc_alpaca_eval}
    return [column for column in LENGTH_CONTROLLED if files[column] is not None]


def figures(
    board: Board, items: pd.DataFrame, outputs: Mapping[str, Output]
) -> dict[Column, Figure]:
    """The length-controlled figures of one row, of those columns that the board has.

    `items` is that of `row_items`, `outputs` the row's answers by instruction id.
    """
    return {column: figure(board, column, items, outputs) for column in board_columns(board)}


def figure(
    board: Board,
    column: Column,
    items: pd.DataFrame,
    outputs: Mapping[str, Output],
    strength: float | None = None,
) -> Figure:
    """One length-controlled figure of one row; `strength` spares the recipe's cross-validation."""
    preference = by_instruction(board, items)
    judged = ~np.isnan(preference)
    ids = [instruction.id for instruction in board.instructions]
    if not judged.any():
        return Figure(value=None, absent="nothing is judged")
    if unknown := sum(j and i not in outputs for j, i in zip(judged, ids, strict=True)):
        return Figure(value=None, absent=f"the lengths of {unknown} answers are not known")
    try:
        if column == "lc_joint":
            return _lc_joint(board, preference, outputs)
        return _lc_alpaca_eval(board, preference, outputs, strength)
    except ValueError as error:  # lengths that never differ, say
        return Figure(value=None, absent=str(error))


def by_instruction(board: Board, items: pd.DataFrame) -> Floats:
    """The mean preference by the board's instructions, NaN where one is not judged."""
    place = {instruction.id: n for n, instruction in enumerate(board.instructions)}
    at = items["instruction_id"].map(place).to_numpy(int)
    count = np.bincount(at, minlength=len(place))
    total = np.bincount(at, items["preference"].to_numpy(float), minlength=len(place))
    mean = np.full(len(place), np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def mediator_differences(
    board: Board, outputs: Mapping[str, Output], names: Sequence[str]
) -> Floats:
    """The reference's mediators less the answers', shape (instructions, mediators); 0 where there
    is no answer. Raises ValueError where a mediator needs texts that are not stored."""
    if set(names) - {"length"} and any(output.length is not None for output in outputs.values()):
        raise ValueError("the texts of the answers are not stored")
    reference = board.references[board.settings.references[0]]
    differences = np.zeros((len(board.instructions), len(names)))
    for n, instruction in enumerate(board.instructions):
        if (output := outputs.get(instruction.id)) is not None:
            for k, name in enumerate(names):
                measure = MEASURES[name]
                differences[n, k] = measure(reference[instruction.id]) - measure(output)
    return differences


def distinct_share(outputs: Mapping[str, Output]) -> float:
    """The share of different texts among the answers; 1 where texts are not stored.

    Sentences that differ in case, spaces, digits or punctuation only are the same; so little text
    that a number may be all of the answer is taken as it stands.
    """
    if any(output.length is not None for output in outputs.values()):
        return 1.0
    return len({_letters(output.text) for output in outputs.values()}) / len(outputs)


def _letters(text: str) -> str:
    letters = "".join(character for character in text.casefold() if character.isalpha())
    return letters if len(letters) > 40 else text


def _lc_joint(board: Board, preference: Floats, outputs: Mapping[str, Output]) -> Figure:
    from leaderboard.statistics.lc_joint import lc_joint

    assert board.calibration is not None
    calibration = board.calibration.calibration()
    fit = lc_joint(
        preference,
        mediator_differences(board, outputs, calibration.mediators),
        calibration,
        distinct=distinct_share(outputs),
    )
    details = {
        "coefficients": fit.coefficients,
        "is_constant_guarded": fit.is_constant_guarded,
        "gain": fit.gain,
    }
    return _figure(fit, fit.influence, details)


def _lc_alpaca_eval(
    board: Board, preference: Floats, outputs: Mapping[str, Output], strength: float | None
) -> Figure:
    from leaderboard.statistics.length_control import lc_alpaca_eval

    assert board.lc_alpaca_eval is not None
    reference = board.references[board.settings.references[0]]
    ids = [instruction.id for instruction in board.instructions]
    at = np.array([n for n, i in enumerate(ids) if i in outputs])
    difficulty = np.array(list(board.lc_alpaca_eval.difficulty.values()))
    by_position = board.lc_alpaca_eval.alignment == "position"
    fit = lc_alpaca_eval(
        preference[at],
        np.array([outputs[ids[n]].characters for n in at]),
        np.array([reference[ids[n]].characters for n in at]),
        difficulty[: len(at)] if by_position else difficulty[at],
        board.lc_alpaca_eval.gamed_rows(),
        instruction=at,
        strength=strength,
    )
    influence = np.full(len(ids), np.nan)
    influence[at] = fit.influence
    details = {
        "published_standard_error": fit.published_standard_error,
        "coefficients": fit.coefficients._asdict(),
        "strength": fit.strength,
    }
    return _figure(fit, influence, details)


def _figure(
    fit: LcJoint | LengthControlled, influence: Floats, details: Mapping[str, Any]
) -> Figure:
    return Figure(
        value=fit.value,
        standard_error=fit.standard_error,
        low=fit.low,
        high=fit.high,
        level=fit.level,
        n=fit.n,
        influence=influence,
        details=details,
    )
