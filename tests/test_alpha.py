"""Krippendorff's alpha: his own worked examples, an independent count, and its limits."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from leaderboard.statistics.alpha import MAX_VALUES, alpha
from leaderboard.statistics.estimates import Undefined

NAN = math.nan
LABEL = st.sampled_from([0.0, 0.5, 1.0, NAN])
LABELS = arrays.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 4)), elements=LABEL)
METRICS = ("nominal", "ordinal", "interval")


def read(*rows: str) -> np.ndarray:
    """Annotators as rows of digits or letters, a dot where missing."""
    return np.array([[NAN if c == "." else float(ord(c)) for c in row] for row in rows]).T


# Krippendorff (2011), Computing Krippendorff's alpha-reliability, examples A to C.
BINARY = read("0100000010", "1110010000")
NOMINAL = read("aabbdcccedda", "babbbcccEddd".lower())
FOUR = read("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
# The worked example with three annotators and fifteen items in Wikipedia's article.
THREE = read(".....3412113" + "3.3", "1.213343" + ".......", "..21344.2113" + "3.4")


@pytest.mark.parametrize(
    ("labels", "metric", "published"),
    [
        (BINARY, "nominal", 0.095),
        (NOMINAL, "nominal", 0.692),
        (FOUR, "nominal", 0.743),
        (FOUR, "ordinal", 0.815),
        (FOUR, "interval", 0.849),
        (THREE, "nominal", 0.691),
        (THREE, "interval", 0.811),
        (THREE, "ordinal", 0.807),
    ],
)
def test_published_examples(labels, metric, published):
    found = alpha(labels, metric)
    assert round(found.value, 3) == published
    assert found.low < found.value < found.high


def test_an_item_with_one_label_says_nothing():
    assert alpha(FOUR).n == 11
    assert alpha(FOUR[:11]) == alpha(FOUR)


def by_definition(labels: np.ndarray, metric: str) -> float | None:
    """Pair by pair, with ordinal distances as the published sum of counts between two values."""
    pairs: Counter[tuple[float, float]] = Counter()
    for row in labels:
        there = row[~np.isnan(row)]
        for a, b in permutations(range(len(there)), 2):
            pairs[there[a], there[b]] += 1 / (len(there) - 1)
    count: Counter[float] = Counter()
    for (a, _), weight in pairs.items():
        count[a] += weight
    values, n = sorted(count), sum(count.values())

    def apart(a: float, b: float) -> float:
        if metric == "nominal":
            return float(a != b)
        if metric == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = sum(count[g] for g in values if low <= g <= high)
        return (between - (count[a] + count[b]) / 2) ** 2

    observed = sum(weight * apart(*pair) for pair, weight in pairs.items()) / n if n else 0
    expected = sum(count[a] * count[b] * apart(a, b) for a in values for b in values)
    return 1 - observed * n * (n - 1) / expected if expected else None


@given(LABELS, st.sampled_from(METRICS))
def test_alpha_is_what_its_definition_says(labels, metric):
    found, expected = alpha(labels, metric), by_definition(labels, metric)
    if expected is None:
        assert isinstance(found, Undefined)
        return
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert -1 <= found.low <= found.value <= found.high <= 1
    mirrored = alpha(1 - labels, metric)
    ends = (mirrored.value, mirrored.low, mirrored.high)
    assert (found.value, found.low, found.high) == pytest.approx(ends)
    shuffled = alpha(labels[::-1, ::-1], metric)
    assert shuffled.value == pytest.approx(found.value)


def test_agreement_everywhere_has_an_interval():
    few, many = (alpha(np.tile([[0.0, 0.0], [1.0, 1.0]], (n, 1))) for n in (5, 50))
    assert (few.value, few.high) == (1, 1)
    assert few.low < 0.6 < 0.9 < many.low


def test_limits_are_stated():
    assert alpha([[0.0, NAN], [NAN, NAN]]) == Undefined(reason="no item has two labels")
    assert alpha(np.empty((0, 3))).reason == "no item has two labels"
    assert alpha([[0.0], [1.0]]).reason == "no item has two labels"
    assert alpha([[0.5, 0.5], [0.5, 0.5]]) == Undefined(reason="all labels are the same", n=2)
    assert alpha([[0.0, 1.0]]).n == 1
    with pytest.raises(ValueError, match="items, annotators"):
        alpha([0.0, 1.0])
    with pytest.raises(ValueError, match="finite"):
        alpha([[math.inf, 1.0]])
    with pytest.raises(ValueError, match=f"{MAX_VALUES + 2} different"):
        alpha(np.arange(MAX_VALUES + 2.0).reshape(-1, 2))
