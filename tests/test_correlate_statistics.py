"""The figures behind `correlate`: coefficients, intervals, accuracy, and what lies far apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, norm, pearsonr, spearmanr

from leaderboard.statistics.rank_correlation import (
    coefficients,
    from_standard_errors,
    over_both,
    over_instructions,
    over_models,
    over_models_and_errors,
)
from leaderboard.statistics.ranking_accuracy import (
    adjusted,
    far_apart,
    leave_one_out,
    pairwise_accuracy,
    separation,
    swapped_pairs,
)

SIMULATED = np.array([79.0, 61.4, 46.8, 45.0, 41.9, 39.2, 36.7, 36.6, 24.4, 11.3])
HUMAN = np.array([69.8, 52.9, 55.1, 50.7, 45.7, 40.7, 44.3, 37.9, 32.5, 6.5])
SIMULATED_SE = np.array([1.4, 1.7, 1.8, 1.7, 1.7, 1.7, 1.7, 1.7, 1.5, 1.1])
HUMAN_SE = np.array([1.6, 1.7, 1.7, 1.8, 1.7, 1.7, 1.7, 1.7, 1.6, 0.9])
TRAINED = slice(2, 8)


def drawn(n: int, rho: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    one = rng.standard_normal(n)
    return one, rho * one + math.sqrt(1 - rho**2) * rng.standard_normal(n)


# ------------------------------------------------------------------------------ coefficients
def test_the_published_figures_of_alpaca_farm():
    whole, trained = (coefficients(SIMULATED[rows], HUMAN[rows]) for rows in (slice(None), TRAINED))
    assert whole is not None
    assert trained is not None
    assert round(whole.spearman, 4) == 0.9758
    assert round(whole.r_squared, 4) == 0.8706
    assert round(trained.spearman, 3) == 0.943


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(3, 40),
    grades=st.sampled_from([3, 10, 0]),
    scale=st.sampled_from([1e-200, 1e-9, 1.0, 1e9, 1e300]),
)
def test_coefficients_are_scipys(seed, n, grades, scale):
    one, other = drawn(n, 0.6, seed)
    if grades:  # ties
        one, other = np.round(one * grades / 3), np.round(other * grades / 3)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return
    found = coefficients(scale * one, other)
    assert found is not None
    assert found.spearman == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert found.kendall == pytest.approx(kendalltau(one, other).statistic, abs=1e-12)
    assert found.pearson == pytest.approx(pearsonr(one, other).statistic, abs=1e-12)
    assert found.r_squared == found.pearson**2


@given(seed=st.integers(0, 1000))
def test_turning_a_score_turns_every_sign(seed):
    one, other = drawn(9, 0.5, seed)
    found, turned, exchanged = (
        coefficients(a, b) for a, b in ((one, other), (one, 1 - other), (other, one))
    )
    assert found is not None
    assert turned is not None
    assert exchanged is not None
    for key in ("spearman", "kendall", "pearson"):
        assert getattr(turned, key) == pytest.approx(-getattr(found, key), abs=1e-12)
        assert getattr(exchanged, key) == pytest.approx(getattr(found, key), abs=1e-12)
    assert pairwise_accuracy(one, 1 - other).n_alike == pairwise_accuracy(one, other).n_swapped


def test_what_does_not_rank_has_no_coefficient():
    assert coefficients(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None
    assert coefficients(np.full(5, 0.1), np.arange(5.0)) is None
    with pytest.raises(ValueError, match="two arrays"):
        coefficients(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="finite"):
        coefficients(np.array([1.0, math.nan, 2.0]), np.arange(3.0))


# ----------------------------------------------------------------------------------- intervals
def test_the_interval_over_models_holds_bonett_and_wrights():
    for seed in range(20):
        one, other = drawn(12, 0.8, seed)
        r = float(spearmanr(one, other).statistic)
        half = norm.ppf(0.975) * math.sqrt((1 + r**2 / 2) / 9)
        low, high = over_models(one, other, n_rounds=200)
        assert (
            low <= math.tanh(math.atanh(r) - half) <= r <= math.tanh(math.atanh(r) + half) <= high
        )


def test_equal_rankings_have_an_interval_with_a_width():
    one = np.arange(10.0)
    low, high = over_models(one, one)
    assert 0.9 < low < 0.99
    assert high == 1
    assert over_models(one, -one) == pytest.approx((-1, -low))
    assert over_models(one[:3], one[:3]) == (-1, 1)
    assert over_models(one, np.ones(10)) == (-1, 1)


def test_the_interval_over_models_covers():
    # The whole of it, with more kinds of data, is benchmarks/coverage_correlation.py.
    for rho, n in ((0.95, 10), (0.5, 20)):
        truth = 6 / math.pi * math.asin(rho / 2)
        ends = [over_models(*drawn(n, rho, seed), n_rounds=200) for seed in range(300)]
        assert np.mean([low <= truth <= high for low, high in ends]) >= 0.93


def test_standard_errors_alone_give_the_published_intervals():
    low, high = from_standard_errors(SIMULATED, HUMAN, (SIMULATED_SE, HUMAN_SE), n_rounds=20_000)
    assert (low, high) == pytest.approx((0.88, 0.99), abs=0.011)
    few = from_standard_errors(
        SIMULATED[TRAINED], HUMAN[TRAINED], (SIMULATED_SE[TRAINED], HUMAN_SE[TRAINED])
    )
    assert few == pytest.approx((0.54, 1.00), abs=0.011)


def test_without_noise_the_standard_errors_leave_the_coefficient():
    nothing = np.zeros(10)
    ends = from_standard_errors(SIMULATED, HUMAN, (nothing, nothing), n_rounds=50)
    assert ends == pytest.approx((0.9757575757575757,) * 2)


def test_other_models_add_to_standard_errors():
    errors = (SIMULATED_SE, HUMAN_SE)
    narrow = from_standard_errors(SIMULATED, HUMAN, errors)
    low, high = over_models_and_errors(SIMULATED, HUMAN, errors)
    assert low < narrow[0]
    assert high == 1
    turned = over_models_and_errors(SIMULATED, -HUMAN, errors)
    assert turned == pytest.approx((-high, -low), abs=0.03)


def test_other_models_add_to_other_instructions():
    rng = np.random.default_rng(0)
    quality = np.linspace(0.2, 0.8, 12)[:, None]
    one, other = (np.clip(quality + rng.normal(0, 0.8, (12, 200)), 0, 1) for _ in range(2))
    narrow, wide = over_instructions(one, other), over_both(one, other)
    assert wide[0] < narrow[0]
    assert wide[1] >= narrow[1]
    # Asked on boards with other instructions, a column has one score and not the other.
    apart = [np.full((12, 400), np.nan) for _ in range(2)]
    apart[0][:, :200], apart[1][:, 200:] = one, other
    low, high = over_both(*apart)
    assert -1 <= low < high <= 1


@given(seed=st.integers(0, 1000), n=st.integers(4, 15), noise=st.sampled_from([0.0, 0.01, 0.5]))
def test_what_else_varies_never_narrows_the_interval_over_models(seed, n, noise):
    one, other = drawn(n, 0.9, seed)
    rng = np.random.default_rng(seed)
    asked = [score[:, None] + noise * rng.standard_normal((n, 30)) for score in (one, other)]
    alone = over_models(*(verdicts.mean(axis=1) for verdicts in asked), n_rounds=100)
    joint = over_both(*asked, n_rounds=100)
    assert joint[0] <= alone[0] <= alone[1] <= joint[1]
    errors = np.full(n, noise)
    alone = over_models(one, other, n_rounds=100)
    joint = over_models_and_errors(one, other, (errors, errors), n_rounds=100)
    assert joint[0] <= alone[0] <= alone[1] <= joint[1]


def test_a_perfect_order_with_small_errors_has_an_interval_with_a_width():
    one = np.linspace(20, 65, 10)
    low, high = over_models_and_errors(one, one + 2, (np.ones(10), np.ones(10)))
    assert 0.9 < low < 0.99
    assert high == 1


# ------------------------------------------------------------------------------ pairs of models
def test_accuracy_counts_ties_half_and_not_those_of_the_reference():
    found = pairwise_accuracy(np.array([3.0, 2.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0, 3.0]))
    # The reference tells 5 of 6 pairs apart; the middle two are a tie.
    assert (found.n_pairs, found.n_alike, found.n_swapped, found.n_tied) == (5, 0, 4, 1)
    assert found.share == pytest.approx(0.1)
    assert found.weighted is None


def test_a_pair_counts_by_how_surely_the_reference_separates_it():
    p = np.ones((3, 3))
    p[0, 1] = p[1, 0] = 1.0  # swapped, and nobody can tell
    p[0, 2] = p[2, 0] = 0.0
    p[1, 2] = p[2, 1] = 0.5
    reference = np.array([2.0, 1.0, 0.0])
    assert pairwise_accuracy(np.array([1.0, 2.0, 0.0]), reference, p).weighted == 1.0
    assert pairwise_accuracy(np.array([2.0, 0.0, 1.0]), reference, p).weighted == pytest.approx(
        2 / 3
    )
    assert pairwise_accuracy(reference, reference, np.ones((3, 3))).weighted is None
    assert pairwise_accuracy(reference, np.ones(3)).share is None


def test_separation_is_the_test_of_a_difference():
    p = separation(np.array([1.0, 2.0, 2.0]), np.array([0.3, 0.4, 0.0]))
    assert p[0, 1] == pytest.approx(2 * norm.sf(1 / 0.5))
    assert p[1, 2] == 1
    assert np.array_equal(p, p.T)
    assert np.array_equal(separation(np.array([1.0, 2.0]), np.zeros(2)), np.eye(2))


def test_holm_over_all_pairs():
    p = np.array([[1.0, 0.01, 0.02], [0.01, 1.0, 0.3], [0.02, 0.3, 1.0]])
    assert adjusted(p) == pytest.approx(np.array([[1, 0.03, 0.04], [0.03, 1, 0.3], [0.04, 0.3, 1]]))


def test_swaps_come_the_largest_first():
    assert swapped_pairs(SIMULATED, HUMAN) == [(5, 6), (1, 2)]
    assert swapped_pairs(HUMAN, SIMULATED) == [(6, 5), (2, 1)]
    assert swapped_pairs(HUMAN, HUMAN) == []


def test_the_anchors_of_alpaca_farm_lie_far_apart():
    assert np.flatnonzero(far_apart(SIMULATED, HUMAN)).tolist() == [0, 1, 8, 9]
    assert not far_apart(np.array([0.0, 0.0, 0.0, 9.0]), np.arange(4.0)).any()


def test_leaving_out_one_model():
    found = leave_one_out(SIMULATED, HUMAN)
    expected = [
        spearmanr(np.delete(SIMULATED, n), np.delete(HUMAN, n)).statistic for n in range(10)
    ]
    assert found == pytest.approx(expected, abs=1e-12)
    assert np.isnan(leave_one_out(np.arange(3.0), np.arange(3.0))).all()
