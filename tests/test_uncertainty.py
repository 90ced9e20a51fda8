"""Intervals and tests against exact values, a second implementation and their properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.statistics.uncertainty import (
    Interval,
    difference_interval,
    holm,
    mean_interval,
    paired_p,
    paired_p_rows,
    sign_flip_p,
)

fractions = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
values_lists = st.lists(fractions, min_size=1, max_size=40)
difference_lists = st.lists(
    st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1)), min_size=1, max_size=40
)
p_lists = st.lists(st.floats(0, 1), max_size=20)


def wilson_with_t(wins: int, n: int, level: float) -> tuple[float, float]:
    """The two roots of n * (x - p)**2 = t**2 * x * (1 - x): Wilson's definition."""
    t2 = scipy.stats.t.ppf((1 + level) / 2, max(n - 1, 1)) ** 2
    p = wins / n
    roots = np.roots([n + t2, -(2 * n * p + t2), n * p * p])
    return float(roots.min()), float(roots.max())


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(("wins", "n"), [(0, 1), (0, 20), (1, 20), (5, 10), (37, 50), (20, 20)])
def test_zeros_and_ones_give_wilsons_interval(wins: int, n: int, level: float) -> None:
    interval = mean_interval([1.0] * wins + [0.0] * (n - wins), level)
    assert (interval.low, interval.high) == pytest.approx(
        wilson_with_t(wins, n, level), rel=1e-9, abs=1e-12
    )


def test_many_zeros_and_ones_give_the_published_wilson_interval() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 is 0.2553 to 0.3662. That is
    # with the normal quantile; Student's at 262 degrees of freedom moves the ends by 0.0003.
    interval = mean_interval([1.0] * 81 + [0.0] * 182)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-4)


