"""Cohen's kappa, macro precision, recall and F1: published, scikit-learn's, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_labels import pandalm

from leaderboard.statistics.against_majority import classes_against_majority
from leaderboard.statistics.annotator_pools import LABELS
from leaderboard.statistics.class_tables import majority_tables, paired_tables
from leaderboard.statistics.estimates import Estimate, Undefined
from leaderboard.statistics.kappa import classification, kappa
from leaderboard.statistics.uncertainty import influence_interval

NAN = math.nan
LABEL = st.sampled_from([0.0, 0.5, 1.0, NAN])
PAIRS = st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=40)
WEIGHTS = ("none", "linear", "quadratic")


def of(one, two, weights="none"):
    return kappa(paired_tables(np.array(one), np.array(two)), weights)


def repeated(table) -> np.ndarray:
    """Items for a table of counts."""
    return np.concatenate(
        [
            np.tile(np.outer(np.eye(3)[a], np.eye(3)[b]), (table[a][b], 1, 1))
            for a in range(len(table))
            for b in range(len(table))
        ]
    )


# ------------------------------------------------------------------------------------ real figures
@pytest.mark.parametrize(("a", "b", "published"), [(0, 1, 0.8520), (0, 2, 0.8789), (1, 2, 0.8617)])
def test_pandalm_annotators(shared_data, a, b, published):
    humans, _ = pandalm(shared_data)
    found = of(humans[:, a], humans[:, b])
    assert round(found.value, 4) == published
    assert found.n == 999
    assert found.high - found.low < 0.07


@pytest.mark.parametrize(
    ("judge", "published"),
    [
        ("gpt_3_5_turbo", (71.07, 58.79, 57.36, 57.55)),
        ("pandalm_7b", (66.77, 57.38, 57.50, 57.43)),
    ],
)
def test_pandalm_judges_as_classifiers(shared_data, judge, published):
    humans, judges = pandalm(shared_data)
    majority = LABELS[np.stack([(humans == label).sum(axis=1) for label in LABELS]).argmax(axis=0)]
    found = classes_against_majority(judges[judge], majority[:, None], "tie")
    figures = (found.accuracy, found.precision, found.recall, found.f1)
    assert tuple(round(100 * one.value, 2) for one in figures) == published
    assert all(one.n == 999 and one.low < one.value < one.high for one in figures)
    unparsed = int(np.isnan(judges[judge]).sum())
    assert (found.n_judged, found.n_items) == (999 - unparsed, 999)
    assert np.sum(found.matrix) == 999
    assert sum(found.matrix[3]) == unparsed == {"gpt_3_5_turbo": 25, "pandalm_7b": 0}[judge]
    # Left out instead, they cost nothing: the same counts over fewer items.
    without = classes_against_majority(judges[judge], majority[:, None])
    assert (without.n_judged, without.n_items, without.matrix) == (
        999 - unparsed,
        999,
        found.matrix,
    )
    from_tables = classification(majority_tables(judges[judge], humans, 3))
    assert from_tables.f1.value == pytest.approx(without.f1.value)


# ------------------------------------------------------------------------------------- by hand
def test_kappas_by_hand():
    # 50 grant proposals, a common textbook table: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no.
    found = kappa(repeated([[20, 5], [10, 15]]))
    assert found.value == pytest.approx(0.4)
    assert found.n == 50
    assert found.low < 0.4 < found.high
    # Steps of 1 and 2 between classes; chance gives 24 + 48 of 100 pairs of 10 items, in halves.
    table = [[2, 1, 0], [1, 2, 1], [0, 1, 2]]
    margin = np.array([3, 4, 3]) / 10
    for weights, step in (("linear", 1), ("quadratic", 2)):
        apart = np.abs(np.subtract.outer(range(3), range(3))) ** step
        expected = 1 - (np.array(table) * apart).sum() / 10 / (margin @ apart @ margin)
        assert kappa(repeated(table), weights).value == pytest.approx(expected)


@given(PAIRS, st.sampled_from(WEIGHTS))
def test_kappa_is_scikit_learns(pairs, weights):
    metrics = pytest.importorskip("sklearn.metrics")
    one, two = np.array(pairs).T
    found = of(one, two, weights)
    there = ~(np.isnan(one) | np.isnan(two))
    codes = [(2 * values[there]).astype(int) for values in (one, two)]
    if isinstance(found, Undefined):
        assert len(np.unique(codes)) < 2
        return
    theirs = metrics.cohen_kappa_score(*codes, weights=None if weights == "none" else weights)
    assert found.value == pytest.approx(theirs, abs=1e-12)
    assert -1 <= found.low <= found.value <= found.high <= 1
    # Neither the order of the annotators nor the names of the outputs matter.
    for other in (of(two, one, weights), of(1 - one, 1 - two, weights)):
        assert (other.value, other.low, other.high) == pytest.approx(
            (found.value, found.low, found.high)
        )


@given(PAIRS)
def test_classification_is_scikit_learns(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    said, true = np.array(pairs).T
    found = classes_against_majority(said, true[:, None])
    there = ~(np.isnan(said) | np.isnan(true))
    assert (found.n_judged, found.n_items) == (there.sum(), (~np.isnan(true)).sum())
    if not there.any():
        assert isinstance(found.f1, Undefined)
        return
    codes = [(2 * values[there]).astype(int) for values in (true, said)]
    theirs = metrics.precision_recall_fscore_support(*codes, average="macro", zero_division=0)
    for figure, expected in zip((found.precision, found.recall, found.f1), theirs[:3], strict=True):
        assert figure.value == pytest.approx(expected, abs=1e-12)
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
    matrix = metrics.confusion_matrix(*codes, labels=[0, 1, 2])
    assert np.array(found.matrix[:3]).T.tolist() == matrix.tolist()


def test_a_perfect_sample_has_an_interval():
    few, many = (of([0.0, 1.0] * n, [0.0, 1.0] * n) for n in (5, 50))
    assert (few.value, few.high) == (1, 1)
    assert few.low < 0.6 < 0.9 < many.low < 1


def test_a_rare_class_widens_the_interval():
    # No agreement on output 2 was drawn; one would change kappa from below 0 to 0.5.
    one, two = np.zeros(50), np.zeros(50)
    one[0] = two[1] = 1
    found = of(one, two)
    assert found.value == pytest.approx(1 - 0.04 / (2 * 0.02 * 0.98))
    # One more item that agrees on output 2 would have kappa at 0.48, one that agrees on output 1
    # hardly moves it; 48 such were seen. Without either the interval ends at 0.52.
    after = [1 - 2 / 51 / (2 * p * (1 - p)) for p in (2 / 51, 1 / 51)]
    pulls = 51 * (np.array(after) - found.value)
    added = float((pulls**2 / np.array([1, 49])).sum()) / 50
    without = [1 - 1 / 49 / (p * (1 - q) + q * (1 - p)) for p, q in ((0, 1 / 49), (1 / 49, 0))]
    without += [1 - 2 / 49 / (2 / 49 * 48 / 49)] * 48
    influence = 49 * (found.value - np.array(without))
    wider = influence_interval(
        0.04, influence * np.sqrt(1 + added / influence.var()) * 2 * 0.02 * 0.98, 2
    )
    assert found.high == pytest.approx(1 - wider.low / (2 * 0.02 * 0.98))
    assert found.high > 0.65


def test_limits_are_stated():
    assert of([0.0, 0.0], [0.0, 0.0]) == Undefined(reason="all verdicts are of one class", n=2)
    assert of([0.5] * 3, [0.5] * 3).reason == "all verdicts are of one class"
    assert of([NAN], [1.0]) == Undefined(reason="no item has both verdicts")
    # A constant annotator agrees no better than chance.
    constant = of([0.0] * 20, [0.0, 1.0] * 10)
    assert isinstance(constant, Estimate)
    assert constant.value == pytest.approx(0)
    assert isinstance(of([0.0], [1.0]), Estimate)
    with pytest.raises(ValueError, match="items, 3, 3"):
        kappa(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="level"):
        kappa(np.zeros((2, 3, 3)), level=0)
