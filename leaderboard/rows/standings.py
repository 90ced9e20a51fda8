"""All rows of a board side by side: what compares rows is derived here and stored with none.

A newcomer changes ranks and ties, never anybody's figures. Ranks are by the board's headline, and
intervals: 1 + the number of models that are significantly better … N - the number that are
significantly worse, by paired tests over the instructions, Holm-adjusted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from judges.errors import UserError
from judges.records import write_atomic
from leaderboard.boards.board import Board
from leaderboard.rows.columns import board_columns, by_instruction, figure, figures
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import excluded, self_judges
from leaderboard.rows.summary import RATE_COLUMNS, is_publishable, judged_on, row_items
from leaderboard.statistics.ranking import (
    Pairs,
    paired_differences,
    paired_estimates,
    rank_intervals,
    ranks,
    tie_groups,
)
from leaderboard.statistics.winrate import WinRate, reference_win_rate, win_rate
from leaderboard.user_files import RESERVED

COLUMNS = (
    "rank", "rank_low", "rank_high", "tie_group", "model", "status", "win_rate", "standard_error",
    "low", "high", "lc_joint", "lc_joint_low", "lc_joint_high", "lc_alpaca_eval",
    "lc_alpaca_eval_low", "lc_alpaca_eval_high", "discrete_win_rate", "n_wins", "n_losses",
    "n_draws", "n_judged", "n_items", "bound_low", "bound_high", "mean_characters", "n_empty",
    "n_length_stopped", "is_publishable", "self_judging", "group", "link",
)  # fmt: skip
"""Columns of leaderboard.csv and of `Standings.frame`; rates and intervals are fractions."""


@dataclass(frozen=True, slots=True)
class Standings:
    """A board's table and what it was derived from."""

    frame: pd.DataFrame
    """COLUMNS; the ranked rows first, best first, then the unranked, whose ranks are missing."""
    models: tuple[str, ...]
    """The ranked models, in the order of `preferences` and `pairs`."""
    preferences: np.ndarray
    """Mean preference by ranked model and instruction, (models, instructions), NaN: missing."""
    pairs: Pairs
    """Of the win rates, whatever the board ranks by."""
    ranking_pairs: Pairs
    """Of the headline, on which the ranks rest: `pairs` itself where that is the win rate."""
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
    instructions, judged on a board of other content, or that cannot be read, are left out.
    """
    place = {instruction.id: n for n, instruction in enumerate(board.instructions)}
    headline = board.settings.headline
    records: list[dict[str, Any]] = []
    ranked: dict[str, np.ndarray] = {}
    influences: dict[str, np.ndarray] = {}
    left_out = {
        path.parent.name: "answers only; judge them with --only judge"
        for path in sorted(board.path.glob("*/outputs.jsonl"))
        if not (path.parent / "summary.json").is_file()
    }
    if len(board.settings.references) == 1:
        records.append(_reference_record(board))
        ranked[board.settings.references[0]] = np.full(len(place), 0.5)
        influences[board.settings.references[0]] = np.zeros(len(place))
    for row in board_rows(board):
        try:
            summary = row.summary()
            if summary is None:  # another run has just begun to make it anew
                continue
            if not judged_on(board, summary):
                left_out[row.name] = "judged on a board of this name with other content"
            elif summary["is_partial"]:
                n = summary["answers"]["n"]
                left_out[row.name] = f"partial: {n} of {len(place)} instructions"
            else:
                # The rate is that of the verdicts as they are now, whatever the summary says.
                items = row_items(
                    board, row.annotations(), board.instructions, without=excluded(board, row)
                )
                rate = win_rate(items[RATE_COLUMNS])
                if summary["board"]["hashes"] != dict(board.hashes):  # calibrated since
                    found = figures(board, items, row.outputs())
                    summary["columns"] = {name: of.json() for name, of in found.items()}
                records.append(_record(board, row, rate, summary))
                if not is_publishable(rate):
                    continue
                if headline != "win_rate":
                    # The tests need what a summary does not hold.
                    strength = summary["columns"].get(headline, {}).get("strength")
                    ranks_by = figure(board, headline, items, row.outputs(), strength)
                    if ranks_by.value is None or ranks_by.influence is None:
                        continue
                    records[-1] |= _figure_cells(headline, ranks_by.json())
                    influences[row.name] = ranks_by.influence
                ranked[row.name] = by_instruction(board, items)
        except UserError as error:
            left_out[row.name] = str(error)
    preferences = np.array(list(ranked.values())).reshape(len(ranked), len(place))
    pairs = paired_differences(preferences)
    deciding = pairs
    frame = pd.DataFrame(records, columns=list(COLUMNS)).set_index("model", drop=False)
    frame.index.name = None
    if ranked:
        names = list(ranked)
        values = frame.loc[names, headline].to_numpy(float)
        if headline != "win_rate":
            deciding = paired_estimates(values, np.array([influences[name] for name in names]))
        low, high = rank_intervals(deciding)
        # The tests are on common instructions, the value on a row's own: where verdicts are missing,
        # the rank by value can lie outside what the tests leave open.
        rank = ranks(values)
        low, high = np.minimum(low, rank), np.maximum(high, rank)
        frame.loc[names, "rank"] = rank
        frame.loc[names, "rank_low"], frame.loc[names, "rank_high"] = low, high
        frame.loc[names, "tie_group"] = tie_groups(values, low, high)
    frame = frame.sort_values(["rank", headline, "model"], ascending=[True, False, True])
    frame = frame.reset_index(drop=True)
    whole = ["rank", "rank_low", "rank_high", "tie_group"]
    frame[whole] = frame[whole].astype("Int64")  # whole numbers, though some are missing
    return Standings(frame, tuple(ranked), preferences, pairs, deciding, left_out)


def _record(board: Board, row: Row, rate: WinRate, summary: dict[str, Any]) -> dict[str, Any]:
    info, answers, cells = row.info(), summary["answers"], _rate_cells(rate)
    for column, found in summary["columns"].items():
        cells |= _figure_cells(column, found)
    return {
        **cells,
        "model": row.name,
        "status": info.status,
        **{key: answers[key] for key in ("mean_characters", "n_empty", "n_length_stopped")},
        "is_publishable": is_publishable(rate),
        "self_judging": "; ".join(self_judges(board, row)),
        "group": info.group,
        "link": info.link,
    }


def _reference_record(board: Board) -> dict[str, Any]:
    name = board.settings.references[0]
    lengths = [output.characters for output in board.references[name].values()]
    cells = _rate_cells(reference_win_rate(len(board.instructions)))
    for column in board_columns(board):  # by definition, as its win rate
        cells |= _figure_cells(column, {"value": 0.5, "low": 0.5, "high": 0.5})
    return {
        **cells,
        "model": name,
        "status": "reference",
        "mean_characters": float(np.mean(lengths)),
        "n_empty": sum(length == 0 for length in lengths),
        "n_length_stopped": 0,
        "is_publishable": True,
        "self_judging": "",
        "group": "",
        "link": "",
    }


def _rate_cells(rate: WinRate) -> dict[str, Any]:
    return {**asdict(rate), "win_rate": rate.value, "discrete_win_rate": rate.discrete}


def _figure_cells(column: str, found: Mapping[str, Any]) -> dict[str, Any]:
    if found["value"] is None:
        return {}
    return {
        column: found["value"],
        f"{column}_low": found["low"],
        f"{column}_high": found["high"],
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


def _csv_cell(cell: Any) -> object:
    if isinstance(cell, str):
        return safe_cell(cell)
    return "" if pd.isna(cell) else cell


def safe_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
