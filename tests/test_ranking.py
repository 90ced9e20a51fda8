"""Paired tests of all pairs and the ranks that they leave open."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from leaderboard.statistics.ranking import (
    Pairs,
    paired_differences,
    paired_estimates,
    rank_intervals,
    ranks,
    tie_groups,
)
from leaderboard.statistics.uncertainty import Floats, holm, paired_p

nan = math.nan
cells = st.one_of(st.just(nan), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
matrices = npst.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 18)), elements=cells)


@given(matrices)
def test_every_pair_by_itself(preferences: Floats) -> None:
    pairs = paired_differences(preferences)
    upper = []
    for i, first in enumerate(preferences):
        for j, second in enumerate(preferences):
            both = ~np.isnan(first) & ~np.isnan(second)
            differences = first[both] - second[both]
            assert pairs.n_common[i, j] == both.sum()
            expected = differences.mean() if both.any() else nan
            assert pairs.difference[i, j] == pytest.approx(expected, abs=1e-12, nan_ok=True)
            p = paired_p(differences) if both.any() else 1.0
            assert pairs.p_value[i, j] == pytest.approx(p, abs=1e-9)
            if i < j:
                upper.append((i, j, p))
    adjusted = holm([p for _, _, p in upper])
    for (i, j, _), p in zip(upper, adjusted, strict=True):
        assert pairs.holm[i, j] == pairs.holm[j, i] == pytest.approx(p, abs=1e-9)


@given(matrices)
def test_swapping_two_models_mirrors_their_pair(preferences: Floats) -> None:
    pairs = paired_differences(preferences)
    np.testing.assert_array_equal(pairs.difference, -pairs.difference.T)
    for symmetric in (pairs.p_value, pairs.holm, pairs.n_common):
        np.testing.assert_array_equal(symmetric, symmetric.T)
    mirrored = paired_differences(1 - preferences)
    np.testing.assert_allclose(mirrored.difference, -pairs.difference, atol=1e-12)
    assert np.all(np.diag(pairs.p_value) == 1)
    assert np.all(np.diag(pairs.holm) == 1)


@given(st.data(), matrices)
def test_the_order_of_models_does_not_matter(data: st.DataObject, preferences: Floats) -> None:
    order = np.array(data.draw(st.permutations(range(len(preferences)))))
    shuffled = paired_differences(preferences[order])
    pairs = paired_differences(preferences)
    square = np.ix_(order, order)
    np.testing.assert_allclose(shuffled.difference, pairs.difference[square], atol=1e-12)
    np.testing.assert_allclose(shuffled.holm, pairs.holm[square], atol=1e-9)
    low, high = rank_intervals(pairs)
    assert np.all((low >= 1) & (low <= high) & (high <= len(preferences)))


def test_the_reference_is_a_model_like_any_other() -> None:
    rng = np.random.default_rng(0)
    preferences = np.vstack([rng.uniform(0.3, 1, 100), np.full(100, 0.5), rng.uniform(0, 0.7, 100)])
    pairs = paired_differences(preferences)
    assert pairs.difference[0, 1] == pytest.approx(preferences[0].mean() - 0.5)
    low, high = rank_intervals(pairs)
    assert (low.tolist(), high.tolist()) == ([1, 2, 3], [1, 2, 3])


def test_models_without_a_common_instruction() -> None:
    pairs = paired_differences(np.array([[1.0, nan], [nan, 0.0], [1.0, 0.0]]))
    assert math.isnan(pairs.difference[0, 1])
    assert pairs.p_value[0, 1] == pairs.holm[0, 1] == 1
    assert pairs.n_common.tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 2]]
    low, high = rank_intervals(pairs)
    assert (low.tolist(), high.tolist()) == ([1, 1, 1], [3, 3, 3])


def test_equal_models_are_exactly_equal() -> None:
    row = np.random.default_rng(1).uniform(0, 1, 805)
    pairs = paired_differences(np.vstack([row, row]))
    assert np.all(pairs.difference == 0)
    assert np.all(pairs.p_value == 1)


@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        (np.zeros(3), "two dimensions, not 1"),
        (np.array([[0.5, 1.1]]), "in \\[0, 1\\]"),
        (np.array([[-math.inf]]), "in \\[0, 1\\]"),
    ],
)
def test_bad_preferences_are_refused(preferences: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_differences(preferences)


def a_ranking() -> Pairs:
    """Four models: 0 beats 2 and 3 and is nearly told from 1; 1 beats 3."""
    difference = np.array([[0, 1, 2, 3], [-1, 0, 1, 2], [-2, -1, 0, 1], [-3, -2, -1, 0]]) / 10
    p = np.ones((4, 4))
    for i, j, value in [(0, 1, 0.1), (0, 2, 0.05), (0, 3, 0.0), (1, 3, 0.01)]:
        p[i, j] = p[j, i] = value
    return Pairs(difference=difference, p_value=p / 6, holm=p, n_common=np.full((4, 4), 9))


def test_rank_intervals_by_hand() -> None:
    low, high = rank_intervals(a_ranking())
    assert (low.tolist(), high.tolist()) == ([1, 1, 2, 3], [2, 3, 4, 4])
    low, high = rank_intervals(a_ranking(), level=0.9)  # the p of exactly 0.1 now counts
    assert (low.tolist(), high.tolist()) == ([1, 2, 2, 3], [1, 3, 4, 4])
    with pytest.raises(ValueError, match="level"):
        rank_intervals(a_ranking(), level=95)


@given(npst.arrays(np.float64, (4, 40), elements=st.floats(0, 1)))
def test_the_rank_by_value_lies_within_its_interval(preferences: Floats) -> None:
    pairs = paired_differences(preferences)
    low, high = rank_intervals(pairs)
    means = preferences.mean(axis=1)
    assert np.all(low <= ranks(means))
    assert np.all(low <= high)
    narrow_low, narrow_high = rank_intervals(pairs, level=0.5)
    assert np.all((narrow_low >= low) & (narrow_high <= high))


def test_noise_is_seldom_ranked() -> None:
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(200):
        low, high = rank_intervals(paired_differences(rng.uniform(0, 1, (6, 60))))
        wrong += bool(np.any(low > 1) or np.any(high < 6))
    assert wrong <= 20  # at most 5 % of 200 are expected


def test_ranks_by_hand() -> None:
    assert ranks([0.5, 0.9, 0.9, nan, 0.1, nan]).tolist() == [3, 1, 1, 5, 4, 5]
    assert ranks([]).tolist() == []
    assert ranks([nan, 0.0]).tolist() == [2, 1]


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, nan]), max_size=12))
def test_a_rank_counts_the_larger_values(values: list[float]) -> None:
    present = [value for value in values if not math.isnan(value)]
    expected = [
        1 + (len(present) if math.isnan(value) else sum(other > value for other in present))
        for value in values
    ]
    assert ranks(values).tolist() == expected


def test_tie_groups_by_hand() -> None:
    low, high = rank_intervals(a_ranking())
    # 2 overlaps 0 only at rank 2; 3 does not overlap 0 and starts a group of its own.
    assert tie_groups([0.8, 0.7, 0.6, 0.5], low, high).tolist() == [1, 1, 1, 2]
    assert tie_groups([0.5, 0.9, nan, 0.7], [2, 1, 4, 2], [3, 1, 4, 3]).tolist() == [2, 1, 3, 2]
    assert tie_groups([], [], []).tolist() == []


@given(st.data(), st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_properties_of_tie_groups(data: st.DataObject, values: list[float]) -> None:
    n = len(values)
    low = np.array(data.draw(st.lists(st.integers(1, n), min_size=n, max_size=n)))
    high = np.array([data.draw(st.integers(int(best), n)) for best in low])
    groups = tie_groups(values, low, high)
    down = groups[np.argsort(-np.array(values), kind="stable")]
    assert down[0] == 1
    assert set(np.diff(down)) <= {0, 1}
    assert set(tie_groups(values, np.ones(n), np.full(n, n))) == {1}
    separate = tie_groups(values, np.arange(n), np.arange(n))
    assert sorted(separate) == list(range(1, n + 1))


def test_bad_displays_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        tie_groups([0.5], [1, 2], [1, 2])
    with pytest.raises(ValueError, match="one dimension"):
        ranks([[0.5]])


# ------------------------------------------------------------------------------- fitted estimates
def test_estimates_that_are_plain_means_are_tested_as_means() -> None:
    """With the deviations as influence, the difference is that of the means and p nearly so."""
    rng = np.random.default_rng(4)
    preferences = np.clip(rng.normal([[0.3], [0.5], [0.52]], 0.2, (3, 400)), 0, 1)
    values = preferences.mean(axis=1)
    pairs = paired_estimates(values, preferences - values[:, None])
    means = paired_differences(preferences)
    np.testing.assert_allclose(pairs.difference, means.difference, atol=1e-12)
    np.testing.assert_allclose(pairs.p_value, means.p_value, rtol=0.15, atol=1e-9)
    np.testing.assert_array_equal(pairs.n_common, means.n_common)


@given(matrices)
def test_estimates_are_tested_alike_from_both_sides(preferences: Floats) -> None:
    values = np.nan_to_num(np.clip(np.nanmax(np.nan_to_num(preferences), axis=1), 0, 1))
    pairs = paired_estimates(values, preferences - 0.5)
    np.testing.assert_array_equal(pairs.difference, -pairs.difference.T)
    np.testing.assert_array_equal(pairs.p_value, pairs.p_value.T)
    assert np.all((pairs.p_value >= 0) & (pairs.p_value <= 1))
    assert np.all(np.diag(pairs.holm) == 1)


def test_equal_estimates_cannot_be_told_apart() -> None:
    influence = np.zeros((2, 50))
    pairs = paired_estimates(np.array([0.5, 0.5]), influence)
    assert pairs.p_value[0, 1] == 1
    apart = paired_estimates(np.array([0.9, 0.1]), influence)
    assert apart.p_value[0, 1] < 0.001


def test_estimates_of_bad_shapes_and_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="do not go with"):
        paired_estimates(np.array([0.5]), np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        paired_estimates(np.array([0.5, 1.5]), np.zeros((2, 5)))
