"""Intervals and tests for the mean of one number per instruction.

Everything here takes one number per independent unit. An instruction is such a unit; several
verdicts on one instruction are averaged before they come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

EXACT_SIGN_FLIPS = 14
"""Up to this many nonzero differences, all 2**14 = 16384 sign flips are enumerated."""

ROUNDING = 1e-12
"""Numbers that differ by no more are equal."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its standard error and its confidence interval, all in the units of the values.

    `n` is the number of values; `standard_error` is nan for a single one.
    """

    value: float
    standard_error: float
    low: float
    high: float
    n: int
    level: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width; the interval need not be symmetric about the value."""
        return (self.high - self.low) / 2


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of `values`, shape (n,), each in [0, 1], with a Wilson interval.

    The standard error is std(ddof=1) / sqrt(n). The interval is Wilson's score interval,

        (p + k / 2 -+ sqrt(k * (p * (1 - p) + k / 4))) / (1 + k),   k = t**2 / n_eff,

    with p the mean, t Student's quantile at max(n - 1, 1) degrees of freedom and an effective
    sample size n_eff = n / r, where r = min(1, (m2 + e) / (p * (1 - p) + e)), m2 is the variance
    (ddof=0) and e = 10 / (n * (10 + m)), m being the number of values other than the most frequent
    one. The ratio r compares the variance with the largest that values in [0, 1] of this mean can
    have: it is 1 for zeros and ones, which gives Wilson's interval itself, and smaller for soft
    preferences. Where nearly all values are the same, the observed variance says little, as a
    sample without the rare other value looks constant; e is what such a value would add, and
    vanishes as the values vary. So n values of 0 give Wilson's interval of 0 in n, and equal
    values never give zero width.

    Raises ValueError for no values and for values that are not in [0, 1].
    Source: Wilson (1927), Journal of the American Statistical Association 22; r and e are ours.
    """
    checked = _checked(values, 0.0, 1.0)
    rounded = (checked / ROUNDING).round()
    others = checked.size - int(np.unique(rounded, return_counts=True)[1].max())
    low, high = _wilson(checked - 0.5, others, level)
    value = float(checked.mean())
    return Interval(
        value=value,
        standard_error=_standard_error(checked),
        low=min(max(0.5 + low, 0.0), value),
        high=max(min(0.5 + high, 1.0), value),
        n=checked.size,
        level=level,
    )


def difference_interval(differences: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of paired `differences`, shape (n,), each in [-1, 1], with its interval.

    It is `mean_interval` of (d + 1) / 2, mapped back, so that everything is in units of d, with m
    the number of differences that are not zero. Negated differences give the negated interval, to
    the last bit. It leaves zero out exactly where `paired_p` is below 1 - level.
    """
    checked = _checked(differences, -1.0, 1.0)
    low, high = _wilson(checked / 2, int(np.count_nonzero(np.abs(checked) > ROUNDING)), level)
    value = float(checked.mean())
    return Interval(
        value=value,
        standard_error=_standard_error(checked),
        low=min(max(2 * low, -1.0), value),
        high=max(min(2 * high, 1.0), value),
        n=checked.size,
        level=level,
    )


def influence_interval(
    value: float, influence: ArrayLike, n_others: int, level: float = 0.95
) -> Interval:
    """The interval of an estimate in [0, 1] that is fitted rather than a plain mean.

    `influence`, shape (n,), is each instruction's pull on `value`: how far the estimate would move,
    times n, if the instruction were left out. The standard error is std(ddof=1) / sqrt(n) of it.
    The interval is that of `mean_interval` with the variance of the influence for that of the
    values, so that a fit that costs precision widens it beyond a proportion's; `n_others` is the
    number of preferences other than the most frequent one.
    """
    checked = _checked(influence, -np.inf, np.inf)
    if not 0 <= value <= 1:
        raise ValueError(f"the value is {value}, not in [0, 1]")
    n = checked.size
    largest, unseen = value * (1 - value), 10 / (n * (10 + n_others))
    ratio = (float(checked.var()) + unseen) / (largest + unseen)
    low, high = _wilson_ends(value - 0.5, ratio, n, level)
    return Interval(
        value=value,
        standard_error=_standard_error(checked),
        low=min(max(0.5 + low, 0.0), value),
        high=max(min(0.5 + high, 1.0), value),
        n=n,
        level=level,
    )


def paired_p(differences: ArrayLike) -> float:
    """The two-sided p-value of paired differences, shape (n,), each in [-1, 1], having mean zero.

    See `paired_p_rows`.
    """
    checked = _checked(differences, -1.0, 1.0)
    return float(paired_p_rows(checked[None], np.array([checked.size]))[0])


