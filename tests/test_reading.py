"""Numbers, words, sentences, list items and table rows are read as a reader sees them."""

from __future__ import annotations

import pytest

from judges.reading import list_items, numbers, sentences, table_rows, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It weighs 5kg, or 5.5 kg.", [5, 5.5]),
        ("$1,234,567.80 and 50%", [1234567.8, 50]),
        ("-3 and −4 and 3-5", [-3, -4, 3, 5]),
        ("version 1.2.3, item12", []),
        ("1,23", []),
        ("٣ or ５", [3, 5]),
        ("12. Then 13,", [12, 13]),
    ],
)
def test_numbers_are_found(text, found):
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("It isn’t well-known: 1,000.5 of 3", 6),
        ("café cafe\u0301", 2),
        ("नमस्ते दुनिया", 2),
        ("_one_ **two** — three…", 3),
        ("🙂 … !", 0),
    ],
)
def test_words_are_found(text, n):
    assert len(words(text)) == n


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ('He said "Stop." Then he left.', 2),
        ("Dr. J. Ray came. She sat.", 2),
        ("It costs 3.50 today", 1),
        ("Open at 9 a.m. Closed at noon.", 2),
        ("A title\nA line. ...", 2),
        ("What?! No!", 2),
    ],
)
def test_sentences_are_found(text, n):
    assert len(sentences(text)) == n


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- a\n* b\n+ c\n• d", ["a", "b", "c", "d"]),
        ("  10. ten\n(2) two\nc) see", ["ten", "two", "see"]),
        ("-no space\n1.5 litres\n- \nplain", []),
        ("1. 2 eggs", ["2 eggs"]),
    ],
)
def test_list_items_are_found(text, found):
    assert list_items(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("So:\nA | B\n--- | ---\n1 | 2\n\n3 | 4", (["a", "b"], [["1", "2"]])),
        ("|A|B|\n|:-:|-|\n|**x**|`y`|", (["a", "b"], [["x", "y"]])),
        ("||Mon|\n|--|--|\n|a||", (["", "mon"], [["a", ""]])),
        ("| A | B |\n| 1 | 2 |", None),
        ("A | B", None),
        ("|A|\n|-|", (["a"], [])),
    ],
)
def test_table_rows_are_found(text, found):
    assert table_rows(text) == found
