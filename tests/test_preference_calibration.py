"""Calibration of preferences: by hand, Murphy's parts, scikit-learn's Brier score, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.statistics.estimates import Undefined
from leaderboard.statistics.preference_calibration import calibration

NAN = math.nan
ITEM = st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))


def test_by_hand():
    judge = [0.1, 0.2, 0.9, 1.0, NAN, 0.5]
    humans = [[0, 1], [0, NAN], [1, 1], [1, 0.5], [1, 1], [NAN, NAN]]
    found = calibration(judge, humans, n_bins=2)
    assert found.n == 4
    low, high = found.bins
    assert (low.begin, low.end, low.n, low.preference) == (0, 0.5, 2, pytest.approx(0.15))
    assert low.label.value == pytest.approx(0.25)
    assert (high.n, high.preference, high.label.value) == (2, pytest.approx(0.95), 0.875)
    assert found.brier.value == pytest.approx((0.4**2 + 0.2**2 + 0.1**2 + 0.25**2) / 4)
    assert found.ece.value == pytest.approx((0.1 + 0.075) / 2)
    assert found.reliability == pytest.approx((0.1**2 + 0.075**2) / 2)
    assert found.resolution == pytest.approx(0.3125**2)
    # Half of one bin is said to be 0.5: a preference of 0.5 opens the second.
    assert calibration([0.5], [[1]], n_bins=2).bins[0].begin == 0.5


@given(st.lists(ITEM, min_size=1, max_size=30))
def test_brier_and_its_parts(items):
    p, y = np.array(items).T
    found = calibration(p, y[:, None])
    parts = found.reliability - found.resolution + found.uncertainty + found.within_bins
    assert found.brier.value == pytest.approx(parts)
    assert found.brier.value == pytest.approx(np.mean((p - y) ** 2))
    assert sum(one.n for one in found.bins) == found.n == len(items)
    gaps = [one.n * abs(one.preference - one.label.value) for one in found.bins]
    assert found.ece.value == pytest.approx(sum(gaps) / len(items))
    for figure in (found.brier, found.ece):
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
    if (y != 0.5).all():
        metrics = pytest.importorskip("sklearn.metrics")
        expected = metrics.brier_score_loss(y, p, pos_label=1.0, labels=[0.0, 1.0])
        assert found.brier.value == pytest.approx(expected, abs=1e-12)


def test_equal_preferences_leave_nothing_within_the_bins():
    found = calibration([0.25, 0.25, 0.75, 0.75], [[0], [1], [1], [1]])
    assert found.within_bins == pytest.approx(0, abs=1e-12)


def test_swapping_the_outputs_changes_nothing_where_no_bin_is_cut():
    rng = np.random.default_rng(0)
    p = rng.choice([0.05, 0.25, 0.45, 0.75, 0.95], 60)
    y = (rng.random(60) < p).astype(float)
    found, mirrored = calibration(p, y[:, None]), calibration(1 - p, 1 - y[:, None])
    assert (found.brier.value, found.ece.value) == pytest.approx(
        (mirrored.brier.value, mirrored.ece.value)
    )


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.0), (0.2, 0.2)])
def test_the_intervals_cover(shift, truth):
    rng = np.random.default_rng(1)
    ece = brier = 0
    for _ in range(150):
        p = rng.choice([0.15, 0.35, 0.55, 0.75], 60)
        y = (rng.random(60) < p + shift).astype(float)
        found = calibration(p, y[:, None])
        ece += found.ece.low - 1e-12 <= truth <= found.ece.high
        true = np.mean([shift**2 + (q + shift) * (1 - q - shift) for q in (0.15, 0.35, 0.55, 0.75)])
        brier += found.brier.low <= true <= found.brier.high
    assert ece >= 0.93 * 150
    assert brier >= 0.91 * 150


def test_a_judge_that_is_always_right_has_intervals():
    found = calibration([0.0, 1.0] * 10, [[0], [1]] * 10)
    assert (found.brier.value, found.ece.value) == (0, 0)
    assert found.ece.high > 0.1
    assert calibration([0.5] * 3, [[0.5]] * 3).ece.high > 0.3


def test_limits_are_stated():
    reason = "no item has a verdict and a human label"
    assert calibration([NAN, 0.5], [[1], [NAN]]) == Undefined(reason=reason)
    one = calibration([0.9], [[1]])
    assert (one.n, len(one.bins), one.uncertainty) == (1, 1, 0)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: calibration([0.5], [[1]], n_bins=0), "n_bins"),
        (lambda: calibration([0.5, 0.5], [[1]]), "1 labelled items"),
        (lambda: calibration([1.5], [[1]]), "in \\[0, 1\\]"),
        (lambda: calibration([0.5], [[0.2]]), "0.5"),
    ],
)
def test_what_cannot_be_is_refused(run, words):
    with pytest.raises(ValueError, match=words):
        run()
