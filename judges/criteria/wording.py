"""Criteria in plain words, for a language model or a person who is to judge by them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from judges.criteria import checks
from judges.criteria.share import Ask, parse

_UNITS = {
    checks.Words: "word",
    checks.Sentences: "sentence",
    checks.Items: "list item",
    checks.Lines: "line that is not blank",
    checks.Paragraphs: "paragraph",
    checks.Characters: "character",
}
_PLURALS = {"line that is not blank": "lines that are not blank"}


def numbered(criteria: Sequence[Mapping[str, Any]]) -> str:
    """One line a criterion, counted from 1."""
    return "\n".join(f"{n}. {describe(criterion)}" for n, criterion in enumerate(criteria, 1))


def describe(criterion: Mapping[str, Any]) -> str:
    """One sentence on one line that says when an answer meets the criterion; its weight is left out.

    Raises UserError for a criterion that `judges.criteria.share.parse` refuses.
    """
    check, _ = parse(criterion)
    return f"{_said(check)}."


def _said(check: checks.Check | Ask) -> str:
    match check:
        case Ask():
            return f"A reader answers {_quoted(check.question)} with yes"
        case checks.Exact():
            return f"The whole answer is {_any(check.accept)}; capital letters do not matter"
        case checks.Number():
            near = f", give or take {_figure(check.tolerance)}" if check.tolerance > 1e-6 else ""
            which = {
                "last": "The last number",
                "any": "One of the numbers",
                "only": "The only number",
            }
            return f"{which[check.which]} in the answer is {_figure(check.value)}{near}"
        case checks.Contains():
            parts = [_all(check.all)] if check.all else []
            parts += [_any(check.any)] if check.any else []
            return f"The answer contains {', and also '.join(parts)}"
        case checks.Omits():
            return f"The answer does not contain {_any(check.terms)}"
        case checks.TermCount():
            times = _range(check.min, check.max, "time", "times")
            return f"The answer contains {_quoted(check.term)} {times}"
        case checks.Regex():
            finds = "is found nowhere" if check.absent else "is found"
            case = "; capital letters do not matter" if check.ignore_case else ""
            # As it stands: doubled backslashes would be another expression.
            pattern = check.pattern if check.pattern.isprintable() else _quoted(check.pattern)
            return f"The regular expression `{pattern}` {finds} in the answer{case}"
        case checks.StartsWith():
            return f"The answer begins with {_any(check.accept)}"
        case checks.EndsWith():
            return f"The answer ends with {_any(check.accept)}"
        case checks.ItemWords():
            size = _range(check.min, check.max, "word", "words")
            return f"The answer has a list, and every item of it has {size}"
        case checks.Order():
            terms = ", then ".join(map(_quoted, check.terms))
            return f"The answer contains, in this order, {terms}"
        case checks.Alphabetical():
            order = "reverse alphabetical" if check.reverse else "alphabetical"
            return f"The answer has a list of at least two items, and they are in {order} order"
        case checks.Json():
            return _json_said(check)
        case checks.Table():
            rows = _range(check.min_rows, check.max_rows, "row", "rows")
            size = f" and {rows} below the header" if rows else ""
            return f"The answer has a Markdown table with the columns {_list(check.columns)}, in this order{size}"
        case checks.TableCell():
            return (
                f"The table row that begins with {_quoted(check.row)} has {_quoted(check.value)} "
                f"in the column {_quoted(check.column)}"
            )
        case checks.NoRepetition():
            return "The answer does not repeat itself: no sentence, nor a run of eight words, stands twice"
        case checks.Case():
            return f"All letters of the answer are {check.letters} case"
        case checks.Count():
            unit = _UNITS[type(check)]
            return f"The answer has {_range(check.min, check.max, unit, _PLURALS.get(unit, unit + 's'))}"
    raise AssertionError(f"a kind without words: {type(check).__name__}")


def _json_said(check: checks.Json) -> str:
    said = f"The whole answer is a valid JSON {check.type}"
    each = "it" if check.type == "object" else "every object in it"
    if check.length is not None:
        said += f" with {_range(check.length, check.length, *_unit(check.type))}"
    if check.keys:
        only = " and no others" if check.only_keys else ""
        said += f"; {each} has the keys {_list(check.keys)}{only}"
    for key, value in (check.values or {}).items():
        said += f"; {_quoted(key)} is {_quoted(value)}"
    return said


def _unit(kind: str) -> tuple[str, str]:
    return ("key", "keys") if kind == "object" else ("element", "elements")


def _range(low: int | None, high: int | None, one: str, many: str) -> str:
    """How many: "exactly 1 word", "at most 5 words", "no words"; "" without a limit."""
    if high == 0:
        return f"no {many}" if one != "time" else "not once"
    if low is not None and low == high:
        return f"exactly {low} {one if low == 1 else many}"
    parts = [f"at least {low}"] if low else []
    parts += [f"at most {high}"] if high is not None else []
    if not parts:
        return "" if low is None else f"any number of {many}"
    last = high if high is not None else low
    return f"{' and '.join(parts)} {one if last == 1 else many}"


def _quoted(value: object) -> str:
    """A value as JSON writes it: on one line, a text in quotation marks."""
    return json.dumps(value, ensure_ascii=False)


def _list(texts: Sequence[str]) -> str:
    return ", ".join(map(_quoted, texts))


def _all(texts: Sequence[str]) -> str:
    return _joined(texts, "and")


def _any(texts: Sequence[str]) -> str:
    return _joined(texts, "or")


def _joined(texts: Sequence[str], word: str) -> str:
    if len(texts) == 1:
        return _quoted(texts[0])
    return f"{_list(texts[:-1])} {word} {_quoted(texts[-1])}"


def _figure(number: float) -> str:
    return f"{number:.15g}"
