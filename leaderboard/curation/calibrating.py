"""Freezes what `lc_joint` needs of a board: difficulties and the judges' taste, from rows named.

The rows that are there, and the controls, are judged already: nothing is asked. What was estimated
lies in calibration.json from then on, is part of the board's hash, and no new row moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import tomli_w
from filelock import FileLock

from judges.errors import UserError
from judges.records import digest, read_toml, write_atomic
from leaderboard.boards.board import Board, columns_hash, load_board, refuse_changes
from leaderboard.boards.calibration import CALIBRATION, MEDIATORS, CalibrationFile, calibration_file
from leaderboard.boards.settings import Column
from leaderboard.judging.controls import CONTROLS, control_outputs, control_row, run_controls
from leaderboard.rows.columns import by_instruction, column_absent, mediator_differences
from leaderboard.rows.results import Row, write_json
from leaderboard.rows.standings import Standings, board_rows, standings, write_leaderboard
from leaderboard.rows.summary import judged_on, row_items, summarise
from leaderboard.statistics.lc_calibration import MIN_MODELS, calibrate
from leaderboard.statistics.lc_joint import ControlRows
from leaderboard.statistics.uncertainty import Floats
from leaderboard.watch import SILENT, Watch

_UNITS = {"length": "characters", "lists": "list items", "markdown": "marks of Markdown"}
CONTROL_ROLES: dict[str, Literal["neutral", "content", "constant"]] = {
    "padded": "neutral",
    "truncated": "content",
    "null": "constant",
}
"""A paragraph of courtesies adds length alone; what a cut takes away is content; and one phrase for
everything must not gain."""


def calibrate_board(
    name: str,
    results: Path,
    *,
    models: Sequence[str] = (),
    headline: Column | None = None,
    overwrite: bool = False,
    watch: Watch = SILENT,
) -> Board:
    """Calibrate a board from its rows, all the ranked ones unless some are named, and return it.

    `headline` becomes the column that it ranks by. Every row's summary is reckoned anew; win rates
    stay as they are. A board that is calibrated already stays so, unless `overwrite`: what another
    run left undone is done. Raises UserError for fewer than 8 rows, rows whose lengths are not
    known, a board with several references, and other rows than it is calibrated from.
    """
    # A calibration that is to be made anew may be one that cannot be read.
    board = load_board(name, results, verify=False, calibrated=not overwrite)
    file = board.path / "board.toml"
    said = read_toml(file).get("hashes")
    refuse_changes(board, said, but=["columns"])  # an interrupted calibration is made good
    if headline == "lc_alpaca_eval" and (why := column_absent(board, headline)):
        raise UserError(f"the board cannot rank by {headline}: {why}")
    frozen = board.calibration
    if frozen is None:
        frozen = _estimate(board, standings(board), models, watch)
    elif models and set(models) != set(frozen.models):
        raise UserError(
            f"board {name} is calibrated already, from {len(frozen.models)} rows; to do so from "
            "others moves every lc_joint on it, and takes --overwrite"
        )
    with FileLock(board.path / ".lock"):
        table = read_toml(file)
        if table.get("hashes") != said:
            raise UserError(f"another run has just calibrated board {name}; look at it first")
        table["headline"] = headline or table["headline"]
        table["hashes"]["columns"] = columns_hash(table["headline"], board.lc_alpaca_eval, frozen)
        write_json(board.path / CALIBRATION, asdict(frozen))
        write_atomic(file, tomli_w.dumps(table))
    board = load_board(name, results)
    reckon_anew(board, watch)
    run_controls(board, watch)
    write_leaderboard(board)
    return board


def describe_calibration(board: Board) -> str:
    """What a calibration found of the judges' taste, in plain words."""
    frozen = board.calibration
    assert frozen is not None
    lines = [
        f"{board.path}: lc_joint is calibrated from {len(frozen.models)} rows "
        f"and the verdicts on {', '.join(c.name for c in frozen.controls) or 'no controls'}"
    ]
    for name, taste, scale in zip(frozen.mediators, frozen.taste, frozen.scale, strict=True):
        unit = {"length": "characters", "lists": "list items", "markdown": "marks of Markdown"}[
            name
        ]
        # With equal answers otherwise; a coefficient is of the reference less the model.
        wins = 100 / (1 + np.exp(taste * np.tanh(1)))
        if scale == 0:
            lines.append(f"  {name}: the rows do not differ from the reference in it")
            continue
        lines.append(
            f"  {name}: of two answers that are as good, the one that is ahead by {scale:.1f} "
            f"{unit} wins {wins:.1f} %"
        )
    return "\n".join(lines)