def test_soft_values_by_hand() -> None:
    # p = 0.5 and no skew, so b = 0; s2 = 0.04, r = 0.16: n * x**2 = t**2 * (0.04 - 0.16 * x**2).
    interval = mean_interval([0.3, 0.7] * 20)
    k = scipy.stats.t.ppf(0.975, 39) ** 2 / 40
    half = math.sqrt(0.04 * k / (1 + 0.16 * k))
    assert interval.value == pytest.approx(0.5)
    assert (interval.low, interval.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert interval.half_width == pytest.approx(half)
    assert interval.standard_error == pytest.approx(0.4 / math.sqrt(4 * 39))
    assert (interval.n, interval.level) == (40, 0.95)


def test_skewed_values_by_hand() -> None:
    # p = 0.36, s2 = 0.0704, m3 = 0.026112. Upwards r * (1 - 2 * p) is 0.0856 and less than m3 / s2,
    # 0.3709, so that b is their mean; downwards it is -0.0856, the larger of the two.
    interval = mean_interval([0.2] * 70 + [0.6] * 20 + [1.0] * 10)
    t2, r = scipy.stats.t.ppf(0.975, 99) ** 2, 0.0704 / (0.36 * 0.64)
    up = (r * 0.28 + 0.026112 / 0.0704) / 2
    above = np.roots([100 + t2 * r, -t2 * up, -t2 * 0.0704]).max()
    below = np.roots([100 + t2 * r, t2 * r * 0.28, -t2 * 0.0704]).max()
    assert (interval.low, interval.high) == pytest.approx((0.36 - below, 0.36 + above))


def test_nearly_equal_values_by_hand() -> None:
    # The median is 0.4, and 0.6 away from the farther end of the range. 0.44 lies less than a fifth
    # of the way there and 0.535 nine fortieths, which counts for a half: m = 0.5 and w = 10 / 10.5.
    # What was not seen weighs more than what was: n * x = t**2 * w * (a - x).
    interval = mean_interval([0.4] * 20 + [0.44] * 9 + [0.535])
    p = (0.4 * 20 + 0.44 * 9 + 0.535) / 30
    k = scipy.stats.t.ppf(0.975, 29) ** 2 / 30 * 10 / 10.5
    assert (interval.low, interval.high) == pytest.approx(
        (p - k * p / (1 + k), p + k * (1 - p) / (1 + k))
    )


def test_many_soft_values_give_students_interval() -> None:
    values = np.random.default_rng(0).beta(2, 2, 100_000)
    interval = mean_interval(values)
    student = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval.low == pytest.approx(student.low, abs=1e-7)
    assert interval.high == pytest.approx(student.high, abs=1e-7)
    assert interval.standard_error == pytest.approx(scipy.stats.sem(values), rel=1e-12)


def test_a_single_value_has_no_standard_error_but_an_interval() -> None:
    interval = mean_interval([0.5])
    assert math.isnan(interval.standard_error)
    assert interval.low < 0.03
    assert interval.high > 0.97


@pytest.mark.parametrize(
    ("draw", "mean", "n"),
    [
        ("binary", 0.02, 50),
        ("binary", 0.5, 50),
        ("u-shaped", 0.02, 50),
        ("u-shaped", 0.2, 120),
        ("flat", 0.02, 120),
    ],
)
def test_the_interval_covers_the_mean(draw: str, mean: float, n: int) -> None:
    rng = np.random.default_rng(7)
    concentration = {"binary": 0.0, "u-shaped": 0.3, "flat": 2.0}[draw]
    covered = 0
    for _ in range(1000):
        if draw == "binary":
            sample = (rng.random(n) < mean).astype(float)
        else:
            sample = rng.beta(mean * concentration, (1 - mean) * concentration, n)
        interval = mean_interval(sample)
        covered += interval.low <= mean <= interval.high
    assert covered >= 905  # 0.92 less two standard errors


@given(values_lists, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_interval_holds_its_value_within_the_range(values: list[float], level: float) -> None:
    interval = mean_interval(values, level)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.half_width > 0
    assert interval.value == pytest.approx(math.fsum(values) / len(values))


@given(values_lists)
def test_mirrored_values_give_the_mirrored_interval(values: list[float]) -> None:
    interval, mirrored = mean_interval(values), mean_interval([1 - value for value in values])
    assert mirrored.value == pytest.approx(1 - interval.value, abs=1e-12)
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-12)
    assert mirrored.high == pytest.approx(1 - interval.low, abs=1e-12)
    assert mirrored.standard_error == pytest.approx(interval.standard_error, abs=1e-12, nan_ok=True)


@given(st.lists(st.integers(0, 16), min_size=1, max_size=40))
def test_the_mirror_is_exact_for_binary_fractions(sixteenths: list[int]) -> None:
    difference = difference_interval([i / 8 - 1 for i in sixteenths])
    mirrored = difference_interval([1 - i / 8 for i in sixteenths])
    assert (mirrored.low, mirrored.high) == (-difference.high, -difference.low)


@given(st.data(), values_lists)
def test_the_order_of_values_does_not_matter(data: st.DataObject, values: list[float]) -> None:
    shuffled = mean_interval(data.draw(st.permutations(values)))
    interval = mean_interval(values)
    for name in ("value", "standard_error", "low", "high"):
        assert getattr(shuffled, name) == pytest.approx(
            getattr(interval, name), abs=1e-12, nan_ok=True
        )


@given(st.integers(1, 60), st.data())
def test_one_more_win_moves_both_ends_up(n: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, n - 1))
    before = mean_interval([1.0] * wins + [0.0] * (n - wins))
    after = mean_interval([1.0] * (wins + 1) + [0.0] * (n - wins - 1))
    assert after.low > before.low
    assert after.high > before.high


@given(values_lists)
def test_a_higher_level_and_fewer_values_widen(values: list[float]) -> None:
    interval = mean_interval(values)
    assert mean_interval(values, 0.99).half_width > interval.half_width
    assert mean_interval(values * 4).half_width < interval.half_width


