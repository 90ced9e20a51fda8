"""Win rates anchored to people: what humans said of a row's answers, and what follows with the judge.

The labels come from a file of our own, one label a line, or from any file of labelled pairs whose
texts are those of the row. They say how the labelled instructions were drawn: only a random sample
speaks for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from judges.errors import UserError
from judges.schema import Comparison
from leaderboard.boards.board import Board
from leaderboard.rows.columns import by_instruction
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import excluded
from leaderboard.rows.standings import Standings
from leaderboard.rows.summary import row_items
from leaderboard.statistics.ppi import Anchored, RoganGladen, anchored_rate, rogan_gladen
from leaderboard.statistics.uncertainty import Floats
from leaderboard.user_files import read_rows
from leaderboard.validity.human_files import read_humans

LEAST = 30
"""With fewer labelled instructions of its own a row gets no anchored figure."""

REQUIRED = ("model", "instruction_id", "annotator", "preference", "sampled")
OPTIONAL = ("reference", "digest")
CLASSES = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one person said of one answer of a row: 1 better than the reference's, 0 worse, 0.5 tie.

    `digest` binds it to the texts, where it is there.
    """

    where: str
    model: str
    instruction_id: str
    reference: str
    annotator: str
    preference: float
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchoredRow:
    """A row's win rate with and without its judge, and the corrected one of Rogan and Gladen or why
    there is none. Of its `n_labels` so many are `n_unbound`: they do not say which texts they are
    about."""

    model: str
    figures: Anchored
    corrected: RoganGladen | None
    uncorrected: str
    n_labels: int
    n_annotators: int
    n_unbound: int


@dataclass(frozen=True, slots=True)
class AnchoredBoard:
    """The rows with enough labels, and those with some but too few, with the number."""

    rows: Mapping[str, AnchoredRow]
    too_few: Mapping[str, int]


def anchor(board: Board, table: Standings, path: Path, level: float = 0.95) -> AnchoredBoard:
    """The anchored win rates of a board's rows by the labels in a file; nothing is stored.

    An instruction is the unit: what several annotators said of it is averaged, and over the
    references where there are several, all of which must then be labelled. Raises UserError for
    labels that cannot be used (see `read_labels`), and where no row has LEAST labelled instructions.
    """
    rows, too_few = {}, {}
    for model, labels in by_model(read_labels(board, table, path)).items():
        values = labelled(board, labels)
        n = int(np.count_nonzero(~np.isnan(values)))
        if n < LEAST:
            too_few[model] = n
        else:
            rows[model] = _anchored_row(board, model, labels, values, level)
    if not rows:
        found = ", ".join(f"{model}: {n}" for model, n in too_few.items())
        raise UserError(
            f"{path}: labels of at least {LEAST} instructions of a row's own are needed ({found}); "
            "`leaderboard plan BOARD --humans` says what more of them buy"
        )
    return AnchoredBoard(rows, too_few)


def by_model(labels: Iterable[Label]) -> dict[str, list[Label]]:
    """Row → its labels."""
    found: dict[str, list[Label]] = {}
    for label in labels:
        found.setdefault(label.model, []).append(label)
    return found


def labelled(board: Board, labels: Sequence[Label]) -> Floats:
    """The mean label of each instruction of the board, nan where nobody was asked.

    Raises UserError for an instruction that is labelled against some references only.
    """
    said: dict[str, dict[str, list[float]]] = {}
    for label in labels:
        of = said.setdefault(label.instruction_id, {})
        of.setdefault(label.reference, []).append(label.preference)
    references = board.settings.references
    for instruction_id, of in said.items():
        if lacking := [name for name in references if name not in of]:
            raise UserError(
                f"{labels[0].model}: instruction {instruction_id!r} has no label against "
                f"{lacking[0]}; label it against all references of the board"
            )
    means = {i: fmean(fmean(values) for values in of.values()) for i, of in said.items()}
    return np.array([means.get(instruction.id, np.nan) for instruction in board.instructions])


def judged(board: Board, row: Row) -> Floats:
    """The panel's preference for the row on each instruction of the board, nan where missing."""
    items = row_items(board, row.annotations(), board.instructions, without=excluded(board, row))
    return np.asarray(by_instruction(board, items), dtype=np.float64)


def _anchored_row(
    board: Board, model: str, labels: Sequence[Label], values: Floats, level: float
) -> AnchoredRow:
    judge = judged(board, Row(board.path / model))
    corrected, why = None, ""
    if not np.isin(values[~np.isnan(values)], (0, 1)).all():
        why = "its labels are not all wins and losses"
    elif (corrected := rogan_gladen(values, judge, level)) is None:
        why = "the judges' verdicts are too few, or their errors on the labels do not explain them"
    return AnchoredRow(
        model=model,
        figures=anchored_rate(values, judge, level),
        corrected=corrected,
        uncorrected=why,
        n_labels=len(labels),
        n_annotators=len({label.annotator for label in labels}),
        n_unbound=sum(label.digest is None for label in labels),
    )


