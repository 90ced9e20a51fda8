"""Criteria that a machine can check in an answer, without a model and without running code.

Each kind is a small frozen dataclass, whose fields are the criterion's parameters and whose
`passes` says whether a non-empty answer meets it. To add a kind, write such a class and name it in
`KINDS`. How a criterion is written in an eval set, and what an answer scores: `judges.criteria.share`.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from judges.reading import (
    QUOTES,
    compiled,
    list_items,
    normalise,
    numbers,
    occurs,
    sentences,
    table_rows,
    term_pattern,
    words,
)

SEARCH_SECONDS = 1.0
"""What a regular expression may take; one that is made well takes a thousandth of it."""

_FENCE = re.compile(r"\A```[^\n`]*\n(.*?)\n?```\Z", re.DOTALL)


def _within(n: float, low: float | None, high: float | None) -> bool:
    return (low is None or n >= low) and (high is None or n <= high)


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
        every = [occurs(text, term) for term in self.all]
        some = [occurs(text, term) for term in self.any]
        return False not in every and (not some or True in some)


@dataclass(frozen=True, slots=True, kw_only=True)
class Omits:
    """None of the terms occurs."""

    terms: Sequence[str]

    def passes(self, answer: str) -> bool:
        text = normalise(answer)
        return not any(occurs(text, term) for term in self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class TermCount:
    """One term occurs at least `min` and at most `max` times."""

    term: str
    min: int | None = None
    max: int | None = None

    def passes(self, answer: str) -> bool:
        return _within(len(term_pattern(self.term).findall(normalise(answer))), self.min, self.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    """The regular expression is found somewhere in the answer (`absent`: is found nowhere).

    `^` and `$` match at every line; case counts unless `ignore_case`. A search that takes longer
    than a second, or all the memory that `regex` allows it, counts as not met: an answer can be
    built to keep an expression busy for hours.
    """

    pattern: str
    ignore_case: bool = False
    absent: bool = False

    def passes(self, answer: str) -> bool:
        text = answer.translate(QUOTES).strip()
        try:
            found = compiled(self.pattern, self.ignore_case).search(text, timeout=SEARCH_SECONDS)
        except (TimeoutError, MemoryError):
            return False
        return (found is None) == self.absent


@dataclass(frozen=True, slots=True, kw_only=True)
class StartsWith:
    """The answer begins with one of the accepted texts; "Thank" also stands for "Thanks"."""

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
    """The terms all occur, each behind the end of the one before it."""

    terms: Sequence[str]

    def passes(self, answer: str) -> bool:
        text, at = normalise(answer), 0
        for term in self.terms:
            found = term_pattern(term).search(text, at)
            if found is None:
                return False
            at = found.end()
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
    array, and there must be one), with `only_keys` no others; `values` must be equal (text: but
    for case); `length` is the number of elements of the array or of keys of the object.
    """

    type: str = "object"
    keys: Sequence[str] = ()
    only_keys: bool = False
    values: Mapping[str, Any] | None = None
    length: int | None = None

    def passes(self, answer: str) -> bool:
        fenced = _FENCE.match(answer.strip())
        try:
            text = fenced.group(1) if fenced else answer
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return False
        if not isinstance(data, dict if self.type == "object" else list):
            return False
        if self.length is not None and len(data) != self.length:
            return False
        if (self.keys or self.values) and data == []:
            return False
        return all(self._shape(entry) for entry in ([data] if isinstance(data, dict) else data))

    def _shape(self, entry: object) -> bool:
        if not isinstance(entry, dict):
            return not self.keys and not self.values
        keys_fit = set(self.keys) == set(entry) if self.only_keys else set(self.keys) <= set(entry)
        return keys_fit and all(
            key in entry and _same(entry[key], value) for key, value in (self.values or {}).items()
        )


def _refuse_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity; no other reader of JSON does.
    raise ValueError(name)


def _same(found: object, wanted: object) -> bool:
    if isinstance(found, str) and isinstance(wanted, str):
        return normalise(found) == normalise(wanted)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_same(found[k], wanted[k]) for k in wanted)
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
