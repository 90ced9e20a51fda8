"""What a board freezes for its length-controlled columns: two files, which its hash covers.

`lc_alpaca_eval.json` holds the difficulties and the verdicts on the reference's own longer and
shorter versions, as AlpacaEval published them. `calibration.json` holds what `board calibrate` has
estimated from the rows that it names. Keys: docs/files.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from judges.errors import UserError
from judges.records import validated
from leaderboard.user_files import read_rows

if TYPE_CHECKING:
    from leaderboard.statistics.lc_joint import Calibration
    from leaderboard.statistics.length_control import GamedRows

LC_ALPACA_EVAL = "lc_alpaca_eval.json"
CALIBRATION = "calibration.json"

MEDIATORS = ("length", "lists", "markdown")
"""What of an answer's form can sway a judge; see `leaderboard.rows.columns`."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamed:
    """One verdict on a longer or shorter version of the reference's answer."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    version: str
    instruction_id: str
    preference: Fraction
    difference: Number
    """The reference's length less the version's, in the file's unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LcAlpacaEvalFile:
    """What the published recipe needs of a board, beside its verdicts."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    difficulty: Mapping[str, Number]
    """Instruction id → difficulty."""
    gamed: Sequence[Gamed]
    unit: Literal["characters", "standard deviations"]
    """Of the differences in length; AlpacaEval's own file has them scaled."""
    alignment: Literal["instruction", "position"] = "instruction"
    """`position` takes the n-th difficulty for a row's n-th verdict, as the published figures do:
    right only for rows without a gap."""
    is_own_reference: bool = True
    """Whether the versions are of the board's reference, as far as lengths tell; AlpacaEval 1's
    published figures take those of version 2."""
    schema_version: Literal[1] = 1

    def gamed_rows(self) -> GamedRows:
        """The verdicts as arrays; only differences of lengths matter, so the model's is 0."""
        from leaderboard.statistics.length_control import GamedRows

        places = {instruction: n for n, instruction in enumerate(self.difficulty)}
        return GamedRows(
            preference=np.array([row.preference for row in self.gamed]),
            len_model=np.zeros(len(self.gamed)),
            len_reference=np.array([row.difference for row in self.gamed]),
            difficulty=np.array([self.difficulty[row.instruction_id] for row in self.gamed]),
            version=np.array([row.version for row in self.gamed]),
            instruction=np.array([places[row.instruction_id] for row in self.gamed]),
        )


def read_lc_alpaca_eval(board: Path, ids: Sequence[str]) -> LcAlpacaEvalFile | None:
    """The board's lc_alpaca_eval.json, or None; raises UserError where it does not fit the board."""
    path = board / LC_ALPACA_EVAL
    if not path.is_file():
        return None
    read = validated(LcAlpacaEvalFile, _json(path), str(path))
    if list(read.difficulty) != list(ids):
        raise UserError(f"{path}: there must be one difficulty an instruction, in their order")
    if unknown := [row.instruction_id for row in read.gamed if row.instruction_id not in set(ids)]:
        raise UserError(f"{path}: a gamed verdict is on {unknown[0]!r}, which is no instruction")
    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredControl:
    """Verdicts on a control's answers, one entry an instruction; null where one is missing."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    role: Literal["neutral", "content", "constant"]
    preference: Sequence[Fraction | None]
    mediators: Sequence[Sequence[Number]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationFile:
    """What `board calibrate` froze; see `leaderboard.statistics.lc_joint.Calibration`."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    models: Mapping[str, str]
    """The rows that it was estimated from → digest of their preferences."""
    mediators: Sequence[str]
    difficulty: Mapping[str, Number]
    """Instruction id → difficulty."""
    scale: Sequence[Number]
    taste: Sequence[Number]
    controls: Sequence[StoredControl]
    constant_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    schema_version: Literal[1] = 1

    def calibration(self) -> Calibration:
        """The same as arrays, by the board's instructions."""
        from leaderboard.statistics.lc_joint import Calibration, ControlRows

        controls = [
            ControlRows(
                name=control.name,
                role=control.role,
                preference=np.array(control.preference, dtype=np.float64),  # null becomes nan
                mediators=np.array(control.mediators, dtype=np.float64),
            )
            for control in self.controls
        ]
        return Calibration(
            mediators=tuple(self.mediators),
            difficulty=np.array(list(self.difficulty.values())),
            scale=np.array(self.scale),
            taste=np.array(self.taste),
            controls=tuple(controls),
            constant_weight=self.constant_weight,
        )


