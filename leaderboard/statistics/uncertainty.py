"""Intervals and tests for the mean of one number per instruction.

Everything here takes one number per independent unit. An instruction is such a unit; several
verdicts on one instruction are averaged before they come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtr, stdtrit

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
    """The mean of `values`, shape (n,), each in [0, 1], with a score interval.

    The standard error is std(ddof=1) / sqrt(n). Each end of the interval lies at that distance x
    from the mean p at which a mean of p + x (or p - x) is just rejected,

        n * x**2 = t**2 * V(x),   V(x) = max(s2 + b * x - r * x**2, w * x * (a - x)),

    with t Student's quantile at max(n - 1, 1) degrees of freedom and V the variance that the values
    would have if their mean were x away. s2 is their variance (ddof=0) and r = s2 / (p * (1 - p))
    its share of the largest that values in [0, 1] of this mean can have. b is how fast it grows:
    r * (1 - 2 * p) for the upper end, as a proportion's does, or the mean of that and of m3 / s2,
    m3 being the third central moment, where this is larger; both change sign for the lower end.

    The second part of V is for a sample that looks constant because the rare other value is not in
    it. With a the distance from p to the end of the range, x * (a - x) is the variance if all of x
    came from unseen values at that end. It counts with w = 10 / (10 + m), m being the number of
    values far from the usual one, the median: a quarter of the way from it to the farther end of
    the range, or more; from a fifth on they count in part. So it vanishes as such values are seen.
    Nearer ones, however many, say nothing about a rare value at the end.

    Zeros and ones give Wilson's interval, with t. Equal values never give zero width.

    Raises ValueError for no values and for values that are not in [0, 1].
    Sources: Wilson (1927), Journal of the American Statistical Association 22; x * (a - x) is what
    empirical likelihood gives, Owen (2001), Empirical Likelihood; r, b and w are ours.
    """
    checked = _checked(values, 0.0, 1.0)
    centred = checked - 0.5
    low, high = _score_ends(centred, float(np.median(centred)), level)
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

    It is `mean_interval` of (d + 1) / 2, mapped back, so that everything is in units of d; the
    usual difference is taken to be zero. Negated differences give the negated interval, to the last
    bit. It leaves zero out exactly where `paired_p` is below 1 - level.
    """
    checked = _checked(differences, -1.0, 1.0)
    low, high = _score_ends(checked / 2, 0.0, level)
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

    `influence`, shape (n,), is each instruction's pull on `value`: how much the estimate owes to
    it, times n. The standard error is std(ddof=1) / sqrt(n) of it. The interval is Wilson's,

        (v + k / 2 -+ sqrt(k * (v * (1 - v) + k / 4))) / (1 + k),   k = t**2 * r / n,

    with v the value, t Student's quantile at max(n - 1, 1) degrees of freedom and r the ratio of
    the influence's variance (ddof=0) to v * (1 - v), a proportion's. It is not bounded by 1, so
    that a fit that costs precision widens the interval beyond a proportion's. To both parts of the
    ratio e = 10 / (n * (10 + n_others)) is added, `n_others` being the number of preferences other
    than the most frequent one: where nearly all are the same, the sample does not show what the
    rare other one would add. For a plain mean of zeros and ones it is Wilson's interval, with t.

    Raises ValueError for no influence, nan, and a value outside [0, 1].
    Source: Wilson (1927), Journal of the American Statistical Association 22; r and e are ours.
    """
    checked = _checked(influence, -np.inf, np.inf)
    error, variance = _standard_error(checked), float(checked.var())
    return _spread_interval(value, error, variance, checked.size, n_others, level)


def spread_interval(
    value: float, standard_error: float, n: int, n_others: int, level: float = 0.95
) -> Interval:
    """The interval of `influence_interval` for n > 1 instructions, where their influences are known
    by the standard error alone."""
    variance = standard_error**2 * (n - 1)
    return _spread_interval(value, standard_error, variance, n, n_others, level)


def _spread_interval(
    value: float, standard_error: float, variance: float, n: int, n_others: int, level: float
) -> Interval:
    if not 0 <= value <= 1:
        raise ValueError(f"the value is {value}, not in [0, 1]")
    largest, unseen = value * (1 - value), 10 / (n * (10 + n_others))
    ratio = (variance + unseen) / (largest + unseen)
    low, high = _wilson_ends(value - 0.5, ratio, n, level)
    return Interval(
        value=value,
        standard_error=standard_error,
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
    the score test that `difference_interval` inverts: with u = (d + 1) / 2, the mean of u less 0.5
    over sqrt(V / n), V being the variance there if the mean were 0.5, against Student's t. A row
    without differences has p = 1.
    """
    count = np.maximum(n, 1)
    halves = differences / 2
    squares = halves * halves
    mean, second = halves.sum(axis=1) / count, squares.sum(axis=1) / count
    third = (squares * halves).sum(axis=1) / count - 3 * mean * second + 2 * mean**3
    variance = np.maximum(second - mean**2, 0.0)
    # Seen from the mean, 0.5 lies below it or, in the mirror, above it.
    distance = np.abs(mean)
    ratio, slope = _growth(-distance, variance, -np.sign(mean) * third)
    unseen = weight_of_unseen(halves) * distance / 2
    there = np.maximum(variance + slope * distance - ratio * distance**2, unseen)
    share = np.divide(distance, there, out=np.zeros_like(mean), where=distance > 0)
    p: Floats = np.where(
        n > 0, 2 * stdtr(np.maximum(count - 1, 1), -np.sqrt(count * distance * share)), 1.0
    )
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


