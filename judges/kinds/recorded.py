"""Replays verdicts that were made elsewhere, by people or by machines.

The file has one JSON object a line: `instruction_id`, `generator_1`, `generator_2`, `preference`
(the probability that output 2 is better, or null), and where it is known `order` (`original`: the
first generator's answer was shown first) and `digest` (of the texts that were judged, as in a
board's annotations: the comparison of output 1 and output 2 as this line names them). A pair that
was recorded the other way round is turned; one that was recorded both ways has two verdicts, which
is an error. In an order without a verdict the one that names no order holds. What is not in the
file, or was recorded on other texts, is missing. Without a `path` the judge stands for verdicts that lie in a board's rows only, as after
an import: it can say who judged, but judge nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.records import digest, read_records
from judges.schema import Comparison, Instruction, Order

_FIELDS = {"instruction_id", "generator_1", "generator_2", "preference", "order", "digest"}
_TURNED = {"original": "swapped", "swapped": "original", "none": "none"}
_Key = tuple[str, str, str, str]


class _Line(NamedTuple):
    preference: float | None
    digest: str | None


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Replays the verdicts of a file."""

    VERSION: ClassVar[int] = 1
    reads_instruction: ClassVar[bool] = False

    name: str = "recorded"
    path: str | None = None
    """The file, seen from the board's folder."""
    folder: Path = field(default=Path(), repr=False)

    @cached_property
    def verdicts(self) -> dict[_Key, _Line]:
        """What is recorded, by instruction, generator 1, generator 2 and order."""
        return _read(self.folder / self.path) if self.path else {}

    @cached_property
    def sees_order(self) -> bool:
        return any(order != "none" for _, _, _, order in self.verdicts)

    @property
    def has_both_orders(self) -> bool:
        """Whether there is a pair with a verdict in either order."""
        return any(
            (item, one, two, _TURNED[order]) in self.verdicts
            or (item, two, one, order) in self.verdicts
            for item, one, two, order in self.verdicts
            if order != "none" and one != two
        )

    def identity(self) -> Mapping[str, Any]:
        held = sorted(
            [*key, line.preference, *([] if line.digest is None else [line.digest])]
            for key, line in self.verdicts.items()
        )
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

    def judge(self, shown: Sequence[Shown], caller: Caller, task: Task) -> Iterator[Verdict]:
        for view in shown:
            preference, error = self._find(view.comparison, view.order)
            if preference is not None and view.order == "swapped":
                preference = 1 - preference
            yield Verdict(preference, error)

    def _find(self, pair: Comparison, order: Order) -> tuple[float | None, str | None]:
        """The preference for output 2, or None and the reason why there is none."""
        item, one, two = pair.instruction.id, pair.generator_1, pair.generator_2
        turned = replace(pair, output_1=pair.output_2, output_2=pair.output_1)
        for wanted in (order, "none"):
            if line := self.verdicts.get((item, one, two, wanted)):
                preference, digest = line.preference, pair.digest
            elif line := self.verdicts.get((item, two, one, _TURNED[wanted])):
                preference = None if line.preference is None else 1 - line.preference
                digest = turned.digest
            else:
                continue
            if line.digest not in (None, digest):
                return None, "recorded on other texts"
            return preference, "recorded as missing" if preference is None else None
        return None, "no verdict recorded"


def _read(path: Path) -> dict[_Key, _Line]:
    if not path.is_file():
        raise UserError(f"{path}: the file of recorded verdicts is not there")
    verdicts: dict[_Key, _Line] = {}
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
        texts = record.get("digest")
        if not isinstance(texts, str | None):
            raise UserError(f"{path}, line {number}: digest must be a text, not {texts!r}")
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
        verdicts[key] = _Line(None if preference is None else float(preference), texts)
    if not verdicts:
        raise UserError(f"{path}: no verdicts in this file")
    return verdicts
