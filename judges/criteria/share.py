"""Criteria as they stand in an eval set, and the share of them that an answer meets.

A criterion is a JSON object, `{"kind": "words", "max": 60, "weight": 2}`: a kind of `judges.criteria.checks`,
its parameters, and a weight, 1 unless given. An empty answer meets none. Beside those kinds there is
`ask`, for what no program can tell: `{"kind": "ask", "question": "Is the tone polite?"}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

import regex

from judges.criteria.checks import KINDS, Check
from judges.errors import UserError
from judges.reading import compiled


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question about the answer, to which only a reader can say yes."""

    question: str


MAX_WEIGHT = 1000
MAX_PATTERN = 2000
"""Characters of a regular expression."""
MAX_UNROLLED = 100_000
"""Characters of a regular expression with every counted repeat written out: `(?:ab{3}){2}` has 8.
The compiler writes them out, and would fill the memory with a million of them."""

_REGEX_PART = re.compile(
    r"(?s)\\.|\(\?#[^)]*\)|\(\?:|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?P<low>\d*)(?:,(?P<high>\d*))?\}|."
)

_CLASSES: dict[str, Any] = {**KINDS, "ask": Ask}

_CHOICES = {
    ("number", "which"): ("last", "any", "only"),
    ("json", "type"): ("object", "array"),
    ("case", "letters"): ("lower", "upper"),
}
_MAY_BE_BLANK = {("json", "keys"), ("table", "columns"), ("table_cell", "row")}
"""Lists that may be empty or hold an empty text; a search for nothing would find it anywhere."""

_LIMITS = (("min", "max"), ("min_rows", "max_rows"))


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= 1e300  # neither NaN, nor infinite, nor an int that no float can hold


def _is_whole(value: object) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


_TYPES: dict[str, tuple[Callable[[object], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "a text"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "float": (_is_number, "a number"),
    "int | None": (_is_whole, "a whole number, 0 or more"),
    "Sequence[str]": (_is_texts, "a list of texts"),
    "Mapping[str, Any] | None": (lambda value: isinstance(value, Mapping), "an object"),
}
"""Type of a parameter, as written in the classes of `judges.criteria.checks` → does a value fit, in words."""


def is_question(criterion: Mapping[str, Any]) -> bool:
    """Whether a reader is needed to tell if an answer meets the criterion."""
    return criterion.get("kind") == "ask"


def parse(criterion: Mapping[str, Any]) -> tuple[Check | Ask, float]:
    """The check, or the question, and the weight of a criterion as it stands in an eval set.

    Raises UserError for an unknown kind, an unknown or missing parameter, a value of the wrong
    type or outside its choices, terms that are blank, a lower limit above the upper one or no
    limit at all, a regular expression that is too large or does not compile, or a weight that is not positive.
    """
    params = dict(criterion)
    kind, weight = params.pop("kind", None), params.pop("weight", 1)
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise UserError(f"unknown criterion kind {kind!r}; known: {', '.join(_CLASSES)}")
    if not _is_number(weight) or not 0 < weight <= MAX_WEIGHT:
        raise UserError(
            f"criterion {kind!r}: the weight must be a positive number up to {MAX_WEIGHT:,}, "
            f"not {weight!r}"
        )
    known = {field.name: field for field in fields(_CLASSES[kind])}
    if unknown := sorted(set(params) - set(known)):
        raise UserError(
            f"criterion {kind!r}: unknown parameter {', '.join(unknown)}; "
            f"known: {', '.join(known) or 'none'}"
        )
    missing = [n for n, f in known.items() if f.default is MISSING and n not in params]
    if missing:
        raise UserError(f"criterion {kind!r}: missing parameter {', '.join(missing)}")
    for name, value in params.items():
        fits, wanted = _TYPES[str(known[name].type)]
        if not fits(value):
            raise UserError(f"criterion {kind!r}: {name} must be {wanted}, not {value!r}")
        choices = _CHOICES.get((kind, name))
        if choices and value not in choices:
            raise UserError(
                f"criterion {kind!r}: {name} must be one of {', '.join(choices)}, not {value!r}"
            )
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else ["x"]
        if (kind, name) not in _MAY_BE_BLANK and not (texts and all(t.strip() for t in texts)):
            raise UserError(f"criterion {kind!r}: {name} must not be empty, nor a text in it")
    _check_limits(kind, params, set(known))
    if kind == "regex":
        _check_size(params["pattern"])
        try:
            compiled(params["pattern"], params.get("ignore_case", False))
        except (regex.error, RecursionError, MemoryError) as error:
            why = str(error) or "too large for the memory"
            raise UserError(f"criterion 'regex': {params['pattern']!r}: {why}") from None
    return _CLASSES[kind](**params), float(weight)


def _check_limits(kind: str, params: Mapping[str, Any], known: set[str]) -> None:
    """Raises UserError for a criterion that every answer meets, or none can."""
    for low, high in _LIMITS:
        least, most = params.get(low), params.get(high)
        if least is not None and most is not None and least > most:
            raise UserError(f"criterion {kind!r}: {low} {least} is above {high} {most}")
    for names in (("min", "max"), ("all", "any")):
        if known.issuperset(names) and all(params.get(name) is None for name in names):
            raise UserError(f"criterion {kind!r}: needs {names[0]} or {names[1]}")
    if params.get("tolerance", 0) < 0:
        raise UserError(f"criterion {kind!r}: the tolerance must not be negative")


def _check_size(pattern: str) -> None:
    """Raises UserError for a regular expression that is too long, as it stands or unrolled."""
    if len(pattern) > MAX_PATTERN:
        raise UserError(
            f"criterion 'regex': a pattern may have {MAX_PATTERN:,} characters, not {len(pattern):,}"
        )
    if (size := _unrolled(pattern)) > MAX_UNROLLED:
        raise UserError(
            f"criterion 'regex': {pattern[:80]!r}: with its repeats written out it may have "
            f"{MAX_UNROLLED:,} characters, not {size:,}"
        )


def _unrolled(pattern: str) -> int:
    """Characters of a regular expression with its repeats written out; a set or an escape is one.

    `{2,5}` counts as 5 and `{2,}` as 2; `*`, `+` and `?` are not written out.
    """
    sizes, last = [0], 0  # of every open group up to here, and of what stands just before
    for part in _REGEX_PART.finditer(pattern):
        if part[0] in ("(", "(?:"):
            sizes.append(0)
        elif part[0] == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif part["low"] or part["high"]:
            count = max(1, int(part["high"] or part["low"]))
            sizes[-1] += last * (count - 1)
            last *= count
        elif part[0] not in "*+?":
            last = 1
            sizes[-1] += last
    return sum(sizes)


def score(answer: str, criteria: Sequence[Mapping[str, Any]]) -> float:
    """The weighted share of the criteria that the answer meets, in [0, 1].

    Raises UserError for a question that only a reader can answer.
    """
    parsed = [parse(criterion) for criterion in criteria]
    if not answer.strip():
        return 0.0
    met = sum(weight for check, weight in parsed if _passes(check, answer))
    return met / sum(weight for _, weight in parsed)


def _passes(check: Check | Ask, answer: str) -> bool:
    if isinstance(check, Ask):
        raise UserError(f"criterion 'ask': only a reader can answer {check.question!r}")
    return check.passes(answer)
