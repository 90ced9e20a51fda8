"""Plans: hand computations, what undoes what, and the test itself by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.statistics.power import (
    all_pairs_level,
    half_width,
    instructions_needed,
    power_at,
    smallest_detectable,
)
from leaderboard.statistics.uncertainty import paired_p_rows

deviations = st.floats(0.01, 1)
sizes = st.integers(2, 10_000)
powers = st.floats(0.05, 0.99)


def test_the_smallest_difference_by_hand() -> None:
    # (1.96290 + 0.84162) * 0.5 / sqrt(805), with Student's quantile at 804 degrees of freedom.
    assert smallest_detectable(0.5, 805) == pytest.approx(0.0494228, abs=1e-6)
    assert smallest_detectable(0.0, 1) == 0.0
    found = smallest_detectable(0.4, 10**6, level=0.9, power=0.7)
    power = scipy.stats.norm.sf(scipy.stats.norm.ppf(0.95) - found / 0.0004)
    assert power == pytest.approx(0.7, abs=1e-5)


def test_a_published_sample_size() -> None:
    # The paired t test with a standardised difference of 0.5: Cohen (1988), Statistical Power
    # Analysis, and G*Power say 34 pairs for 80 %; the normal approximation is one or two below.
    assert instructions_needed(1.0, 0.5) in (33, 34)
    assert instructions_needed(1.0, 0.2) in (198, 199)


def test_power_beside_a_second_implementation() -> None:
    # The noncentral t distribution is exact for normal differences.
    for n, difference in ((50, 0.05), (224, 0.03), (805, 0.02)):
        t = scipy.stats.t.ppf(0.975, n - 1)
        exact = scipy.stats.nct.sf(t, n - 1, difference / 0.2 * math.sqrt(n))
        assert power_at(0.2, n, difference) == pytest.approx(exact, abs=0.01)
        assert power_at(0.2, n, -difference) == power_at(0.2, n, difference)


@given(deviations, sizes, powers)
def test_the_smallest_difference_has_the_power_that_was_asked_for(
    deviation: float, n: int, power: float
) -> None:
    difference = smallest_detectable(deviation, n, power=power)
    if difference > 0:
        assert power_at(deviation, n, difference) == pytest.approx(power, abs=1e-9)


@given(deviations, st.floats(0.001, 1), powers)
def test_the_number_needed_is_the_smallest(
    deviation: float, difference: float, power: float
) -> None:
    n = instructions_needed(deviation, difference, power=power)
    assert n is not None
    assert smallest_detectable(deviation, n, power=power) <= difference
    if n > 1:
        assert smallest_detectable(deviation, n - 1, power=power) > difference


def test_what_a_billion_cannot_show_is_not_shown() -> None:
    assert instructions_needed(1.0, 1e-6) is None
    assert instructions_needed(0.0, 1e-6) == 1


def test_without_variation_every_difference_is_seen() -> None:
    assert power_at(0.0, 5, 0.01) == 1.0


def test_the_half_width_is_students() -> None:
    values = np.random.default_rng(0).random(60)
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert half_width(values.std(ddof=1), 60) == pytest.approx((interval.high - interval.low) / 2)


def test_all_pairs_are_tested_at_the_level_of_holms_first_step() -> None:
    assert all_pairs_level(2) == all_pairs_level(1) == all_pairs_level(0) == 0.95
    assert all_pairs_level(4) == pytest.approx(1 - 0.05 / 6)
    assert all_pairs_level(3, 0.9) == pytest.approx(1 - 0.1 / 3)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_bad_powers_are_refused(power: float) -> None:
    with pytest.raises(ValueError, match="power"):
        smallest_detectable(0.5, 10, power=power)


@pytest.mark.parametrize("plan", [smallest_detectable, half_width])
def test_bad_plans_are_refused(plan) -> None:
    for deviation in (-1.0, math.nan):
        with pytest.raises(ValueError, match="deviation"):
            plan(deviation, 5)
    with pytest.raises(ValueError, match="n must"):
        plan(0.5, 0)
    with pytest.raises(ValueError, match="level"):
        plan(0.5, 5, level=1.0)
    with pytest.raises(ValueError, match="difference"):
        instructions_needed(0.5, 0.0)
    with pytest.raises(ValueError, match="level"):
        all_pairs_level(3, 0.0)


def draws(rng, kind: str, mean: float, size: tuple[int, int]) -> np.ndarray:
    """Paired differences with this mean: soft ones, mostly ties, or verdicts of -1, 0 and 1."""
    if kind == "soft":
        return rng.normal(mean, 0.2, size).clip(-1, 1)
    share = 0.6 if kind == "hard" else 0.2
    u = rng.random(size)
    return np.where(u < (share + mean) / 2, 1.0, np.where(u < share, -1.0, 0.0))


@pytest.mark.parametrize("kind", ["soft", "hard", "ties"])
@pytest.mark.parametrize("n", [120, 500])
@pytest.mark.parametrize("power", [0.5, 0.8])
def test_the_test_of_two_rows_has_the_power_that_is_planned(
    kind: str, n: int, power: float
) -> None:
    rng = np.random.default_rng(1)
    deviation = {"soft": 0.2, "hard": math.sqrt(0.6), "ties": math.sqrt(0.2)}[kind]
    difference = smallest_detectable(deviation, n, power=power)
    found = draws(rng, kind, difference, (2000, n))
    p = paired_p_rows(found, np.full(2000, n))
    assert np.mean((p <= 0.05) & (found.mean(axis=1) > 0)) == pytest.approx(power, abs=0.06)
