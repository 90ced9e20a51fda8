"""Criteria that a machine can check in an answer, without a model and without running code.

A criterion is a JSON object: `{"kind": "words", "max": 60, "weight": 2}`. Each kind is a small
frozen dataclass below, whose fields are the criterion's parameters and whose `passes` says whether
an answer meets it. To add a kind, write such a class and name it in `KINDS`.

Text is compared without regard to case, typographic quotes are read as plain ones, and strings
match whole words only ("art" does not occur in "party"). An empty answer meets no criterion.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from typing import Any, Protocol

import regex

from judges.errors import UserError

SEARCH_SECONDS = 1.0
"""What a regular expression may take; one that is made well takes a thousandth of it."""

_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_LIST_ITEM = re.compile(r"^\s*(?:[-*•+]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s+\S")
_NUMBER = re.compile(r"(?<![\w.,])[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d|[.,]\d)")
_TITLE = re.compile(r"(?:(?i:\b(?:mr|mrs|ms|dr|prof|st|vs))|(?<![\w.])[A-Z])\.$")
_DOTTED = re.compile(r"\b(?:\w(?:\.\w)+|etc)\.$")
_FENCE = re.compile(r"\A```[\w-]*\n(.*?)\n?```\Z", re.DOTALL)
_TABLE_RULE = re.compile(r"^\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?$")


# ------------------------------------------------------------------------------- reading a text
def normalise(text: str) -> str:
    """The text in lower case, with plain quotes and single spaces."""
    return " ".join(text.translate(_QUOTES).casefold().split())


def words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, with apostrophes, hyphens and the points
    and commas of a number inside them."""
    return re.findall(r"[^\W_]+(?:['-][^\W_]+|(?<=\d)[.,]\d+)*", text.translate(_QUOTES))


def sentences(text: str) -> list[str]:
    """The sentences of a text: split behind . ! ? before a space, and at line ends.

    Not behind a title or an initial ("Mr.", "J."), nor behind a dotted abbreviation that a small
    letter follows ("at 2 p.m. on Friday").
    """
    found: list[str] = []
    for line in text.strip().splitlines():
        open_part = ""
        for part in re.split(r"(?<=[.!?])[\"')\]]*\s+", line):
            goes_on = _TITLE.search(open_part) or (_DOTTED.search(open_part) and part[:1].islower())
            if open_part and not goes_on:
                found.append(open_part)
                open_part = ""
            open_part = f"{open_part} {part}".strip()
        found.append(open_part)
    return [sentence for sentence in found if words(sentence)]


def list_items(text: str) -> list[str]:
    """The items of the bulleted, numbered or lettered lists in a text, without their markers."""
    marker = re.compile(r"^\s*\S+\s+")
    return [marker.sub("", line) for line in text.splitlines() if _LIST_ITEM.match(line)]


def numbers(text: str) -> list[float]:
    """The numbers that stand alone in a text, thousands separators removed."""
    return [float(n.replace(",", "").replace("−", "-")) for n in _NUMBER.findall(text)]


def table_rows(text: str) -> tuple[list[str], list[list[str]]] | None:
    """Header and body cells of the first Markdown table in a text, or None."""
    lines = [line.strip() for line in text.splitlines()]
    for i in range(1, len(lines)):
        if "|" in lines[i - 1] and "-" in lines[i] and _TABLE_RULE.match(lines[i]):
            body = []
            for line in lines[i + 1 :]:
                if "|" not in line:
                    break
                body.append(_cells(line))
            return _cells(lines[i - 1]), body
    return None


def _cells(line: str) -> list[str]:
    return [normalise(cell).strip("*_`") for cell in line.strip().strip("|").split("|")]


# A board's expressions are needed again for every model and control, and are slow to compile.
@lru_cache(maxsize=8192)
def _compiled(pattern: str, ignore_case: bool) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.MULTILINE | (regex.IGNORECASE if ignore_case else 0))