def paired_p_rows(differences: Floats, n: NDArray[np.int64]) -> Floats:
    """The two-sided p-value of each row of `differences`, shape (rows, columns), having mean zero.

    `n`, shape (rows,), is the number of differences in a row; the other entries must be 0. It is
    the score test that `difference_interval` inverts: with u = (d + 1) / 2 and r as there, the
    mean of u less 0.5, over sqrt(0.25 * r / n), against Student's t. A row without differences has
    p = 1.
    """
    count = np.maximum(n, 1)
    mean = differences.sum(axis=1) / count / 2
    variance = np.square(differences).sum(axis=1) / count / 4 - mean**2
    others = np.count_nonzero(np.abs(differences) > ROUNDING, axis=1)
    ratio = _variance_ratio(mean, variance, others, count)
    t = np.abs(mean) / np.sqrt(0.25 * ratio / count)
    p: Floats = np.where(n > 0, 2 * stdtr(np.maximum(count - 1, 1), -t), 1.0)
    return p


def sign_flip_p(differences: ArrayLike) -> float:
    """The two-sided p-value of differences, shape (n,), being symmetric about zero.

    If they are symmetric about zero, then every choice of signs was equally likely, and p is the
    share of them whose absolute sum is at least the one observed. Up to `EXACT_SIGN_FLIPS` nonzero
    differences are enumerated; with more, the sum of random signs is taken as normal with the
    variance that it has, sum(d**2). Zeros count for nothing; zeros alone have p = 1.
    """
    checked = _checked(differences, -np.inf, np.inf)
    nonzero = checked[checked != 0]
    if nonzero.size <= EXACT_SIGN_FLIPS:
        return _enumerated_p(nonzero)
    return float(2 * ndtr(-np.abs(nonzero.sum()) / np.sqrt(np.square(nonzero).sum())))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p-values, in the shape of `p_values`.

    Rejecting where they are at most alpha keeps the chance of any false rejection among all of
    the tests at most alpha, however the tests depend on each other.
    Source: Holm (1979), Scandinavian Journal of Statistics 6.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):  # also false for nan
        raise ValueError("p-values must be in [0, 1]")
    order = np.argsort(p, axis=None, kind="stable")
    remaining = p.size - np.arange(p.size)
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(remaining * p.ravel()[order]), 1.0)
    return adjusted.reshape(p.shape)


def smallest_detectable(
    standard_deviation: float, n: int, level: float = 0.95, power: float = 0.8
) -> float:
    """The smallest mean paired difference that n instructions detect with this power.

    `standard_deviation` is that of the paired differences; the test is two-sided at 1 - level, by
    the normal approximation.
    """
    check_level(level)
    if not 0 < power < 1:
        raise ValueError(f"power must be between 0 and 1, not {power}")
    if n < 1 or not standard_deviation >= 0:
        raise ValueError(
            f"n must be at least 1 and the deviation at least 0, not {n} and {standard_deviation}"
        )
    quantiles = float(ndtri((1 + level) / 2) + ndtri(power))
    return quantiles * standard_deviation / float(np.sqrt(n))


def _variance_ratio(mean: Any, variance: Any, others: Any, n: Any) -> Any:
    """The r of `mean_interval`, for numbers or arrays; `mean` is less 0.5."""
    largest_variance = 0.25 - mean**2
    unseen = 10 / (n * (10 + others))
    return np.minimum(1.0, (np.maximum(variance, 0.0) + unseen) / (largest_variance + unseen))


def _wilson(centred: Floats, others: int, level: float) -> tuple[float, float]:
    """The interval of `mean_interval` for values less 0.5, again less 0.5.

    About the middle of the range the formula is odd in its argument, so that mirrored values give
    exactly mirrored ends.
    """
    n = centred.size
    mean = float(centred.mean())
    ratio = float(_variance_ratio(mean, float(centred.var()), others, n))
    return _wilson_ends(mean, ratio, n, level)


def _wilson_ends(mean: float, ratio: float, n: int, level: float) -> tuple[float, float]:
    """Wilson's interval of a mean less 0.5, for an effective sample size of n / ratio."""
    check_level(level)
    k = float(stdtrit(max(n - 1, 1), (1 + level) / 2)) ** 2 * ratio / n
    half = float(np.sqrt(k * (0.25 - mean**2 + k / 4)))
    return (mean - half) / (1 + k), (mean + half) / (1 + k)


def _standard_error(values: Floats) -> float:
    if values.size == 1:
        return float("nan")
    return float(values.std(ddof=1) / np.sqrt(values.size))


def _enumerated_p(differences: Floats) -> float:
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    # The tolerance counts sums that are equal but for rounding.
    return float(np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-12))


def _checked(values: ArrayLike, smallest: float, largest: float) -> Floats:
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 1:
        raise ValueError(f"values must have one dimension, not {checked.ndim}")
    if checked.size == 0:
        raise ValueError("no values")
    outside = ~((checked >= smallest) & (checked <= largest))  # also true for nan
    if outside.any():
        at = int(np.argmax(outside))
        raise ValueError(f"value {at} is {checked[at]}, not in [{smallest:g}, {largest:g}]")
    return checked


def check_level(level: float) -> None:
    """Raises ValueError unless `level` is a confidence level."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
