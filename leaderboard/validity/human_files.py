"""Human labels from files: which kind a file is, and its rows put together as `Humans`.

Foreign kinds are read in `leaderboard.interop.human_labels`; our own, the labels without texts and
what the annotation page gives back are read here. Rows about the same two answers are one pair,
also where one of them names the answers the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from judges.errors import UserError
from judges.records import validated
from judges.schema import Comparison, Message
from leaderboard.answers.answers import with_input
from leaderboard.curation.create import PROMPT_COLUMNS, turns_of
from leaderboard.interop.human_labels import ARENA_LEFT_OUT, KINDS, LLMBAR, llmbar_verdicts
from leaderboard.interop.labelled import (
    UNNAMED,
    Kind,
    LabelledPair,
    Row,
    Verdict,
    both,
    label,
    name_of,
)
from leaderboard.user_files import quoted, read_rows
from leaderboard.validity.gather import Gathered, check_types
from leaderboard.validity.humans import Humans

LABELS = {"output_1": 0.0, "output_2": 1.0, "tie": 0.5, 1: 0.0, 2: 1.0}
"""What `label` says in our own files → preference for output 2. A 0 is refused: it is a tie to
some and the first answer to others."""
_PACKAGED = "packaged_pairs.jsonl"


def read_humans(
    *sources: str | Path, pairs: str | Path | Sequence[Comparison] | None = None
) -> Humans:
    """The labelled pairs of a file, or of several that are about the same pairs.

    The kind is told by the columns. `pairs` says what labels without texts are about: those of the
    annotation page by the texts' digest (without `pairs`, the packaged pairs), others by `id`.
    Raises UserError that names line and field for what cannot be read, labels for unknown items,
    two labels of one annotator on an item, and ids that are texts here and numbers there.
    """
    if not sources:
        raise UserError("no file of human labels was given")
    found = [_read(Path(source), pairs) for source in sources]
    sampled = {one.sampled for one in found}
    gathered = Gathered()
    for one in found:
        check_types(one.rows)
        for row in one.rows:
            gathered.add(row)
    return Humans(
        source=" + ".join(Path(source).name for source in sources),
        comparisons=tuple(gathered.comparisons.values()),
        labels=tuple(gathered.labels.values()),
        recorded=tuple(gathered.recorded.values()),
        sampled=sampled.pop() if len(sampled) == 1 else None,
        notes=tuple(dict.fromkeys(note for one in found for note in one.notes)),
    )


def read_comparisons(path: str | Path) -> tuple[Comparison, ...]:
    """The pairs of a file, labelled or not: any kind that `read_humans` knows, or ours without
    labels."""
    read = _read(Path(path), None, may_lack_labels=True)
    check_types(read.rows)
    gathered = Gathered()
    for row in read.rows:
        gathered.add(replace(row, labels={}, verdicts=()))
    return tuple(gathered.comparisons.values())


def packaged_humans() -> Humans:
    """The pairs that come with Herdbook, whose better answer is right by construction."""
    with resources.as_file(resources.files(__package__) / _PACKAGED) as path:
        read = read_humans(path)
    notes = (
        "The pairs were written for Herdbook; the better answer of each is right by construction, "
        "and one annotator, `construction`, stands for that. How people disagree, they cannot show.",
        "Every pair carries the criteria that tell its answers apart. A judge of the kind checklist "
        "reads these very criteria: its agreement here says nothing.",
    )
    return replace(read, source="packaged pairs", notes=notes)


# ------------------------------------------------------------------------------- which kind it is
@dataclass(frozen=True, slots=True)
class _File:
    rows: Sequence[LabelledPair]
    notes: Sequence[str] = ()
    sampled: str | None = None


def _read(
    path: Path,
    pairs: str | Path | Sequence[Comparison] | None,
    *,
    may_lack_labels: bool = False,
) -> _File:
    form = _form(path)
    if form is not None:
        return _read_form(form, path, pairs)
    rows = read_rows(path)
    if path.suffix.lower() == ".csv":  # an empty cell is an empty text there
        rows = [(where, {k: "" if v is None else v for k, v in row.items()}) for where, row in rows]
    columns = {name for _, row in rows for name in row}
    if _LABELS_ONLY.fits(columns):
        return _read_labels(rows, path, pairs)
    kinds = [kind for kind in (_OURS, *KINDS) if kind.fits(columns)]
    if not kinds and may_lack_labels and _PAIRS.fits(columns):
        kinds = [_PAIRS]
    if len(kinds) == 2 and {kind.name for kind in kinds} == {_OURS.name, "AlpacaEval"}:
        kinds = [_by_preference(rows, path, {kind.name: kind for kind in kinds})]
    if len(kinds) != 1:
        known = "; ".join(f"{k.name} ({k.columns})" for k in (_OURS, _LABELS_ONLY, *KINDS))
        what = f"fits {' and '.join(k.name for k in kinds)}" if kinds else "is of no known kind"
        raise UserError(
            f"{path}: {what}; its columns are {_columns(columns)}.\n"
            f"Known kinds and their columns: {known}; and the JSON of an annotation page"
        )
    read = [kinds[0].read(row, where) for where, row in rows]
    kept = [pair for pair in read if pair is not None]
    if not kept:
        raise UserError(f"{path}: nothing can be used: {ARENA_LEFT_OUT}")
    notes = [kinds[0].note] if kinds[0].note else []
    if lost := len(read) - len(kept):
        notes.append(f"{lost} of {len(read)} labels are left out: {ARENA_LEFT_OUT}.")
    beside = path.with_name(f"{path.stem}_verdicts{path.suffix}")
    if kinds[0] is LLMBAR and beside.is_file():
        kept = _with_verdicts(kept, beside)
    return _File(kept, notes, _sampled(rows))


def _columns(names: Iterable[str]) -> str:
    said = ", ".join(sorted(names)) or "none"
    return said if len(said) <= 400 else f"{said[:400]}…"


def _by_preference(rows: Sequence[tuple[str, Row]], path: Path, kinds: Mapping[str, Kind]) -> Kind:
    """Ours (0, 0.5, 1) or AlpacaEval's (1, 2, 1.5 or 0) by the preferences themselves."""
    values = set()
    for where, row in rows:
        value = row.get("preference")
        try:
            values.add(float("nan" if isinstance(value, bool) else str(value)))
        except ValueError:
            raise UserError(f"{where}: preference must be a number, not {quoted(value)}") from None
    if any(value > 1 for value in values):
        return kinds["AlpacaEval"]
    if any(0 < value < 1 for value in values) or not values <= {0.0, 1.0}:
        return kinds[_OURS.name]
    raise UserError(
        f"{path}: preference is only {' and '.join(f'{v:g}' for v in sorted(values))}: 1 is output 2 "
        "to Herdbook and output 1 to AlpacaEval.\nGive a column label (output_1, output_2 or tie) "
        "instead"
    )


