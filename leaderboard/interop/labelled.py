"""One row of a file of human labels in our terms, and how its cells are read.

What `leaderboard.interop.human_labels` makes of other projects' files, and
`leaderboard.validity.human_files` of ours. Every complaint names the line and the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from judges.errors import UserError
from judges.schema import Message, Order
from leaderboard.answers.answers import with_input

UNNAMED = ("output_1", "output_2")
"""What generators are called where the file does not say."""

Row = Mapping[str, Any]
Classes = Mapping[object, float]
"""A file's own label → preference for output 2."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?|nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge had said of a pair before; None where its reply could not be read."""

    judge: str
    order: Order
    preference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPair:
    """One row of a file: a pair, who labelled it how, and which verdicts came with it."""

    where: str
    id: str | int | None = None
    instruction_id: str | None = None
    messages: tuple[Message, ...]
    outputs: tuple[str, str]
    generators: tuple[str, str] = UNNAMED
    category: str = ""
    checks: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str | int | None, float] = field(default_factory=dict)
    """Annotator → preference; None: the row names no annotator."""
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of file: how its columns tell it from others, and how a row of it is read."""

    name: str
    needs: tuple[tuple[str, ...], ...]
    """Columns that must be there, each with the other names that it goes by."""
    read: Callable[[Row, str], LabelledPair | None]
    """None: a label that is not about two answers to one conversation."""
    without: tuple[str, ...] = ()
    """Columns that files of another kind have, and these do not."""
    note: str = ""
    """What the reader of a report has to know of such data."""

    def fits(self, columns: set[str]) -> bool:
        return not columns.intersection(self.without) and all(
            columns.intersection(names) for names in self.needs
        )

    @property
    def columns(self) -> str:
        return ", ".join(" or ".join(names) for names in self.needs)


# -------------------------------------------------------------------------------- cells of any row
def text(row: Row, where: str, *names: str) -> str:
    """The text in the first of these columns that the row has."""
    name = next((name for name in names if name in row), names[0])
    value = row.get(name)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name} must be a text, not {value!r}")
    return value


def question(row: Row, where: str, name: str) -> tuple[Message, ...]:
    """A prompt of one turn, with Alpaca's `input` below an instruction."""
    asked = text(row, where, name)
    if name == "instruction" and isinstance(row.get("input"), str):
        asked = with_input(asked, row)
    if not asked.strip():
        raise UserError(f"{where}: {name} is empty")
    return (Message("user", asked),)


def name_of(row: Row, where: str, *names: str) -> str | int | None:
    """An annotator or an id in the first of these columns that is there: a text or a whole number,
    None where there is none or it is empty."""
    name = next((name for name in names if name in row), None)
    value = None if name is None else row[name]
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{where}: {name} must be a text or a whole number, not {value!r}")
    return value


def label(row: Row, where: str, name: str, classes: Classes) -> float:
    """A label as the preference for output 2; numbers may stand as text, as they do in CSV."""
    value: Any = row.get(name)
    if value is None or value == "":
        raise UserError(f"{where}: {name} is empty: leave out what has no label")
    if isinstance(value, str):
        value = value.strip().lower()
        value = float(value) if _NUMBER.fullmatch(value) else value
    if isinstance(value, float) and math.isnan(value):
        raise UserError(f"{where}: {name} is NaN: leave out what has no label")
    if isinstance(value, bool | list | dict) or value not in classes:
        known = ", ".join(str(one) for one in classes)
        raise UserError(f"{where}: {name} is {row[name]!r}; known: {known}")
    return classes[value]


def both(row: Row, where: str, first: str, second: str) -> tuple[str, str]:
    """The two answers; a name ending in _1 or _2 may be written without its underscore."""
    one, two = (
        text(row, where, name, name.replace("_", ""), name.replace("_", " "))
        for name in (first, second)
    )
    return one, two
