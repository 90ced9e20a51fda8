"""Rows of labels put together: pairs, labels and verdicts, each once.

Rows about the same two answers are one pair, also where one of them has the answers the other way
round; a label or verdict is then turned with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from judges.errors import UserError
from judges.schema import Annotation, Comparison, Instruction, Order
from leaderboard.boards.evalset import check_instruction
from leaderboard.interop.labelled import UNNAMED, LabelledPair
from leaderboard.user_files import quoted

UNNAMED_ANNOTATOR = "human"
UNPARSED = "unparsed"
"""Why a recorded verdict is missing."""
_TURNED: Mapping[Order, Order] = {"original": "swapped", "swapped": "original", "none": "none"}
_IN_WORDS = {"missing": "missing", "int": "a number", "str": "a text"}


def check_types(rows: Sequence[LabelledPair]) -> None:
    """Raises UserError where ids or annotators are numbers here and texts there: 1 and "1"."""
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        named = [("id", row.id), *(("annotator", name) for name in row.labels)]
        for what, value in named:
            kind = "missing" if value is None else type(value).__name__
            first.setdefault((what, kind), row.where)
            other = next((k for k in _IN_WORDS if k != kind and (what, k) in first), None)
            if other is not None:
                named_so = "" if value is None else f" {quoted(value)}"
                raise UserError(
                    f"{row.where}: {what}{named_so} is {_IN_WORDS[kind]}, and {_IN_WORDS[other]} "
                    f"in {first[what, other]}: write all in one way"
                )


@dataclass(slots=True)
class Gathered:
    """Pairs, labels and verdicts as they come, each once."""

    comparisons: dict[str, Comparison] = field(default_factory=dict)
    labels: dict[tuple[str, str], Annotation] = field(default_factory=dict)
    recorded: dict[tuple[str, str, Order], Annotation] = field(default_factory=dict)
    _by_text: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _first: dict[str, str] = field(default_factory=dict)
    """Id → where it stood first."""

    def add(self, row: LabelledPair) -> None:
        pair, is_turned = self._place(row)
        for annotator, preference in row.labels.items():
            name = UNNAMED_ANNOTATOR if annotator is None else str(annotator).strip()
            if not name or not name.isprintable():
                raise UserError(f"{row.where}: annotator {quoted(annotator)} must be printable")
            if (pair.id, name) in self.labels:
                raise UserError(
                    f"{row.where}: annotator {quoted(name)} has labelled {quoted(pair.id)} before"
                )
            label = 1 - preference if is_turned else preference
            self.labels[pair.id, name] = _annotation(pair, name, "none", label)
        for verdict in row.verdicts:
            judge, order, said = verdict.judge, verdict.order, verdict.preference
            if is_turned:
                order, said = _TURNED[order], None if said is None else 1 - said
            if (pair.id, judge, order) in self.recorded:
                raise UserError(
                    f"{row.where}: a second verdict of {quoted(judge)} on {quoted(pair.id)}"
                )
            self.recorded[pair.id, judge, order] = _annotation(pair, judge, order, said)

    def _place(self, row: LabelledPair) -> tuple[Comparison, bool]:
        """The row's pair, and whether the row has its answers the other way round."""
        pair, names = _comparison(row, ""), row.generators
        other_way = replace(
            row,
            outputs=(row.outputs[1], row.outputs[0]),
            generators=names if names == UNNAMED else (names[1], names[0]),
        )
        turned = _comparison(other_way, "")
        keys = [(one.digest, one.generator_1, one.generator_2) for one in (pair, turned)]
        if row.id is None:
            name = next((self._by_text[key] for key in keys if key in self._by_text), "")
            # Two models can give one answer: such pairs differ in nothing but the models' names.
            is_new = pair.digest not in self.comparisons
            name = name or (pair.digest if is_new else f"{pair.digest}:{names[0]}:{names[1]}")
        else:
            name = str(row.id)
        known = self.comparisons.get(name)
        if known is None:
            known = _comparison(row, name)
            check_instruction(known.instruction, row.where)
            self.comparisons[name], self._first[name] = known, row.where
            self._by_text.setdefault(keys[0], name)
            return known, False
        key = (known.digest, known.generator_1, known.generator_2)
        if key not in keys:
            raise UserError(
                f"{row.where}: id {quoted(name)} stands for other texts or generators in "
                f"{self._first[name]}"
            )
        return known, key != keys[0]


def _comparison(row: LabelledPair, name: str) -> Comparison:
    return Comparison(
        id=name,
        instruction=Instruction(
            id=row.instruction_id or name,
            messages=row.messages,
            category=row.category,
            checks=row.checks,
        ),
        output_1=row.outputs[0],
        output_2=row.outputs[1],
        generator_1=row.generators[0],
        generator_2=row.generators[1],
    )


def _annotation(
    pair: Comparison, annotator: str, order: Order, preference: float | None
) -> Annotation:
    return Annotation(
        comparison_id=pair.id,
        annotator=annotator,
        order=order,
        preference=preference,
        error=UNPARSED if preference is None else None,
        digest=pair.digest,
    )