@lru_cache(maxsize=8192)
def _pattern(term: str) -> re.Pattern[str]:
    """Finds a term in a normalised text as whole words; "5" does not occur in "1.5" or "5,000"."""
    plain = normalise(term)
    before = r"(?<!\d[.,])" if plain[:1].isdigit() else ""
    after = r"(?![.,]\d)" if plain[-1:].isdigit() else ""
    return re.compile(rf"(?<!\w){before}{re.escape(plain)}{after}(?!\w)")


def _position(text: str, term: str, start: int = 0) -> int:
    """Where the term occurs in a normalised text, at or after start; -1 where it does not."""
    found = _pattern(term).search(text, start)
    return found.start() if found else -1


def _within(n: float, low: float | None, high: float | None) -> bool:
    return (low is None or n >= low) and (high is None or n <= high)


# ---------------------------------------------------------------------------------- the criteria
class Check(Protocol):
    """One criterion: `passes` says whether a non-empty answer meets it."""

    def passes(self, answer: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """The whole answer is one of the accepted ones, but for case, outer quotes, emphasis marks
    and a final full stop."""

    accept: Sequence[str]

    def passes(self, answer: str) -> bool:
        def bare(text: str) -> str:
            return normalise(text).strip("*_`\"' ").rstrip(".!").strip("*_`\"' ")

        return bare(answer) in {bare(text) for text in self.accept}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number of the answer equals the value: the last one, any one, or the only one."""

    value: float
    tolerance: float = 1e-9
    which: str = "last"

    def passes(self, answer: str) -> bool:
        found = numbers(answer)
        chosen = {"last": found[-1:], "any": found, "only": found if len(found) == 1 else []}
        return any(abs(n - self.value) <= self.tolerance for n in chosen[self.which])


@dataclass(frozen=True, slots=True, kw_only=True)
class Contains:
    """Every term of `all` occurs, and at least one of `any` where it is given."""

    all: Sequence[str] = ()
    any: Sequence[str] = ()

    def passes(self, answer: str) -> bool:
        text = normalise(answer)
        every = [_position(text, term) >= 0 for term in self.all]
        some = [_position(text, term) >= 0 for term in self.any]
        return False not in every and (not some or True in some)


@dataclass(frozen=True, slots=True, kw_only=True)
class Omits:
    """None of the terms occurs."""

    terms: Sequence[str]

    def passes(self, answer: str) -> bool:
        text = normalise(answer)
        return all(_position(text, term) < 0 for term in self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class TermCount:
    """One term occurs at least `min` and at most `max` times."""

    term: str
    min: int | None = None
    max: int | None = None

    def passes(self, answer: str) -> bool:
        return _within(len(_pattern(self.term).findall(normalise(answer))), self.min, self.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    """The regular expression is found somewhere in the answer (`absent`: is found nowhere).

    `^` and `$` match at every line; case counts unless `ignore_case`. A search that takes longer
    than a second counts as not met: an answer can be built to keep an expression busy for hours.
    """

    pattern: str
    ignore_case: bool = False
    absent: bool = False

    def passes(self, answer: str) -> bool:
        text = answer.translate(_QUOTES).strip()
        try:
            found = _compiled(self.pattern, self.ignore_case).search(text, timeout=SEARCH_SECONDS)
        except TimeoutError:
            return False
        return (found is None) == self.absent


@dataclass(frozen=True, slots=True, kw_only=True)
class StartsWith:
    """The answer begins with one of the accepted texts."""

    accept: Sequence[str]

    def passes(self, answer: str) -> bool:
        return normalise(answer).startswith(tuple(normalise(text) for text in self.accept))


@dataclass(frozen=True, slots=True, kw_only=True)
class EndsWith:
    """The answer ends with one of the accepted texts."""

    accept: Sequence[str]

    def passes(self, answer: str) -> bool:
        return normalise(answer).endswith(tuple(normalise(text) for text in self.accept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Count(ABC):
    """The answer has at least `min` and at most `max` of a unit."""

    min: int | None = None
    max: int | None = None

    @abstractmethod
    def count(self, answer: str) -> int: ...

    def passes(self, answer: str) -> bool:
        return _within(self.count(answer), self.min, self.max)


class Words(Count):
    """Words."""

    def count(self, answer: str) -> int:
        return len(words(answer))


class Sentences(Count):
    """Sentences."""

    def count(self, answer: str) -> int:
        return len(sentences(answer))


class Items(Count):
    """Items of bulleted, numbered or lettered lists."""

    def count(self, answer: str) -> int:
        return len(list_items(answer))


class Lines(Count):
    """Lines that are not blank."""

    def count(self, answer: str) -> int:
        return sum(1 for line in answer.splitlines() if line.strip())


class Paragraphs(Count):
    """Paragraphs: blocks parted by blank lines."""

    def count(self, answer: str) -> int:
        return sum(1 for block in re.split(r"\n\s*\n", answer) if block.strip())


class Characters(Count):
    """Characters, outer white space left out."""

    def count(self, answer: str) -> int:
        return len(answer.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemWords:
    """Every list item has at least `min` and at most `max` words, and there is at least one."""

    min: int | None = None
    max: int | None = None

    def passes(self, answer: str) -> bool:
        items = list_items(answer)
        return bool(items) and all(_within(len(words(i)), self.min, self.max) for i in items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The terms all occur, each after the one before it."""

    terms: Sequence[str]

    def passes(self, answer: str) -> bool:
        text, at = normalise(answer), 0
        for term in self.terms:
            at = _position(text, term, at)
            if at < 0:
                return False
            at += 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Alphabetical:
    """The list items (at least two) are in alphabetical order."""

    reverse: bool = False

    def passes(self, answer: str) -> bool:
        items = [normalise(item).strip("*_`\"'") for item in list_items(answer)]
        return len(items) > 1 and items == sorted(items, reverse=self.reverse)


@dataclass(frozen=True, slots=True, kw_only=True)
class Json:
    """The whole answer, a code fence around it apart, is valid JSON of the stated shape.

    `type` is object or array; `keys` must be there in the object (or in every object of the
    array), with `only_keys` no others; `values` must be equal (text: but for case); `length` is
    the number of elements of the array or of keys of the object.
    """

    type: str = "object"
    keys: Sequence[str] = ()
    only_keys: bool = False
    values: Mapping[str, Any] | None = None
    length: int | None = None

    def passes(self, answer: str) -> bool:
        fenced = _FENCE.match(answer.strip())
        try:
            data = json.loads(fenced.group(1) if fenced else answer)
        except (ValueError, RecursionError):
            return False
        if not isinstance(data, dict if self.type == "object" else list):
            return False
        if self.length is not None and len(data) != self.length:
            return False
        return all(self._shape(entry) for entry in ([data] if isinstance(data, dict) else data))

    def _shape(self, entry: object) -> bool:
        if not isinstance(entry, dict):
            return not self.keys and not self.values
        keys_fit = set(self.keys) == set(entry) if self.only_keys else set(self.keys) <= set(entry)
        return keys_fit and all(
            key in entry and _same(entry[key], value) for key, value in (self.values or {}).items()
        )


def _same(found: object, wanted: object) -> bool:
    if isinstance(found, str) and isinstance(wanted, str):
        return normalise(found) == normalise(wanted)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    return (type(found) is not bool and type(wanted) is not bool and found == wanted) or (
        found is wanted
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The answer has a Markdown table with these columns, in this order, and so many body rows."""

    columns: Sequence[str]
    min_rows: int | None = None
    max_rows: int | None = None

    def passes(self, answer: str) -> bool:
        table = table_rows(answer)
        if table is None or table[0] != [normalise(column) for column in self.columns]:
            return False
        return _within(len(table[1]), self.min_rows, self.max_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCell:
    """The table row whose first cell is `row` has `value` in `column`."""

    row: str
    column: str
    value: str

    def passes(self, answer: str) -> bool:
        header, body = table_rows(answer) or ([], [])
        if normalise(self.column) not in header:
            return False
        at = header.index(normalise(self.column))
        return any(
            len(cells) > at
            and cells[0] == normalise(self.row)
            and cells[at] == normalise(self.value)
            for cells in body
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRepetition:
    """No sentence of four or more words stands twice, and no run of eight words does."""

    def passes(self, answer: str) -> bool:
        long = [normalise(s) for s in sentences(answer) if len(words(s)) >= 4]
        tokens = [word.casefold() for word in words(answer)]
        runs = [tuple(tokens[i : i + 8]) for i in range(len(tokens) - 7)]
        return len(set(long)) == len(long) and len(set(runs)) == len(runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All letters of the answer are lower (or upper) case."""

    letters: str

    def passes(self, answer: str) -> bool:
        return answer == (answer.lower() if self.letters == "lower" else answer.upper())


KINDS: dict[str, type[Check]] = {
    "exact": Exact,
    "number": Number,
    "contains": Contains,
    "omits": Omits,
    "term_count": TermCount,
    "regex": Regex,
    "starts_with": StartsWith,
    "ends_with": EndsWith,
    "words": Words,
    "sentences": Sentences,
    "items": Items,
    "item_words": ItemWords,
    "lines": Lines,
    "paragraphs": Paragraphs,
    "characters": Characters,
    "order": Order,
    "alphabetical": Alphabetical,
    "json": Json,
    "table": Table,
    "table_cell": TableCell,
    "no_repetition": NoRepetition,
    "case": Case,
}
_CHOICES = {("number", "which"): ("last", "any", "only"), ("json", "type"): ("object", "array")}
_CHOICES["case", "letters"] = ("lower", "upper")


def parse(criterion: Mapping[str, Any]) -> tuple[Check, float]:
    """The check and the weight of a criterion as it stands in an eval set.

    Raises UserError for an unknown kind, an unknown or missing parameter, a value outside its
    choices, a regular expression that does not compile, or a weight that is not positive.
    """
    params = dict(criterion)
    kind, weight = params.pop("kind", None), params.pop("weight", 1)
    if kind not in KINDS:
        raise UserError(f"unknown criterion kind {kind!r}; known: {', '.join(KINDS)}")
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not weight > 0:
        raise UserError(f"criterion {kind!r}: the weight must be a positive number, not {weight!r}")
    known = {field.name: field for field in fields(KINDS[kind])}  # type: ignore[arg-type]
    if unknown := sorted(set(params) - set(known)):
        raise UserError(
            f"criterion {kind!r}: unknown parameter {', '.join(unknown)}; known: {', '.join(known)}"
        )
    missing = [n for n, f in known.items() if f.default is MISSING and n not in params]
    if missing:
        raise UserError(f"criterion {kind!r}: missing parameter {', '.join(missing)}")
    for name, value in params.items():
        choices = _CHOICES.get((kind, name))
        if choices and value not in choices:
            raise UserError(f"criterion {kind!r}: {name} must be one of {', '.join(choices)}")
        if "Sequence" in str(known[name].type) and not isinstance(value, list):
            raise UserError(f"criterion {kind!r}: {name} must be a list, not {value!r}")
    if kind == "regex":
        try:
            _compiled(params["pattern"], params.get("ignore_case", False))
        except regex.error as error:
            raise UserError(f"criterion 'regex': {params['pattern']!r}: {error}") from None
    return KINDS[kind](**params), float(weight)


def score(answer: str, criteria: Sequence[Mapping[str, Any]]) -> float:
    """The weighted share of the criteria that the answer meets, in [0, 1]."""
    parsed = [parse(criterion) for criterion in criteria]
    if not answer.strip():
        return 0.0
    met = sum(weight for check, weight in parsed if check.passes(answer))
    return met / sum(weight for _, weight in parsed)
