"""How alike do two scores rank the same models?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from leaderboard.statistics.rank_correlation import rank_correlation


def scores(n_models: int, n: int, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    quality = np.linspace(0.2, 0.8, n_models)[:, None]
    return np.clip(quality + noise * rng.standard_normal((n_models, n)), 0, 1)


def test_the_same_scores_rank_the_same():
    one = scores(6, 200, 0.1, 0)
    found = rank_correlation(one, one)
    assert found is not None
    assert (found.spearman, found.n_models) == (1, 6)
    assert found.kendall == pytest.approx(1)
    assert (found.low, found.high) == (1, 1)


def test_it_is_scipys_coefficient_of_the_means():
    one, other = scores(8, 50, 0.5, 1), scores(8, 50, 0.5, 2)
    found = rank_correlation(one, other)
    assert found is not None
    expected = spearmanr(one.mean(axis=1), other.mean(axis=1)).statistic
    assert found.spearman == pytest.approx(expected, abs=1e-12)
    assert found.low <= found.spearman <= found.high


def test_the_interval_is_wider_where_models_are_close():
    near = rank_correlation(scores(6, 60, 1.5, 3), scores(6, 60, 1.5, 4))
    far = rank_correlation(scores(6, 60, 0.1, 3), scores(6, 60, 0.1, 4))
    assert near is not None
    assert far is not None
    assert near.high - near.low > far.high - far.low


@given(seed=st.integers(0, 20))
def test_exchanging_the_two_changes_nothing_and_turning_one_turns_the_sign(seed):
    one, other = scores(5, 30, 0.4, seed), scores(5, 30, 0.4, seed + 100)
    found, exchanged, turned = (
        rank_correlation(a, b, n_rounds=50)
        for a, b in ((one, other), (other, one), (one, 1 - other))
    )
    assert found is not None
    assert found == exchanged
    assert turned is not None
    assert turned.spearman == pytest.approx(-found.spearman)
    assert turned.low == pytest.approx(-found.high)


@pytest.mark.parametrize(
    ("n_models", "n", "spread", "apart", "least"),
    [
        (6, 100, 0.1, 0.02, 0.9),
        (10, 200, 0.05, 0.0, 0.75),
        (20, 800, 0.1, 0.1, 0.9),
        (8, 200, 0.1, 0.3, 0.9),
    ],
)
def test_the_interval_holds_the_rank_correlation_of_all_instructions(
    n_models, n, spread, apart, least
):
    rng = np.random.default_rng(4)
    covered, rounds = 0, 80
    for _ in range(rounds):
        quality = 0.5 + spread * rng.standard_normal(n_models)
        other = np.clip(quality + apart * rng.standard_normal(n_models), 0, 1)
        one = (rng.random((n_models, n)) < quality[:, None]).astype(float)
        # Two judges that agree on six items of ten, and draw their own verdict on the rest.
        drawn = (rng.random((n_models, n)) < other[:, None]).astype(float)
        two = np.where(rng.random((n_models, n)) < 0.6, one, drawn)
        found = rank_correlation(one, two, n_rounds=200)
        assert found is not None
        truth = spearmanr(
            np.clip(quality, 0, 1), 0.6 * np.clip(quality, 0, 1) + 0.4 * other
        ).statistic
        covered += found.low - 1e-9 <= truth <= found.high + 1e-9
        assert found.low <= found.spearman <= found.high
    assert covered / rounds >= least


def test_nothing_is_ranked():
    assert rank_correlation(scores(2, 9, 0.1, 0), scores(2, 9, 0.1, 1)) is None
    assert rank_correlation(np.full((4, 9), 0.5), scores(4, 9, 0.1, 1)) is None


def test_missing_preferences_are_left_out():
    one, other = scores(4, 40, 0.2, 5), scores(4, 40, 0.2, 6)
    one[0, :39] = np.nan
    found = rank_correlation(one, other, n_rounds=200)
    assert found is not None
    assert -1 <= found.low <= found.high <= 1


def test_without_a_round_that_ranks_everything_is_possible():
    one, other = np.full((3, 3), np.nan), np.full((3, 3), np.nan)
    one[[0, 1, 2], [0, 1, 2]] = other[[0, 1, 2], [0, 1, 2]] = [0.1, 0.5, 0.9]
    found = rank_correlation(one, other, n_rounds=1, seed=0)
    assert found is not None
    assert (found.low, found.high) in ((-1, 1), (1, 1))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="two arrays"):
        rank_correlation(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="no preference"):
        rank_correlation(np.full((3, 4), np.nan), np.zeros((3, 4)))
