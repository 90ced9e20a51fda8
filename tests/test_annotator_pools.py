"""Variance, bias and agreement of a pool of which one member labels each item: exact expectations."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from leaderboard.statistics.annotator_pools import (
    LABELS,
    disagreement,
    label_agreement,
    label_shares,
    mode_error,
    mode_shares,
    with_flips,
)

VOTES = arrays.arrays(
    np.float64, (4, 5), elements=st.sampled_from([0.0, 0.5, 1.0, 0.3, 0.8, math.nan])
)


def test_shares_by_hand():
    found = label_shares([[0, 0.2, 0.5, 1], [1, 1, math.nan, 0], [math.nan] * 4])
    assert found[:2].tolist() == [[0.5, 0.25, 0.25], [1 / 3, 0, 2 / 3]]
    assert np.isnan(found[2]).all()


def test_flips_make_half_of_the_labels_a_coin():
    certain = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert with_flips(certain, 0.25).tolist() == [[0.25, 0, 0.75], [0.25, 0.5, 0.25]]
    assert with_flips(certain, 0.0).tolist() == certain.tolist()
    assert with_flips(certain, 0.5).tolist() == [[0.5, 0, 0.5]] * 2
    with pytest.raises(ValueError, match="flip rate"):
        with_flips(certain, 0.6)


def test_a_judge_that_always_says_the_same_has_no_variance_and_flips_give_it_a_third():
    certain = label_shares([[1.0, 1.0], [0.0, 0.0]])
    assert disagreement(certain).tolist() == [0, 0]
    # One label is right 3 times in 4; the mode of three others 27 times in 32.
    mode = 0.75**3 + 3 * 0.75**2 * 0.25
    assert disagreement(with_flips(certain, 0.25)) == pytest.approx(
        [0.75 * (1 - mode) + 0.25 * mode] * 2
    )
    assert disagreement(label_shares([[0.0, 1.0]])) == pytest.approx([0.5])


def test_a_mode_of_equals_is_shared():
    assert mode_shares(np.array([[0.5, 0.0, 0.5]]), 2) == pytest.approx(np.array([[0.5, 0, 0.5]]))
    # Three draws, all different in 6 of 27 outcomes.
    even = np.full((1, 3), 1 / 3)
    assert mode_shares(even, 3) == pytest.approx(even)
    with pytest.raises(ValueError, match="n_draws"):
        mode_shares(even, 0)


def test_against_gold_labels_by_hand():
    shares = label_shares([[1.0, 1.0, 1.0, 0.0], [0.0, 0.5, 0.0, 0.5]])
    assert label_agreement(shares, [1, 1]) == pytest.approx([0.75, 0.25])
    mode = 0.75**4 + 4 * 0.75**3 * 0.25 + 6 * 0.75**2 * 0.25**2 / 2
    assert mode_error(shares, [1, 1])[0] == pytest.approx(1 - mode)
    assert mode_error(shares, [1, 1])[1] == pytest.approx(0.75)


def enumerated(share, n_draws):
    """AlpacaEval's rule over every sequence of draws, by item."""
    variance = 0.0
    for draws in product(range(3), repeat=n_draws):
        chance = math.prod(share[d] for d in draws)
        for single in range(n_draws):
            others = [LABELS[d] for at, d in enumerate(draws) if at != single]
            most = max(Counter(others).values())
            modes = [label for label, count in Counter(others).items() if count == most]
            error = np.mean([abs(LABELS[draws[single]] - mode) for mode in modes])
            variance += chance * error / n_draws
    return variance


@given(VOTES, st.sampled_from([0.0, 0.1, 0.25, 0.5]), st.sampled_from([2, 3, 4]))
def test_the_expectation_is_that_over_all_draws(votes, p, n_draws):
    shares = with_flips(label_shares(votes), p)
    found = disagreement(shares, n_draws)
    for value, share in zip(found, shares, strict=True):
        if np.isnan(share).any():
            assert math.isnan(value)
        else:
            assert value == pytest.approx(enumerated(share, n_draws), abs=1e-12)
            assert -1e-12 <= value <= 1


@given(VOTES, st.integers(1, 5))
def test_modes_are_a_distribution_and_mirror(votes, n_draws):
    shares = label_shares(votes)
    modes = mode_shares(shares, n_draws)
    known = ~np.isnan(shares).any(axis=1)
    assert modes[known].sum(axis=1) == pytest.approx(np.ones(known.sum()))
    mirrored = mode_shares(label_shares(1 - votes), n_draws)
    assert mirrored[known][:, ::-1] == pytest.approx(modes[known])


def test_a_sample_comes_to_the_expectation():
    rng = np.random.default_rng(0)
    votes = (rng.random((40, 13)) < rng.random((40, 1))).astype(float)
    shares = with_flips(label_shares(votes), 0.25)
    total, reps = 0.0, 4000
    for _ in range(reps):
        drawn = np.take_along_axis(votes, rng.integers(0, 13, (40, 4)), axis=1)
        coin = rng.random((40, 4)) < 0.5
        drawn = np.where(coin, rng.integers(0, 2, (40, 4)), drawn)
        others = drawn.sum(axis=1, keepdims=True) - drawn
        total += (drawn != (others >= 2)).mean()
    assert total / reps == pytest.approx(disagreement(shares).mean(), abs=0.003)