def calibration_file(
    calibration: Calibration, models: Mapping[str, str], ids: Sequence[str]
) -> CalibrationFile:
    """A calibration as it is stored."""
    return CalibrationFile(
        models=models,
        mediators=list(calibration.mediators),
        difficulty=dict(zip(ids, calibration.difficulty.tolist(), strict=True)),
        scale=calibration.scale.tolist(),
        taste=calibration.taste.tolist(),
        controls=[
            StoredControl(
                name=control.name,
                role=control.role,
                preference=[None if np.isnan(p) else p for p in control.preference.tolist()],
                mediators=control.mediators.tolist(),
            )
            for control in calibration.controls
        ],
        constant_weight=calibration.constant_weight,
    )


def read_calibration(board: Path, ids: Sequence[str]) -> CalibrationFile | None:
    """The board's calibration.json, or None; raises UserError where it does not fit the board."""
    path = board / CALIBRATION
    if not path.is_file():
        return None
    anew = f"make it anew with: leaderboard board calibrate {board.name} --overwrite"
    try:
        read = validated(CalibrationFile, _json(path), str(path))
    except UserError as error:
        raise UserError(f"{error}; {anew}") from None
    k = len(read.mediators)
    shapes = [len(read.scale) == k, len(read.taste) == k]
    for control in read.controls:
        shapes.append(len(control.preference) == len(control.mediators) == len(ids))
        shapes.append(all(len(row) == k for row in control.mediators))
    if (
        list(read.difficulty) != list(ids)
        or not all(shapes)
        or set(read.mediators) - set(MEDIATORS)
    ):
        raise UserError(f"{path}: it does not fit the board's instructions; {anew}")
    return read


def import_lc_alpaca_eval(
    difficulty: Path,
    gamed: Path,
    reference: Mapping[str, int],
    alignment: Literal["instruction", "position"],
) -> LcAlpacaEvalFile:
    """The two files that AlpacaEval publishes, as one of ours.

    `difficulty` has the columns `instruction_index` (or `index`, or none: the first one) and
    `instruction_difficulty`. `gamed` has `model`, `instruction_index` or `index`, `preference` in
    1..2, and `len_model` and `len_reference`, or `std_delta_len`. `reference` holds the characters
    of the reference's answers by instruction, in their order. Raises UserError with file and line.
    """
    ids = list(reference)
    hard: dict[str, float] = {}
    for where, row in read_rows(difficulty):
        instruction = _id(row, ids, where)
        if instruction in hard:
            raise UserError(f"{where}: a second difficulty of instruction {instruction}")
        hard[instruction] = _number(row, "instruction_difficulty", where)
    if missing := [name for name in ids if name not in hard]:
        raise UserError(
            f"{difficulty}: {len(missing)} of {len(ids)} instructions have no difficulty "
            f"(the first is {missing[0]})"
        )
    rows, in_characters, n_other = [], True, 0
    for where, row in read_rows(gamed):
        in_characters = "len_model" in row
        if in_characters:
            length = _number(row, "len_reference", where)
            longer = length - _number(row, "len_model", where)
            n_other += abs(length - reference[_id(row, ids, where)]) > 0.1 * length + 2
        else:
            longer = _number(row, "std_delta_len", where)
        preference = _number(row, "preference", where) - 1
        if not 0 <= preference <= 1:
            raise UserError(f"{where}: 'preference' must be in 1..2, not {row['preference']!r}")
        version = str(row.get("model") or "")
        rows.append(
            Gamed(
                version=version,
                instruction_id=_id(row, ids, where),
                preference=preference,
                difference=longer,
            )
        )
    return LcAlpacaEvalFile(
        difficulty={name: hard[name] for name in ids},
        gamed=rows,
        unit="characters" if in_characters else "standard deviations",
        alignment=alignment,
        is_own_reference=n_other <= len(rows) / 2,
    )


def _id(row: Mapping[str, Any], ids: Sequence[str], where: str) -> str:
    name = next((n for n in ("instruction_index", "index") if n in row), next(iter(row)))
    index = _number(row, name, where)
    if not (index.is_integer() and 0 <= index < len(ids)):
        raise UserError(
            f"{where}: {name!r} must be a whole number below {len(ids)}, not {row[name]!r}"
        )
    return ids[int(index)]


def _number(row: Mapping[str, Any], name: str, where: str) -> float:
    try:
        number = float(row[name])
    except KeyError:
        raise UserError(f"{where}: no column {name!r}; there are {', '.join(row)}") from None
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise UserError(f"{where}: {name!r} must be a number, not {row[name]!r}")
    return number


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
