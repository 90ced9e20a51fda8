"""All rows of a board side by side: what compares rows is derived here and stored with none.

A newcomer changes ranks and ties, never anybody's figures. Ranks are intervals: 1 + the number of
models that are significantly better … N - the number that are significantly worse, by paired tests
over the instructions, Holm-adjusted.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from judges.records import write_atomic
from leaderboard.boards import Board
from leaderboard.ranking import Pairs, paired_differences, rank_intervals, ranks, tie_groups
from leaderboard.results import Row, row_items
from leaderboard.user_files import RESERVED
from leaderboard.winrate import reference_win_rate

COLUMNS = (
    "rank", "rank_low", "rank_high", "tie_group", "model", "status", "win_rate", "standard_error",
    "low", "high", "discrete_win_rate", "n_wins", "n_losses", "n_draws", "n_judged", "n_items",
    "bound_low", "bound_high", "mean_characters", "n_empty", "n_length_stopped", "is_publishable",
    "group", "link",
)  # fmt: skip
"""Columns of leaderboard.csv and of `Standings.frame`; rates and intervals are fractions."""


@dataclass(frozen=True, slots=True)
class Standings:
    """A board's table and what it was derived from."""

    frame: pd.DataFrame
    """COLUMNS; the ranked rows first, best first, then the unranked, whose ranks are NaN."""
    models: tuple[str, ...]
    """The ranked models, in the order of `preferences` and `pairs`."""
    preferences: np.ndarray
    """Mean preference by ranked model and instruction, (models, instructions), NaN: missing."""
    pairs: Pairs
    left_out: dict[str, str]
    """Rows that are in no table, and why."""

    def index(self, model: str) -> int:
        return self.models.index(model)


def board_rows(board: Board) -> list[Row]:
    """Every folder of the board that holds a model's verdicts."""
    return [
        Row(path.parent)
        for path in sorted(board.path.glob("*/summary.json"))
        if path.parent.name not in RESERVED
    ]


def standings(board: Board) -> Standings:
    """The table of a board, from the stored verdicts of its rows. Nothing is judged or written.

    Rows with too many missing verdicts are shown, but not ranked; rows over a part of the
    instructions, or judged on a board of other content, are left out.
    """
    place = {instruction.id: n for n, instruction in enumerate(board.instructions)}
    records: list[dict[str, Any]] = []
    ranked: dict[str, np.ndarray] = {}
    left_out = {}
    if len(board.settings.references) == 1:
        records.append(_reference_record(board))
        ranked[board.settings.references[0]] = np.full(len(place), 0.5)
    for row in board_rows(board):
        summary = row.summary() or {}
        if summary["board"]["hashes"] != dict(board.hashes):
            left_out[row.name] = "judged on a board of this name with other content"
        elif summary["is_partial"]:
            left_out[row.name] = f"partial: {summary['answers']['n']} of {len(place)} instructions"
        else:
            records.append(_record(row, summary))
            if summary["is_publishable"]:
                items = row_items(board, row.annotations(), board.instructions)
                ranked[row.name] = _by_instruction(items, place)
    preferences = np.array(list(ranked.values())).reshape(len(ranked), len(place))
    pairs = paired_differences(preferences)
    frame = pd.DataFrame(records, columns=list(COLUMNS)).set_index("model", drop=False)
    frame.index.name = None
    if ranked:
        names = list(ranked)
        values = frame.loc[names, "win_rate"].to_numpy(float)
        low, high = rank_intervals(pairs)
        frame.loc[names, "rank"] = ranks(values)
        frame.loc[names, "rank_low"], frame.loc[names, "rank_high"] = low, high
        frame.loc[names, "tie_group"] = tie_groups(values, low, high)
    frame = frame.sort_values(["rank", "win_rate", "model"], ascending=[True, False, True])
    frame = frame.reset_index(drop=True)
    return Standings(frame, tuple(ranked), preferences, pairs, left_out)


def _by_instruction(items: pd.DataFrame, place: dict[str, int]) -> np.ndarray:
    """The mean preference over an instruction's references, NaN where none is judged."""
    at = items["instruction_id"].map(place).to_numpy(int)
    value = items["preference"].to_numpy(float)
    held = ~np.isnan(value)
    total = np.bincount(at[held], value[held], minlength=len(place))
    count = np.bincount(at[held], minlength=len(place))
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = total / count
    return mean


def _record(row: Row, summary: dict[str, Any]) -> dict[str, Any]:
    rate, answers, info = summary["win_rate"], summary["answers"], row.info()
    return {
        **rate,
        "model": row.name,
        "status": info.status,
        "win_rate": rate["value"],
        "discrete_win_rate": rate["discrete"],
        **{key: answers[key] for key in ("mean_characters", "n_empty", "n_length_stopped")},
        "is_publishable": summary["is_publishable"],
        "group": info.group,
        "link": info.link,
    }


def _reference_record(board: Board) -> dict[str, Any]:
    name = board.settings.references[0]
    rate = reference_win_rate(len(board.instructions))
    lengths = [output.characters for output in board.references[name].values()]
    return {
        "model": name,
        "status": "reference",
        "win_rate": rate.value,
        "standard_error": rate.standard_error,
        "low": rate.low,
        "high": rate.high,
        "discrete_win_rate": rate.discrete,
        "n_wins": rate.n_wins,
        "n_losses": rate.n_losses,
        "n_draws": rate.n_draws,
        "n_judged": rate.n_judged,
        "n_items": rate.n_items,
        "bound_low": rate.bound_low,
        "bound_high": rate.bound_high,
        "mean_characters": float(np.mean(lengths)),
        "n_empty": sum(length == 0 for length in lengths),
        "n_length_stopped": 0,
        "is_publishable": True,
        "group": "",
        "link": "",
    }


def write_leaderboard(board: Board) -> Standings:
    """Derive leaderboard.csv from the rows that are there now, and return what it shows.

    Two runs that finish at once take turns, so that the file holds both their rows.
    """
    with FileLock(board.path / ".lock"):
        derived = standings(board)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        for record in derived.frame.itertuples(index=False):
            writer.writerow([_csv_cell(cell) for cell in record])
        write_atomic(board.path / "leaderboard.csv", buffer.getvalue())
    return derived


def _csv_cell(cell: object) -> object:
    if isinstance(cell, float) and np.isnan(cell):
        return ""
    return safe_cell(cell) if isinstance(cell, str) else cell


def safe_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