def _sampled(rows: Iterable[tuple[str, Row]]) -> str | None:
    """How the items were drawn, which every row says, or none."""
    said: str | None = None
    for number, (where, row) in enumerate(rows):
        value = row.get("sampled") or None
        if not isinstance(value, str | None):
            raise UserError(f"{where}: sampled must be a text, as `random`, not {quoted(value)}")
        if number and value != said:
            raise UserError(
                f"{where}: sampled is {quoted(value)}, and {said!r} before: one for all"
            )
        said = value
    return said


# ------------------------------------------------------------------------------- our own files
def _ours(row: Row, where: str) -> LabelledPair:
    """One line, one label: `label` in words, or `preference` as 0, 0.5 or 1."""
    if "label" in row:
        preference = label(row, where, "label", LABELS)
    else:
        preference = label(row, where, "preference", {0: 0.0, 0.5: 0.5, 1: 1.0})
    return replace(_pair(row, where), labels={name_of(row, where, "annotator"): preference})


def _pair(row: Row, where: str) -> LabelledPair:
    column = next((name for name in PROMPT_COLUMNS if row.get(name) not in (None, "")), None)
    if column is None:
        raise UserError(f"{where}: no prompt; give {', '.join(PROMPT_COLUMNS)}")
    prompt = row[column]
    if column == "instruction" and isinstance(prompt, str):
        prompt = with_input(prompt, row)
    named = [row.get(name) for name in ("generator_1", "generator_2")]
    checks = row.get("checks") or ()
    instruction = row.get("instruction_id")
    return LabelledPair(
        where=where,
        id=name_of(row, where, "id"),
        instruction_id=None if instruction in (None, "") else str(instruction),
        messages=validated(tuple[Message, ...], turns_of(prompt, where, column), where),
        outputs=both(row, where, "output_1", "output_2"),
        generators=(str(named[0] or UNNAMED[0]), str(named[1] or UNNAMED[1])),
        category=str(row.get("category") or ""),
        checks=validated(tuple[Mapping[str, Any], ...], checks, f"{where}: checks"),
    )


