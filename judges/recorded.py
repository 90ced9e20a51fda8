"""Replays verdicts that were made elsewhere, by people or by machines.

The file has one JSON object a line: `instruction_id`, `generator_1`, `generator_2`, `preference`
(the probability that output 2 is better, or null), and where it is known `order` (`original`: the
first generator's answer was shown first). A pair that was recorded the other way round is turned;
one that was recorded both ways has two verdicts, which is an error. What is not in the file is
missing. Without a `path` the judge stands for verdicts that lie in a board's rows only, as after
an import: it can say who judged, but judge nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from judges.base import Shown, Verdict
from judges.errors import UserError
from judges.records import digest, read_records
from judges.schema import Instruction

_FIELDS = {"instruction_id", "generator_1", "generator_2", "preference", "order"}
_TURNED = {"original": "swapped", "swapped": "original", "none": "none"}
_Key = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Replays the verdicts of a file."""

    VERSION: ClassVar[int] = 1

    name: str = "recorded"
    path: str | None = None
    """The file, seen from the board's folder."""
    folder: Path = field(default=Path(), repr=False)

    @cached_property
    def verdicts(self) -> dict[_Key, float | None]:
        """Preference by instruction, generator 1, generator 2 and order."""
        return _read(self.folder / self.path) if self.path else {}

    @cached_property
    def sees_order(self) -> bool:
        return any(order != "none" for _, _, _, order in self.verdicts)

    def identity(self) -> Mapping[str, Any]:
        held = sorted([*key, preference] for key, preference in self.verdicts.items())
        return {
            "kind": "recorded",
            "version": self.VERSION,
            "name": self.name,
            "verdicts": digest(held) if self.path else None,
        }

    def obstacle(self, instruction: Instruction) -> str | None:
        return None

    def knows(self, generator: str) -> bool:
        """Whether there is any verdict on this generator's answers."""
        return any(generator in (first, second) for _, first, second, _ in self.verdicts)

    def judge(self, shown: Sequence[Shown]) -> Iterator[Verdict]:
        for view in shown:
            comparison = view.comparison
            item, one, two = (
                comparison.instruction.id,
                comparison.generator_1,
                comparison.generator_2,
            )
            preference, found = None, True
            if (item, one, two, view.order) in self.verdicts:
                preference = self.verdicts[item, one, two, view.order]
            elif (item, two, one, _TURNED[view.order]) in self.verdicts:
                preference = self.verdicts[item, two, one, _TURNED[view.order]]
                preference = None if preference is None else 1 - preference
            else:
                found = False
            if preference is None:
                yield Verdict(None, "no verdict recorded" if not found else "recorded as missing")
            else:
                yield Verdict(1 - preference if view.order == "swapped" else preference)


def _read(path: Path) -> dict[_Key, float | None]:
    if not path.is_file():
        raise UserError(f"{path}: the file of recorded verdicts is not there")
    verdicts: dict[_Key, float | None] = {}
    for number, record in read_records(path):
        if unknown := sorted(set(record) - _FIELDS):
            known = ", ".join(sorted(_FIELDS))
            raise UserError(f"{path}, line {number}: unknown field {unknown[0]!r}; known: {known}")
        names = [record.get(name) for name in ("instruction_id", "generator_1", "generator_2")]
        order, preference = record.get("order", "none"), record.get("preference", "nothing")
        if not all(isinstance(name, str) for name in names):
            raise UserError(
                f"{path}, line {number}: instruction_id, generator_1 and generator_2 must be texts"
            )
        if order not in ("original", "swapped", "none"):
            raise UserError(f"{path}, line {number}: order must be original, swapped or none")
        is_number = isinstance(preference, int | float) and not isinstance(preference, bool)
        if preference is not None and not (is_number and 0 <= preference <= 1):
            raise UserError(
                f"{path}, line {number}: preference must lie in 0..1 (1 = output 2 is better) "
                f"or be null, not {preference!r}"
            )
        item, one, two = map(str, names)
        key, turned = (item, one, two, order), (item, two, one, _TURNED[order])
        if key in verdicts or (one != two and turned in verdicts):
            raise UserError(f"{path}, line {number}: a second verdict on {' / '.join(key)}")
        verdicts[key] = None if preference is None else float(preference)
    if not verdicts:
        raise UserError(f"{path}: no verdicts in this file")
    return verdicts
