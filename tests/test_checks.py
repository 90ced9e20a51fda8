"""The kinds of criteria: what meets each, what none may be given, and the weighted score."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.criteria import checks
from judges.criteria.checks import KINDS
from judges.criteria.share import parse, score
from judges.errors import UserError

JSON_FENCE = '```json\n{"a": 1}\n```'


TABLE = "| Town | People |\n|---|---:|\n| Ghent | 265 |\n| Bruges | 119 |"


def meets(answer: str, kind: str, **params: Any) -> bool:
    return score(answer, [{"kind": kind, **params}]) == 1.0


def in_own_process(code: str) -> None:
    """Runs code that may never end: in this process no test could stop it."""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# (kind, parameters, an answer that meets the criterion, one that does not)
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("exact", {"accept": ["Paris"]}, "“paris.”", "Paris, of course"),
    ("exact", {"accept": ["no", "none"]}, "**None**", "not one"),
    ("number", {"value": 12.5}, "It is 12, or rather 12.5 kg.", "12.5 kg, or 13"),
    ("number", {"value": 12.5, "which": "any"}, "12.5 kg, or 13", "125"),
    ("number", {"value": 7, "which": "only"}, "€7", "7 or 7"),
    ("number", {"value": 3.14, "tolerance": 0.01}, "3.1416", "3.2"),
    ("contains", {"all": ["red", "blue"]}, "Blue, then RED.", "Blueish red"),
    ("contains", {"any": ["red", "blue"]}, "It is blue!", "It is green."),
    ("contains", {"all": ["red"], "any": ["dot", "bar"]}, "a red bar", "a bar"),
    ("contains", {"any": ["don't"]}, "I don’t", "I do not"),
    ("omits", {"terms": ["art"]}, "a party", "fine art."),
    ("omits", {"terms": ["!"]}, "Hello.", "Hello!"),
    ("term_count", {"term": "a cat", "min": 2, "max": 2}, "A cat, a cat.", "A cat a cat a cat"),
    ("regex", {"pattern": r"^\d+$"}, "two\n22\n", "22 apples"),
    ("regex", {"pattern": "yes", "ignore_case": True}, "YES", "no"),
    ("regex", {"pattern": "yes"}, "yes", "YES"),
    ("regex", {"pattern": r"\bsorry\b", "absent": True}, "Here it is.", "I am sorry"),
    ("starts_with", {"accept": ["Dear"]}, "  dear Ann", "My dear"),
    ("ends_with", {"accept": ["?", "bye"]}, "Goodbye", "Why? Because."),
    ("words", {"min": 2, "max": 3}, "isn't it well-known", "one"),
    ("sentences", {"max": 1}, "Mr. Lee came at 2 p.m. today.", "He came. She left."),
    ("items", {"min": 3, "max": 3}, "Here:\n1. a\n2) b\n(c) d", "- a\n- b"),
    ("item_words", {"max": 2}, "- one two\n- three", "- one two three"),
    ("item_words", {"min": 1}, "* one", "one"),
    ("lines", {"max": 2}, "a\n\n\nb\n", "a\nb\nc"),
    ("paragraphs", {"min": 2, "max": 2}, "a\nb\n \nc", "a\nb"),
    ("characters", {"max": 3}, "  abc \n", "a bc"),
    ("order", {"terms": ["one", "two", "one"]}, "One, two, one.", "one two"),
    ("order", {"terms": ["New York", "York"]}, "New York, then York", "New York"),
    ("alphabetical", {}, "- Ash\n- birch\n- cedar", "- birch\n- ash"),
    ("alphabetical", {"reverse": True}, "- b\n- a", "- a"),
    ("json", {"keys": ["a"]}, JSON_FENCE, f"Here it is:\n{JSON_FENCE}"),
    ("json", {"keys": ["a"], "only_keys": True}, '{"a": null}', '{"a": 1, "b": 2}'),
    ("json", {"values": {"a": "Red", "b": 2}}, '{"a": "red", "b": 2.0}', '{"a": "red", "b": "2"}'),
    ("json", {"type": "array", "length": 2}, "[1, 2]", "[1, 2, 3]"),
    ("json", {"type": "array", "keys": ["a"]}, '[{"a": 1}, {"a": 2}]', '[{"a": 1}, {"b": 2}]'),
    ("json", {"type": "array", "keys": ["a"]}, '[{"a": 1}]', "[]"),
    ("table", {"columns": ["Town", "People"], "min_rows": 2}, TABLE, TABLE.replace("Town", "City")),
    ("table", {"columns": ["Town", "People"], "max_rows": 2}, TABLE, TABLE + "\n| Lier | 36 |"),
    ("table_cell", {"row": "Ghent", "column": "People", "value": "265"}, TABLE, "Ghent | 265"),
    ("no_repetition", {}, "So it is. So it is.", "This is said twice. This is said twice."),
    ("no_repetition", {}, "a b c d e f g h", "a b c d e f g h, and a b c d e f g h"),
    ("case", {"letters": "lower"}, "all in small letters, 1", "Not all"),
    ("case", {"letters": "upper"}, "ALL LARGE", "Not ALL"),
]


@pytest.mark.parametrize(("kind", "params", "good", "bad"), CASES)
def test_an_answer_that_meets_a_criterion_and_one_that_does_not(kind, params, good, bad):
    assert meets(good, kind, **params)
    assert not meets(bad, kind, **params)


def test_every_kind_has_a_case():
    assert {kind for kind, _, _, _ in CASES} == set(KINDS)


@pytest.mark.parametrize("answer", ["", " ", "\n\t\n", "\u3000"])
@pytest.mark.parametrize(
    ("kind", "params"),
    [("omits", {"terms": ["x"]}), ("words", {"max": 5}), ("case", {"letters": "lower"})],
)
def test_an_empty_answer_meets_no_criterion(kind, params, answer):
    assert not meets(answer, kind, **params)


@pytest.mark.parametrize(
    ("term", "text", "is_there"),
    [
        ("5", "5 apples", True),
        ("5", "1.5", False),
        ("5", "5,000", False),
        ("5", "about 5.", True),
        ("-5", "10-5", False),
        ("°C", "20°C", True),
        ("C++", "in C++.", True),
        ("%", "50%", True),
        ("no", "_no_ or __no__", True),
        ("no", "__non__", False),
        ("straße", "STRASSE", True),
        ("café", "cafe\u0301", True),
        ("two words", "two\n  words", True),
        ("a.c", "abc", False),
    ],
)
def test_terms_are_found_as_whole_words(term, text, is_there):
    assert meets(text, "contains", any=[term]) is is_there


@pytest.mark.parametrize(
    "answer",
    [
        JSON_FENCE,
        '```\n{"a": 1}```',
        '```JSON \r\n{"a": 1}\r\n```',
        ' {"a":1}\n',
        '{"a": {"b": []}}',
    ],
)
def test_json_may_stand_in_a_fence(answer):
    assert meets(answer, "json", keys=["a"])


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": NaN}',
        '{"a": Infinity}',
        "{'a': 1}",
        '{"a": 1,}',
        '["a"]',
        '{"a": ' * 100_000,
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": ' + "1" * 5000 + "}",
        "```json\n```",
        "null",
    ],
)
def test_what_is_no_json_object_is_not_met(answer):
    assert not meets(answer, "json", keys=["a"])


@pytest.mark.parametrize(
    ("wanted", "found", "equal"),
    [
        (True, "true", True),
        (True, "1", False),
        (1, "true", False),
        (0, "false", False),
        (None, "null", True),
        ([1, "A"], '[1.0, "a"]', True),
        ([True], "[1]", False),
        ({"b": True}, '{"b": 1}', False),
        ({"b": "X"}, '{"b": "x"}', True),
        ({"b": 1}, '{"b": 1, "c": 2}', False),
    ],
)
def test_json_values_are_compared_by_type_and_but_for_case(wanted, found, equal):
    assert meets(f'{{"a": {found}}}', "json", values={"a": wanted}) is equal


@pytest.mark.parametrize("absent", [False, True])
def test_a_search_without_end_is_stopped_and_counts_as_not_met(absent):
    criterion = {"kind": "regex", "pattern": "(a|aa)+$", "absent": absent}
    code = (
        "from judges.criteria import checks, share; checks.SEARCH_SECONDS = 0.05; "
        f"assert share.score('a' * 80 + 'b', [{criterion!r}]) == 0"
    )
    in_own_process(code)


@pytest.mark.parametrize("absent", [False, True])
def test_a_search_that_needs_too_much_memory_counts_as_not_met(absent, monkeypatch):
    class Greedy:
        def search(self, text: str, timeout: float) -> None:
            raise MemoryError

    monkeypatch.setattr(checks, "compiled", lambda pattern, ignore_case: Greedy())
    assert not meets("a", "regex", pattern="(?R)", absent=absent)


HUGE = {
    "initials": "'J. ' * 60_000",
    "dots": "'a.' * 60_000 + ' b'",
    "hyphens": "'a-' * 200_000",
    "digits": "'1,' * 200_000 + '111,' * 100_000",
    "rules": "'a|b\\n' + '--|' * 100_000 + 'x'",
    "blanks": "'- ' + '\\n ' * 200_000 + 'x'",
    "fences": "'```json\\n' + '```' * 100_000",
}


@pytest.mark.parametrize("text", HUGE)
def test_huge_answers_are_read_in_time_that_grows_with_their_length(text):
    # What grows with the square takes minutes.
    every = [{"kind": kind, **params} for kind, params, _, _ in CASES]
    in_own_process(f"from judges.criteria.share import score; score({HUGE[text]}, {every!r})")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "unknown criterion kind None"),
    ({"kind": "wordz"}, "unknown criterion kind 'wordz'; known: exact, number"),
    ({"kind": ["words"]}, "unknown criterion kind"),
    ({"kind": "words", "most": 3}, "unknown parameter most; known: min, max"),
    ({"kind": "no_repetition", "n": 3}, "unknown parameter n; known: none"),
    ({"kind": "number"}, "missing parameter value"),
    ({"kind": "table_cell", "row": "x", "column": "y"}, "missing parameter value"),
    *(
        ({"kind": "no_repetition", "weight": weight}, "weight must be a positive number")
        for weight in (0, -1, True, "2", None, float("nan"), float("inf"), 1e308, 10**400)
    ),
    ({"kind": "words", "max": "60"}, "max must be a whole number, 0 or more, not '60'"),
    ({"kind": "words", "max": 6.5}, "max must be a whole number"),
    ({"kind": "words", "max": True}, "max must be a whole number"),
    ({"kind": "words", "min": -1}, "min must be a whole number"),
    ({"kind": "words"}, "needs min or max"),
    ({"kind": "words", "min": None}, "needs min or max"),
    ({"kind": "words", "min": 5, "max": 4}, "min 5 is above max 4"),
    ({"kind": "table", "columns": ["a"], "min_rows": 2, "max_rows": 1}, "min_rows 2 is above"),
    ({"kind": "term_count", "term": "x"}, "needs min or max"),
    ({"kind": "term_count", "term": 5, "max": 1}, "term must be a text, not 5"),
    ({"kind": "term_count", "term": " ", "max": 1}, "term must not be empty"),
    ({"kind": "contains"}, "needs all or any"),
    ({"kind": "contains", "all": "red"}, "all must be a list of texts, not 'red'"),
    ({"kind": "contains", "all": ["red", 5]}, "all must be a list of texts"),
    ({"kind": "contains", "any": []}, "any must not be empty"),
    ({"kind": "omits", "terms": ["red", ""]}, "terms must not be empty, nor a text in it"),
    ({"kind": "omits", "terms": {"red": 1}}, "terms must be a list of texts"),
    ({"kind": "exact", "accept": None}, "accept must be a list of texts"),
    ({"kind": "number", "value": "5"}, "value must be a number"),
    ({"kind": "number", "value": float("nan")}, "value must be a number"),
    ({"kind": "number", "value": 10**400}, "value must be a number"),
    ({"kind": "number", "value": 5, "tolerance": -1}, "tolerance must not be negative"),
    ({"kind": "number", "value": 5, "which": "first"}, "which must be one of last, any, only"),
    ({"kind": "json", "type": ["object"]}, "type must be a text"),
    ({"kind": "json", "type": "list"}, "type must be one of object, array"),
    ({"kind": "json", "only_keys": 1}, "only_keys must be true or false"),
    ({"kind": "json", "values": [1]}, "values must be an object"),
    ({"kind": "json", "length": "2"}, "length must be a whole number"),
    ({"kind": "case", "letters": "title"}, "letters must be one of lower, upper"),
    ({"kind": "alphabetical", "reverse": "yes"}, "reverse must be true or false"),
    ({"kind": "regex", "pattern": "(a"}, r"'\(a': missing \)"),
    ({"kind": "regex", "pattern": ["a"]}, "pattern must be a text"),
    ({"kind": "regex", "pattern": ""}, "pattern must not be empty"),
    ({"kind": "regex", "pattern": "a", "ignore_case": "no"}, "ignore_case must be true or false"),
    ({"kind": "regex", "pattern": "(" * 5000 + ")" * 5000}, "criterion 'regex'"),
]


@pytest.mark.parametrize(("criterion", "message"), WRONG)
def test_a_criterion_that_cannot_be_meant_is_refused(criterion, message):
    with pytest.raises(UserError, match=message):
        parse(criterion)


@pytest.mark.parametrize(("kind", "params"), [(kind, params) for kind, params, _, _ in CASES])
@pytest.mark.parametrize("wrong", [object(), {"x": object()}, [[]], b"x"], ids=type)
def test_no_parameter_takes_a_value_of_a_wrong_type(kind, params, wrong):
    for name in params:
        if (name, type(wrong)) == ("values", dict):
            continue
        with pytest.raises(UserError, match=f"{name} must be"):
            parse({"kind": kind, **params, name: wrong})


@pytest.mark.parametrize(
    "criterion",
    [
        {"kind": "table", "columns": ["", "Mon"]},
        {"kind": "json", "keys": [], "only_keys": True},
        {"kind": "words", "min": 2, "max": 2},
        {"kind": "words", "max": 0, "weight": 0.5},
        {"kind": "item_words", "min": 1, "max": None},
    ],
)
def test_criteria_at_the_edge_are_taken(criterion):
    _, weight = parse(criterion)
    assert weight == criterion.get("weight", 1)


def test_the_score_is_the_weighted_share_of_the_criteria_met():
    criteria = [
        {"kind": "contains", "all": ["red"], "weight": 3},
        {"kind": "omits", "terms": ["blue"], "weight": 0.5},
        {"kind": "words", "max": 2},
    ]
    assert score("red", criteria) == 1
    assert score("green", criteria) == pytest.approx(1.5 / 4.5)
    assert score("red or blue", criteria) == pytest.approx(3 / 4.5)
    assert score("blue or green", criteria) == 0


MARKED = st.lists(
    st.sampled_from(
        ["- ", "1. ", "|", "--", "\n", "```", "{", "]", '"', "a", "5", ",", ".", " ", "é"]
    )
).map("".join)


@given(answer=st.one_of(st.text(), MARKED, st.text(st.characters(categories=["Cs", "Mn", "Lo"]))))
def test_a_score_lies_in_0_to_1_for_any_text(answer):
    criteria = [
        {"kind": kind, **params, "weight": 0.1 * (n + 1)}
        for n, (kind, params, _, _) in enumerate(CASES)
    ]
    assert 0 <= score(answer, criteria) <= 1
    assert score(answer, criteria[:1]) in (0, 1)


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(st.none() | st.booleans() | FINITE | st.text(), st.lists))
def test_a_json_value_equals_itself_and_no_other_type(value):
    text = json.dumps({"a": value})
    assert meets(text, "json", values={"a": value})
    assert not meets(text, "json", values={"a": [value]})
