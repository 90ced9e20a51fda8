"""The interval of an estimate that is fitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from leaderboard.statistics.uncertainty import influence_interval, mean_interval


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0.5, 0.95]))
def test_of_a_share_it_is_the_interval_of_a_mean(wins: int, losses: int, level: float) -> None:
    values = np.array([1.0] * wins + [0.0] * (losses + 1))
    share = float(values.mean())
    plain = mean_interval(values, level)
    found = influence_interval(share, values - share, min(wins, losses + 1), level)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-9)
    assert found.standard_error == pytest.approx(plain.standard_error, nan_ok=True)
    assert (found.value, found.n, found.level) == (plain.value, plain.n, plain.level)


@given(st.floats(0, 1), st.lists(st.floats(-3, 3), min_size=1), st.integers(0, 50))
def test_negated_influence_on_one_less_the_value_mirrors_the_interval(
    value: float, influence: list[float], n_others: int
) -> None:
    here = influence_interval(value, influence, n_others)
    there = influence_interval(1 - value, [-i for i in influence], n_others)
    assert (here.low, here.high) == pytest.approx((1 - there.high, 1 - there.low), abs=1e-9)
    assert 0 <= here.low <= here.value <= here.high <= 1


def test_a_fit_that_costs_widens_it_beyond_a_proportion_s() -> None:
    # By hand: r = (0.5 + e) / (0.25 + e) with e = 10 / (4 * 12), k = t² r / 4, t = 3.182446 at 3.
    found = influence_interval(0.5, [0.5**0.5, -(0.5**0.5)] * 2, 2)
    e = 10 / 48
    k = 3.1824463**2 * (0.5 + e) / (0.25 + e) / 4
    half = np.sqrt(k * (0.25 + k / 4)) / (1 + k)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    proportion = mean_interval([0.0, 1.0, 0.0, 1.0])
    assert found.half_width > proportion.half_width


def test_no_influence_is_not_no_width() -> None:
    found = influence_interval(0.01, np.zeros(50), 0)
    assert found.low < 0.002
    assert found.high > 0.05


def test_one_instruction_has_an_interval_and_no_standard_error() -> None:
    found = influence_interval(0.7, [0.0], 0)
    assert np.isnan(found.standard_error)
    assert found.low < 0.1
    assert found.high > 0.9


def test_it_covers_where_wilson_alone_would_not() -> None:
    # The odds of a share, tripled: a value whose influence is not that of a share.
    rng = np.random.default_rng(0)
    held, held_by_wilson, truth = 0, 0, float(expit(np.log(3 * 0.1 / 0.9)))
    for _ in range(500):
        p = (rng.uniform(size=100) < 0.1).astype(float)
        share = float(p.mean())
        if 0 < share < 1:
            value = float(expit(np.log(3 * share / (1 - share))))
            slope = value * (1 - value) / (share * (1 - share))
            few = int(min(p.sum(), 100 - p.sum()))
            found = influence_interval(value, slope * (p - share), few)
            held += found.low <= truth <= found.high
            plain = influence_interval(value, 0.43 * (p < value), few)
            held_by_wilson += plain.low <= truth <= plain.high
    assert 0.92 <= held / 500 <= 0.98
    assert held_by_wilson / 500 < 0.9


@pytest.mark.parametrize(
    ("value", "influence", "level", "said"),
    [
        (1.1, [0.1], 0.95, "the value is 1.1"),
        (float("nan"), [0.1], 0.95, "the value is nan"),
        (0.5, [], 0.95, "no values"),
        (0.5, [[0.1]], 0.95, "one dimension"),
        (0.5, [0.1, float("nan")], 0.95, "value 1 is nan"),
        (0.5, [0.1, 0.2], 1.0, "level"),
    ],
)
def test_what_it_cannot_use_is_refused(
    value: float, influence: list[float], level: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        influence_interval(value, influence, 1, level)