@given(difference_lists)
def test_a_difference_is_a_mean_on_another_scale(differences: list[float]) -> None:
    # Most of them are zero, and none is zero but for rounding.
    differences = [round(d, 6) for d in differences] + [0.0] * (len(differences) + 1)
    interval = difference_interval(differences)
    mean = mean_interval([(d + 1) / 2 for d in differences])
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.value == pytest.approx(2 * mean.value - 1, abs=1e-12)
    assert interval.standard_error == pytest.approx(2 * mean.standard_error, abs=1e-12, nan_ok=True)
    assert (interval.low, interval.high) == pytest.approx(
        (2 * mean.low - 1, 2 * mean.high - 1), abs=1e-9
    )
    assert (interval.n, interval.level) == (len(differences), 0.95)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "no values"),
        ([0.5, 1.5], r"value 1 is 1.5, not in \[0, 1\]"),
        ([-0.1], "not in"),
        ([math.nan], "not in"),
        ([math.inf], "not in"),
        ([[0.5]], "one dimension, not 2"),
    ],
)
def test_bad_values_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
def test_bad_levels_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        mean_interval([0.5], level)


def test_differences_have_a_range_too() -> None:
    assert difference_interval([-1.0, -0.5]).value == -0.75
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        difference_interval([-1.5])


def test_an_interval_cannot_be_changed() -> None:
    interval = Interval(value=0.5, standard_error=0.1, low=0.3, high=0.8, n=2, level=0.95)
    with pytest.raises(AttributeError):
        interval.value = 1.0
    assert interval.half_width == pytest.approx(0.25)


def test_fishers_sign_flip_example() -> None:
    # Darwin's maize, as in Fisher (1935), The Design of Experiments, section 21: of the 2**15
    # flips, 863 reach the sum on one side, so p = 1726 / 32768 = 0.0527. One plant too many for
    # us to enumerate: the normal approximation must come near.
    inches = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]) / 80
    assert sign_flip_p(inches) == pytest.approx(1726 / 32768, abs=0.002)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_few_differences_are_enumerated(quarters: list[int]) -> None:
    observed = abs(sum(quarters))
    flips = [
        abs(sum(sign * d for sign, d in zip(signs, quarters, strict=True))) >= observed
        for signs in itertools.product([1, -1], repeat=len(quarters))
    ]
    assert sign_flip_p([d / 4 for d in quarters]) == pytest.approx(sum(flips) / len(flips))


@pytest.mark.parametrize("n", [14, 400])
def test_the_sign_flip_test_against_scipy(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3 / math.sqrt(n), 0.3, n)
    second = scipy.stats.permutation_test(
        (differences,),
        np.sum,
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=False,
        rng=np.random.default_rng(1),
    )
    tolerance = 1e-12 if n == 14 else 0.02
    assert sign_flip_p(differences) == pytest.approx(second.pvalue, abs=tolerance)


def test_fifteen_differences_are_taken_as_normal() -> None:
    ones = [1.0] * 12 + [-1.0] * 3
    assert sign_flip_p(ones) == pytest.approx(2 * scipy.stats.norm.sf(9 / math.sqrt(15)))
    assert sign_flip_p(ones[1:]) == pytest.approx(scipy.stats.binomtest(3, 14).pvalue)


def test_rounding_does_not_hide_equal_sums() -> None:
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0  # 0.1 + 0.2 - 0.3 is not quite 0
    assert sign_flip_p([0.1 + 0.2, 0.3]) == 0.5


@given(difference_lists)
def test_properties_of_the_sign_flip_test(differences: list[float]) -> None:
    p = sign_flip_p(differences)
    assert 0 <= p <= 1
    assert sign_flip_p([-d for d in differences]) == p
    assert sign_flip_p([*differences, 0.0, 0.0]) == pytest.approx(p, abs=1e-12)
    assert sign_flip_p([0.0] * len(differences)) == 1.0


def test_bad_differences_are_refused() -> None:
    with pytest.raises(ValueError, match="value 1 is nan"):
        sign_flip_p([0.1, math.nan])
    with pytest.raises(ValueError, match="no values"):
        sign_flip_p([])