def weight_of_unseen(offsets: Floats, farthest: float = 0.5) -> Any:
    """The w = 10 / (10 + m) of `mean_interval` of each row, from how far its values are from the
    usual one, shape (..., n); `farthest` is how far the farther end of the range is from it."""
    return 10 / (10 + np.clip(20 * np.abs(offsets) / farthest - 4, 0, 1).sum(axis=-1))


def _score_ends(centred: Floats, usual: float, level: float) -> tuple[float, float]:
    """The interval of `mean_interval` for values less 0.5, again less 0.5; so is the usual value.

    About the middle of the range the formula is odd in its argument, so that mirrored values give
    exactly mirrored ends.
    """
    check_level(level)
    n, mean = centred.size, float(centred.mean())
    deviations = centred - mean
    squares = deviations * deviations
    variance, third = float(squares.mean()), float((squares * deviations).mean())
    k = float(stdtrit(max(n - 1, 1), (1 + level) / 2)) ** 2 / n
    k_unseen = k * float(weight_of_unseen(centred - usual, 0.5 + abs(usual)))
    below = _reach(-mean, variance, -third, k), k_unseen * (0.5 + mean) / (1 + k_unseen)
    above = _reach(mean, variance, third, k), k_unseen * (0.5 - mean) / (1 + k_unseen)
    return mean - max(below), mean + max(above)


def _reach(mean: float, variance: float, third: float, k: float) -> float:
    """How far the upper end lies above the mean by the first part of V; k is t**2 / n."""
    ratio, slope = (float(part) for part in _growth(mean, variance, third))
    half = k * slope / 2
    return float((half + np.sqrt(half**2 + (1 + k * ratio) * k * variance)) / (1 + k * ratio))


def _growth(mean: Any, variance: Any, third: Any) -> tuple[Any, Any]:
    """The r and, for the upper end, b of `mean_interval`, for numbers or arrays; `mean` is less 0.5.

    `third` is the third central moment.
    """
    largest = 0.25 - mean**2
    ratio = np.where(largest > ROUNDING, variance / np.maximum(largest, ROUNDING), 1.0)
    skew = np.where(variance > ROUNDING, third / np.maximum(variance, ROUNDING), 0.0)
    plain = -2 * ratio * mean
    return ratio, np.maximum(plain, (plain + skew) / 2)


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