def reckon_anew(board: Board, watch: Watch) -> None:
    """Write every row's summary anew, from the verdicts and answers that are stored.

    A row that cannot be read, or that another run is at work on, is left as it is, and said so:
    tables show its figures all the same, and the next calibration or `eval` writes them.
    """
    for row in board_rows(board):
        try:
            with row.locked():
                summary = row.summary()
                if summary is not None and judged_on(board, summary):
                    limit = summary["answers"]["n"] if summary["is_partial"] else None
                    outputs = row.outputs() if row.outputs_file.is_file() else {}
                    row.write_summary(summarise(board, row, board.first(limit), outputs))
        except UserError as error:
            watch.note(f"{row.name} is left as it is: {error}")


def _estimate(
    board: Board, table: Standings, models: Sequence[str], watch: Watch
) -> CalibrationFile:
    if len(board.settings.references) > 1:
        raise UserError(f"lc_joint is there {column_absent(board, 'lc_joint')}")
    known = [model for model in table.models if model not in board.settings.references]
    if unknown := [model for model in models if model not in known]:
        raise UserError(
            f"no ranked row {unknown[0]!r}; the board has: {', '.join(known) or 'none'}"
        )
    chosen = list(dict.fromkeys(models)) or known
    if len(chosen) < MIN_MODELS:
        raise UserError(
            f"a calibration of board {board.name} needs {MIN_MODELS} ranked rows at least, beside "
            f"the reference; there are {len(chosen)}"
        )
    preferences = np.stack([table.preferences[table.index(model)] for model in chosen])
    outputs = [Row(board.path / model).outputs() for model in chosen]
    for model, preference, answers in zip(chosen, preferences, outputs, strict=True):
        ids = [instruction.id for instruction in board.instructions]
        if any(i not in answers for i, p in zip(ids, preference, strict=True) if not np.isnan(p)):
            raise UserError(f"row {model!r}: the lengths of its answers are not known")
    has_texts = board.lc_alpaca_eval is None and all(
        output.length is None for answers in outputs for output in answers.values()
    )
    mediators = MEDIATORS if has_texts else MEDIATORS[:1]
    differences = np.stack([mediator_differences(board, one, mediators) for one in outputs])
    controls = _controls(board, mediators, watch)
    calibration = calibrate(preferences, differences, mediators, controls)
    digests = {model: _digest(table, model) for model in chosen}
    return calibration_file(calibration, digests, [i.id for i in board.instructions])


def changed_since_calibration(board: Board, table: Standings) -> list[str]:
    """The rows that the calibration is from and whose verdicts are others now, or gone."""
    frozen = {} if board.calibration is None else board.calibration.models
    return [
        model
        for model, was in frozen.items()
        if model not in table.models or _digest(table, model) != was
    ]


def _digest(table: Standings, model: str) -> str:
    preference = table.preferences[table.index(model)].tolist()
    return digest([None if np.isnan(p) else p for p in preference])


def _controls(board: Board, mediators: Sequence[str], watch: Watch) -> list[ControlRows]:
    """The verdicts that keep a row from gaming the length: AlpacaEval's gamed references where the
    board has them, else its own padded and truncated controls, judged now if they are not yet."""
    n = len(board.instructions)
    if (published := board.lc_alpaca_eval) is not None:
        place = {instruction.id: k for k, instruction in enumerate(board.instructions)}
        controls: dict[str, tuple[Floats, Floats]] = {}
        for verdict in published.gamed:
            preference, difference = controls.setdefault(
                verdict.version, (np.full(n, np.nan), np.zeros((n, 1)))
            )
            preference[place[verdict.instruction_id]] = verdict.preference
            difference[place[verdict.instruction_id]] = verdict.difference
        return [
            ControlRows(name=name, role="neutral", preference=preference, mediators=difference)
            for name, (preference, difference) in controls.items()
            if published.unit == "characters" and published.is_own_reference
        ]
    run_controls(board, watch)
    rows = []
    for name, role in CONTROL_ROLES.items() if not board.is_recorded else ():
        outputs = control_outputs(board, name, CONTROLS[name])
        assert outputs is not None  # they need no gold answer
        verdicts = control_row(board, name).annotations()
        items = row_items(board, verdicts, board.instructions, board.settings.references[:1])
        rows.append(
            ControlRows(
                name=name,
                role=role,
                preference=by_instruction(board, items),
                mediators=mediator_differences(board, outputs, mediators),
            )
        )
    return rows