def test_holm_by_hand() -> None:
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([[0.5, 0.2], [0.9, 0.01]]) == pytest.approx(np.array([[1.0, 0.6], [1.0, 0.04]]))
    assert holm([]).shape == (0,)


@given(p_lists, st.floats(0.001, 0.5))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float], alpha: float) -> None:
    rejected = [False] * len(p_values)
    for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[i] * (len(p_values) - step) > alpha:
            break
        rejected[i] = True
    adjusted = holm(p_values)
    assert (adjusted <= alpha).tolist() == rejected
    assert np.all((adjusted >= p_values) & (adjusted <= 1))


@pytest.mark.parametrize("p", [math.nan, -0.1, 1.1])
def test_bad_p_values_are_refused(p: float) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm([0.5, p])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.floats(0.5, 0.999))
def test_the_interval_of_a_difference_leaves_zero_out_where_its_test_does(
    differences: list[float], level: float
) -> None:
    interval = difference_interval(differences, level)
    p = paired_p(differences)
    if abs(p - (1 - level)) > 1e-6:
        assert (interval.low > 0 or interval.high < 0) == (p < 1 - level)


def test_the_paired_test_of_ordinary_differences_is_students() -> None:
    differences = np.random.default_rng(1).normal(0.02, 0.2, 2000).clip(-1, 1)
    expected = scipy.stats.ttest_1samp(differences, 0).pvalue
    assert paired_p(differences) == pytest.approx(expected, rel=0.02)
    assert paired_p([0.0] * 10) == 1.0
    assert paired_p([1.0]) > 0.05


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("n", [50, 224])
@pytest.mark.parametrize("events", [1, 2, 4, 7, 20])
@pytest.mark.parametrize(("usual", "rare"), [(0.5, 1.0), (0.5, 0.0), (0.9, 0.0), (0.1, 1.0)])
def test_a_rare_other_value_is_covered(
    n: int, events: int, usual: float, rare: float, noise: float
) -> None:
    share = events / n
    rng = np.random.default_rng(events)
    draws = np.where(
        rng.random((500, n)) < share, rare, rng.uniform(-1, 1, (500, n)) * noise + usual
    )
    truth = usual + share * (rare - usual)
    intervals = [mean_interval(draw) for draw in draws]
    assert np.mean([i.low <= truth <= i.high for i in intervals]) > 0.925


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("n", [50, 120, 224])
@pytest.mark.parametrize("grades", [[0.0, 0.1], [0.0, 0.0, 0.0, 0.0, 0.1], [0.0, 0.1, 0.2]])
def test_a_rare_other_value_is_covered_beside_grades_near_the_end(
    n: int, grades: list[float], mirror: bool
) -> None:
    rng = np.random.default_rng(n)
    draws = np.where(rng.random((1000, n)) < 1.2 / n, 1.0, rng.choice(grades, (1000, n)))
    truth = 1.2 / n + (1 - 1.2 / n) * float(np.mean(grades))
    intervals = [mean_interval(1 - draw if mirror else draw) for draw in draws]
    truth = 1 - truth if mirror else truth
    assert np.mean([i.low <= truth <= i.high for i in intervals]) > 0.925


def test_the_hardest_sample_that_was_found_is_covered_as_documented() -> None:
    draws = np.random.default_rng(0).choice([0, 0.25, 1], (2000, 50), p=[0.768, 0.192, 0.04])
    intervals = [mean_interval(draw) for draw in draws]
    assert 0.87 < np.mean([i.low <= 0.25 * 0.192 + 0.04 <= i.high for i in intervals]) < 0.92


@pytest.mark.parametrize("n", [50, 224])
@pytest.mark.parametrize("events", [4, 8, 20])
def test_the_paired_test_holds_its_size_where_most_differences_are_zero(
    n: int, events: int
) -> None:
    rng = np.random.default_rng(events)
    differences = (rng.random((2000, n)) < events / n) * rng.choice([-1.0, 1.0], (2000, n))
    p = paired_p_rows(differences, np.full(2000, n))
    assert 0.015 < np.mean(p < 0.05) < 0.065
