"""Every kind of criterion can be said in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judges.criteria.checks import KINDS
from judges.criteria.wording import describe, numbered
from judges.errors import UserError

SAID = {
    "exact": ({"accept": ["yes", "no"]}, 'The whole answer is "yes" or "no"'),
    "number": ({"value": 3.5, "which": "any", "tolerance": 0.1}, "is 3.5, give or take 0.1."),
    "contains": ({"all": ["a", "b"], "any": ["c"]}, 'contains "a" and "b", and also "c".'),
    "omits": ({"terms": ["a", "b", "c"]}, 'does not contain "a", "b" or "c".'),
    "term_count": ({"term": "sea", "min": 2, "max": 2}, 'contains "sea" exactly 2 times.'),
    "regex": ({"pattern": r"\d+", "absent": True}, r"`\d+` is found nowhere in the answer."),
    "starts_with": ({"accept": ["Hi"]}, 'begins with "Hi".'),
    "ends_with": ({"accept": ["?"]}, 'ends with "?".'),
    "words": ({"min": 3, "max": 5}, "has at least 3 and at most 5 words."),
    "sentences": ({"max": 1}, "has at most 1 sentence."),
    "items": ({"max": 0}, "has no list items."),
    "item_words": ({"min": 1, "max": 1}, "every item of it has exactly 1 word."),
    "lines": ({"min": 2}, "has at least 2 lines that are not blank."),
    "paragraphs": ({"min": 0, "max": 2}, "has at most 2 paragraphs."),
    "characters": ({"max": 9}, "has at most 9 characters."),
    "order": ({"terms": ["a", "b"]}, 'in this order, "a", then "b".'),
    "alphabetical": ({"reverse": True}, "reverse alphabetical order."),
    "json": (
        {"keys": ["a"], "only_keys": True, "values": {"a": [1]}, "length": 1},
        'a valid JSON object with exactly 1 key; it has the keys "a" and no others; "a" is [1].',
    ),
    "table": (
        {"columns": ["A", "B"], "min_rows": 2},
        'columns "A", "B", in this order and at least',
    ),
    "table_cell": (
        {"row": "x", "column": "A", "value": "1"},
        'begins with "x" has "1" in the column',
    ),
    "no_repetition": ({}, "does not repeat itself"),
    "case": ({"letters": "upper"}, "upper case."),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_criterion_in_words(kind):
    parameters, words = SAID[kind]
    said = describe({"kind": kind, "weight": 2, **parameters})
    assert words in said
    assert said.endswith(".")
    assert "\n" not in said


def test_every_parameter_shows():
    for kind, (parameters, _) in SAID.items():
        bare = describe({"kind": kind, **parameters})
        changed = {
            "accept": ["other"], "value": 99, "tolerance": 7, "which": "only", "all": ["z"],
            "any": ["z"], "terms": ["z"], "term": "z", "min": 1, "max": 77, "pattern": "z",
            "absent": not parameters.get("absent"), "reverse": not parameters.get("reverse"),
            "keys": ["z"], "only_keys": False, "values": {"z": 1}, "length": 9, "columns": ["z"],
            "min_rows": 5, "row": "z", "column": "z", "letters": "lower",
        }  # fmt: skip
        for name in parameters:
            value = "99" if (kind, name) == ("table_cell", "value") else changed[name]
            if value == parameters[name] or (kind, name) == ("paragraphs", "min"):
                continue
            assert describe({"kind": kind, **parameters, name: value}) != bare, (kind, name)


def test_criteria_are_numbered():
    checks = [{"kind": "no_repetition"}, {"kind": "contains", "all": ["a\nb"]}]
    lines = numbered(checks).splitlines()
    assert [line[:3] for line in lines] == ["1. ", "2. "]


def test_the_starter_board_can_be_said():
    path = (
        Path(__file__).parents[1]
        / "leaderboard"
        / "boards"
        / "packaged"
        / "starter"
        / "evalset.jsonl"
    )
    for line in path.read_text(encoding="utf-8").splitlines():
        for criterion in json.loads(line).get("checks", ()):
            assert "None" not in describe(criterion)


def test_a_criterion_that_is_none():
    with pytest.raises(UserError, match="unknown criterion kind"):
        describe({"kind": "taste"})
