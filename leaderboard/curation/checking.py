"""Whether what a board shows follows from its files: every stored summary, reckoned anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from judges.errors import UserError
from judges.schema import Output
from leaderboard.boards.board import Board
from leaderboard.comparing.head_to_head import FOLDER, VERSUS, verdicts_digest
from leaderboard.judging.controls import (
    CONTROLS,
    control_outputs,
    control_row,
    judged_controls,
)
from leaderboard.judging.judging import is_on_other_texts
from leaderboard.rows.results import Row
from leaderboard.rows.standings import board_rows
from leaderboard.rows.summary import judged_on, summarise

DERIVED = (
    "is_partial", "is_publishable", "win_rate", "columns", "categories", "judges", "flips", "verdicts",
    "answers", "served", "cost_usd",
)  # fmt: skip
"""What of a summary follows from the row's files and the board."""


def check_board(board: Board) -> dict[str, str]:
    """Row or control → what of it cannot be read, or does not follow from its files."""
    first = board.settings.references[:1]
    faults = {
        f"control {name}": _faults(board, control_row(board, name), summary, outputs, first)
        for name, summary in judged_controls(board).items()
        if (outputs := control_outputs(board, name, CONTROLS[name])) is not None
    }
    for row in board_rows(board):
        try:
            faults[row.name] = _row_faults(board, row)
        except UserError as error:
            faults[row.name] = str(error)
    faults |= {f"head_to_head/{pair}": fault for pair, fault in _meeting_faults(board).items()}
    return {name: fault for name, fault in faults.items() if fault}


def _row_faults(board: Board, row: Row) -> str:
    summary = row.summary()
    if summary is None or not judged_on(board, summary):
        return ""  # it is in no table
    row.info()  # raises where it cannot be read
    outputs = row.outputs() if row.outputs_file.is_file() else {}
    manifest, faults = row.manifest(), _faults(board, row, summary, outputs)
    if outputs and manifest is not None and not manifest.names(outputs):
        faults = "; ".join(filter(None, ["its answers are not those that were stored", faults]))
    return faults


def _faults(
    board: Board,
    row: Row,
    summary: Mapping[str, Any],
    outputs: Mapping[str, Output],
    references: Sequence[str] | None = None,
) -> str:
    """What of the stored summary is not what the verdicts say, and the verdicts on other texts
    than the answers that are stored; empty where there is nothing of the kind."""
    # A part is chosen by its size alone.
    limit = summary["answers"]["n"] if summary["is_partial"] else 0
    instructions = board.first(limit or None)
    derived = summarise(board, row, instructions, outputs, references)
    # A summary that an earlier version wrote lacks what was not counted then.
    keys = [key for key in DERIVED if key not in ("flips", "served") or key in summary]
    wrong = [key for key in keys if not _same(summary.get(key), derived[key])]
    known = [i for i in instructions if i.id in outputs and outputs[i.id].length is None]
    comparisons = board.comparisons(known, outputs, row.name, references)
    digests = {comparison.id: comparison.digest for comparison in comparisons}
    n_other = sum(is_on_other_texts(annotation, digests) for annotation in row.annotations())
    faults = [f"the summary's {', '.join(wrong)} do not follow from the row's files"] * bool(wrong)
    faults += [f"{n_other} verdicts are on other texts than the answers"] * bool(n_other)
    return "; ".join(faults)


def _same(a: Any, b: Any) -> bool:
    """Whether two values of a summary are equal, but for the rounding of another machine."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=0, abs_tol=1e-6)  # a fit ends at its tolerance
    return bool(a == b)


def _meeting_faults(board: Board) -> dict[str, str]:
    """Pairs whose stored verdicts cannot be read, or are not those that were stored."""
    faults = {}
    for path in sorted((board.path / FOLDER).glob(f"*{VERSUS}*/manifest.json")):
        row = Row(path.parent)
        try:
            manifest = row.manifest()
            was = None if manifest is None else manifest.parts.get("verdicts")
            if was not in (None, verdicts_digest(row)):  # None: a run that is not at its end
                faults[row.name] = "its verdicts are not those that were stored; delete the folder"
        except UserError as error:
            faults[row.name] = str(error)
    return faults