_TEXTS = (PROMPT_COLUMNS, ("output_1",), ("output_2",))
_OURS = Kind(name="Herdbook's own", needs=(*_TEXTS, ("label", "preference")), read=_ours)
_PAIRS = Kind(name="pairs", needs=_TEXTS, read=_pair)
_LABELS_ONLY = Kind(
    name="Herdbook's own without texts",
    needs=(("id",), ("label",)),
    without=("output_1", "output_2", *PROMPT_COLUMNS, "input", "response_1", "response 1"),
    read=_ours,
)


def _known(pairs: str | Path | Sequence[Comparison] | None, path: Path) -> Sequence[Comparison]:
    if pairs is None:
        raise UserError(f"{path} holds labels without texts: name the file of their pairs as well")
    return read_comparisons(pairs) if isinstance(pairs, str | Path) else pairs


def _labelled(
    pair: Comparison, where: str, labels: Mapping[str | int | None, float]
) -> LabelledPair:
    """A label on a pair whose texts are known."""
    return LabelledPair(
        where=where,
        id=pair.id,
        instruction_id=pair.instruction.id,
        messages=pair.instruction.messages,
        outputs=(pair.output_1, pair.output_2),
        generators=(pair.generator_1, pair.generator_2),
        category=pair.instruction.category,
        checks=pair.instruction.checks,
        labels=labels,
    )


def _read_labels(
    rows: Sequence[tuple[str, Row]],
    path: Path,
    pairs: str | Path | Sequence[Comparison] | None,
) -> _File:
    known = {pair.id: pair for pair in _known(pairs, path)}
    read, given = [], []
    for where, row in rows:
        name = name_of(row, where, "id")
        if name is None:
            raise UserError(f"{where}: id is empty")
        if str(name) not in known:
            raise UserError(f"{where}: id {quoted(name)} is not among the {len(known)} pairs")
        said = {name_of(row, where, "annotator"): label(row, where, "label", LABELS)}
        pair = _labelled(known[str(name)], where, said)
        read.append(pair)
        given.append(replace(pair, id=name))
    check_types(given)
    return _File(read, (), _sampled(rows))


# ------------------------------------------------------------------- the JSON of an annotation page
def _form(path: Path) -> dict[str, Any] | None:
    """What an annotation page gave back, if the file is that."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None  # read_rows says what is wrong with it
    return value if isinstance(value, dict) and "form" in value else None


def _read_form(
    record: Mapping[str, Any],
    path: Path,
    pairs: str | Path | Sequence[Comparison] | None,
) -> _File:
    from leaderboard.validity.form import Returned, form_digest

    returned = validated(Returned, record, str(path))
    if pairs is None:
        known: Sequence[Comparison] = packaged_humans().comparisons
    else:
        known = _known(pairs, path)
    if returned.form != form_digest(known, returned.seed):
        raise UserError(
            f"{path}: form {returned.form!r} was made of other pairs than these {len(known)}"
            + (" packaged ones: name the file it was made of" if pairs is None else "")
        )
    by_digest: dict[str, Comparison] = {}
    for pair in known:
        by_digest.setdefault(pair.digest, pair)
    if not returned.labels:
        raise UserError(f"{path}: no pair was labelled")
    if not returned.annotator.strip():
        raise UserError(f"{path}: annotator is empty")
    read = []
    for digest in returned.labels:
        where = f"{path}, labels"
        if digest not in by_digest:
            raise UserError(f"{where}: {quoted(digest)} is not among the {len(known)} pairs")
        said: dict[str | int | None, float] = {
            returned.annotator: label(returned.labels, where, digest, LABELS)
        }
        read.append(_labelled(by_digest[digest], f"{where}, {digest}", said))
    return _File(read, (), returned.sampled)


# ----------------------------------------------------------------------------- rows put together
def _with_verdicts(rows: Sequence[LabelledPair], path: Path) -> list[LabelledPair]:
    by_id: dict[object, list[Verdict]] = {row.id: [] for row in rows}
    for where, name, verdict in llmbar_verdicts(path):
        if name not in by_id:
            raise UserError(f"{where}: a verdict on {quoted(name)}, which is not among the pairs")
        by_id[name].append(verdict)
    return [replace(row, verdicts=by_id[row.id]) for row in rows]