# ----------------------------------------------------------------------------------------- reading
def read_labels(board: Board, table: Standings, path: Path) -> list[Label]:
    """The labels of the board's rows in a file: lines of our own (docs/files.md), or labelled pairs
    that `read_humans` reads, which are found by the digest of their texts.

    Raises UserError for labelled instructions that were not drawn at random or do not say how, rows
    and instructions that the board lacks, other classes than 0, 0.5 and 1, two labels of one
    annotator on one item, and a digest of other texts.
    """
    models = [name for name in table.frame["model"] if name not in board.settings.references]
    # What an annotation page gives back is JSON as well, but no list of rows.
    rows = [] if path.suffix.lower() == ".json" else read_rows(path)
    if any("model" in record for _, record in rows):
        labels = [_own_label(board, models, where, record) for where, record in rows]
        _check_texts(board, labels)
    else:
        labels = _matched(board, models, path)
    seen: dict[tuple[str, str, str, str], str] = {}
    for label in labels:
        key = (label.model, label.instruction_id, label.reference, label.annotator)
        if key in seen:
            raise UserError(
                f"{label.where}: annotator {label.annotator!r} labelled {label.model} on "
                f"{label.instruction_id!r} before ({seen[key]}); one label each"
            )
        seen[key] = label.where
    return labels


def _own_label(board: Board, models: Sequence[str], where: str, record: Mapping[str, Any]) -> Label:
    record = {key: value for key, value in record.items() if value is not None}
    if unknown := sorted(set(record) - {*REQUIRED, *OPTIONAL}):
        raise UserError(f"{where}: unknown field {unknown[0]!r}; known: {', '.join(REQUIRED)}, …")
    _check_sampled(record.get("sampled"), where)
    if missing := [key for key in REQUIRED if key not in record]:
        raise UserError(f"{where}: the field {missing[0]!r} is missing")
    for key in ("model", "instruction_id", "annotator", *OPTIONAL):
        if key in record and not isinstance(record[key], str):
            raise UserError(f"{where}: {key} {record[key]!r} is no text; write it in quotes")
    if record["model"] not in models:
        known = ", ".join(models) or "no row"
        raise UserError(f"{where}: no row {record['model']!r} on the board; it has {known}")
    if record["instruction_id"] not in board.by_id:
        raise UserError(f"{where}: no instruction {record['instruction_id']!r} on the board")
    references = board.settings.references
    reference = record.get("reference", references[0] if len(references) == 1 else None)
    if reference not in references:
        given = "the field 'reference' is missing" if reference is None else f"no {reference!r}"
        raise UserError(f"{where}: {given}; the board's references: {', '.join(references)}")
    return Label(
        where=where,
        model=record["model"],
        instruction_id=record["instruction_id"],
        reference=reference,
        annotator=record["annotator"],
        preference=_preference(record["preference"], where),
        digest=record.get("digest"),
    )


def _check_sampled(sampled: object, where: str) -> None:
    if sampled != "random":
        said = "is not said" if sampled is None else f"is said to be {sampled!r}"
        raise UserError(
            f"{where}: how the labelled instructions were drawn {said}. Labels speak for the other "
            'instructions only if chance chose them: "sampled": "random", where it is true'
        )


def _preference(value: object, where: str) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        number = None
    if number not in CLASSES or isinstance(value, bool) or number is None:
        raise UserError(
            f"{where}: preference {value!r} is none of 0 (the reference's answer is better), 0.5 "
            "(a tie) and 1 (the model's is)"
        )
    return number


def _check_texts(board: Board, labels: Sequence[Label]) -> None:
    """Raises UserError for a label whose digest is not that of the row's texts."""
    bound = {label.model for label in labels if label.digest is not None}
    held = {
        (model, one.instruction.id, one.generator_1): one.digest
        for model in bound
        for one in _comparisons(board, model)
    }
    for label in labels:
        if label.digest is None:
            continue
        if held.get((label.model, label.instruction_id, label.reference)) != label.digest:
            raise UserError(
                f"{label.where}: this label is of other texts than {label.model} and "
                f"{label.reference} have on {label.instruction_id!r} now; label these anew"
            )


def _comparisons(board: Board, model: str) -> list[Comparison]:
    """The row's comparisons where it has an answer; the model's name goes before their ids, which
    rows otherwise share."""
    outputs = Row(board.path / model).outputs()
    answered = [instruction for instruction in board.instructions if instruction.id in outputs]
    found = board.comparisons(answered, outputs, model)
    return [replace(one, id=f"{model}:{one.id}") for one in found]


def _matched(board: Board, models: Sequence[str], path: Path) -> list[Label]:
    """Labels of pairs whose texts are those of rows, whichever answer stands first."""
    pairs = [one for model in models for one in _comparisons(board, model)]
    humans = read_humans(path, pairs=pairs)
    _check_sampled(humans.sampled, str(path))
    # Rows can hold the same answer, and a row the reference's: a label is of all that it fits.
    places: dict[str, list[tuple[Comparison, bool]]] = {}
    for pair in pairs:
        turned = replace(pair, output_1=pair.output_2, output_2=pair.output_1)
        for text, is_turned in {turned.digest: True, pair.digest: False}.items():
            places.setdefault(text, []).append((pair, is_turned))
    texts = {comparison.id: comparison.digest for comparison in humans.comparisons}
    labels = []
    for label in humans.labels:
        digest, p = texts[label.comparison_id], label.preference
        if digest not in places:
            raise UserError(
                f"{path}: the texts of {label.comparison_id!r} are those of no row of the board; "
                "leave out what is not of its rows, or label their answers as they are now"
            )
        labels += [
            Label(
                where=f"{path}, {label.comparison_id!r}",
                model=pair.generator_2,
                instruction_id=pair.instruction.id,
                reference=pair.generator_1,
                annotator=label.annotator,
                preference=1 - p if is_turned else p,
                digest=digest,
            )
            for pair, is_turned in places[digest]
            if p is not None
        ]
    return labels
