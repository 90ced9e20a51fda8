"""How alike do two scores rank the same models, and how sure is that?

Spearman's and Kendall's coefficients (the latter tau-b), Pearson's and its square, and intervals
for Spearman's from what may vary: the models, the instructions that the scores are means over, or
both. Which interval covers how often is simulated (benchmarks/coverage_correlation.py).

Resampling instructions adds noise to noise, which draws coefficients towards 0: where models are
close, the quantiles alone (Efron's percentile interval) lie beside the truth. So such an interval
holds them and their mirror image about the coefficient (the basic interval; Davison and Hinkley,
Bootstrap Methods and their Application, 1997, ch. 5), within -1 and 1. Where the models vary too it
also holds the interval over models alone: more that varies cannot make it surer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import kendalltau, rankdata

from leaderboard.statistics.uncertainty import check_level

Floats = NDArray[np.float64]
Ends = tuple[float, float]
"""The low and the high end of an interval."""

MIN_MODELS = 3
"""Fewer are not ranked."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """How alike two scores of the same models are; `r_squared` is the square of Pearson's."""

    spearman: float
    kendall: float
    pearson: float
    r_squared: float
    n_models: int


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Two rankings of the same models; the interval is Spearman's, over instructions."""

    spearman: float
    kendall: float
    low: float
    high: float
    n_models: int
    level: float


def coefficients(one: Floats, other: Floats) -> Coefficients | None:
    """The coefficients of two scores, each of shape (models,); equal numbers are ties.

    None where there are fewer than three models, or all score the same by one of the two. Raises
    ValueError for other shapes and for numbers that are not finite.
    """
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"two arrays (models,), not {one.shape} and {other.shape}")
    if not np.isfinite([one, other]).all():
        raise ValueError("the scores must be finite")
    if len(one) < MIN_MODELS or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    pearson = float(_pearson(_scaled(one), _scaled(other)))
    return Coefficients(
        spearman=float(_spearman(one, other)),
        kendall=float(kendalltau(one, other).statistic),
        pearson=pearson,
        r_squared=pearson**2,
        n_models=len(one),
    )


# --------------------------------------------------------------------------------- intervals
def over_models(
    one: Floats, other: Floats, *, level: float = 0.95, n_rounds: int = 2000, seed: int = 0
) -> Ends:
    """Spearman's interval if other models might have been there; the scores have shape (models,).

    It holds the middle `level` of what resampled models give, and the interval on Fisher's scale
    with Bonett and Wright's standard error sqrt((1 + r**2 / 2) / (n - 3)) (Psychometrika 65, 2000).
    The former alone has no width where the rankings are equal, and the latter alone is too narrow
    where they nearly are. All is possible with fewer than four models.
    """
    check_level(level)
    n = len(one)
    value = float(_spearman(one, other))
    if n <= MIN_MODELS or math.isnan(value):
        return -1.0, 1.0
    rng = np.random.default_rng(seed)
    at = rng.integers(n, size=(n_rounds, n))
    low, high = _middle(_spearman(one[at], other[at]), level)
    # Halfway between equal rankings and those with a pair of neighbours exchanged.
    largest = 1 - 6 / (n**3 - n)
    bounded = min(max(value, -largest), largest)
    half = float(ndtri((1 + level) / 2)) * math.sqrt((1 + bounded**2 / 2) / (n - 3))
    ends = [math.tanh(math.atanh(bounded) + sign * half) for sign in (-1, 1)]
    return max(-1.0, min(low, ends[0], value)), min(1.0, max(high, ends[1], value))


def over_instructions(
    one: Floats, other: Floats, *, level: float = 0.95, n_rounds: int = 2000, seed: int = 0
) -> Ends:
    """Spearman's interval of the mean scores of these models, if other instructions were asked.

    `one` and `other` have the shape (models, instructions), NaN where a score is missing; a column
    is the same instruction in both, so that what they share is resampled together, and one that
    only one of them asked is missing in the other. Raises ValueError as `rank_correlation`.
    """
    return _resampled(one, other, level, n_rounds, seed, other_models=False)


def over_both(
    one: Floats, other: Floats, *, level: float = 0.95, n_rounds: int = 2000, seed: int = 0
) -> Ends:
    """Spearman's interval if other models and other instructions were there: both are resampled,
    and the interval `over_models` of the mean scores is held.

    Arrays and errors as for `over_instructions`.
    """
    alone = over_models(*mean_scores(one, other), level=level, n_rounds=n_rounds, seed=seed)
    return _outer(alone, _resampled(one, other, level, n_rounds, seed, other_models=True))


def from_standard_errors(
    one: Floats,
    other: Floats,
    errors: tuple[Floats, Floats],
    *,
    level: float = 0.95,
    n_rounds: int = 2000,
    seed: int = 0,
) -> Ends:
    """The middle `level` of Spearman's coefficient after normal noise of these standard errors is
    added to the scores; all arrays have shape (models,).

    It is what is usually published where only scores and standard errors are. The scores hold such
    noise already, so that it lies too low, and it takes the models as they are.
    """
    check_level(level)
    rng = np.random.default_rng(seed)
    return _middle(_spearman(*_noisy(one, other, errors, rng, n_rounds)), level)


def over_models_and_errors(
    one: Floats,
    other: Floats,
    errors: tuple[Floats, Floats],
    *,
    level: float = 0.95,
    n_rounds: int = 2000,
    seed: int = 0,
) -> Ends:
    """Spearman's interval if other models were there, and scores that vary by these standard errors:
    models are resampled and noise added, and the mirror image and the interval `over_models` held
    as in `over_both`."""
    check_level(level)
    rng = np.random.default_rng(seed)
    noisy = _noisy(one, other, errors, rng, n_rounds)
    at = rng.integers(len(one), size=(n_rounds, len(one)))
    again = (np.take_along_axis(scores, at, axis=1) for scores in noisy)
    alone = over_models(one, other, level=level, n_rounds=n_rounds, seed=seed)
    return _outer(alone, _mirrored(_spearman(*again), float(_spearman(one, other)), level))


def rank_correlation(
    one: Floats, other: Floats, *, level: float = 0.95, n_rounds: int = 2000, seed: int = 0
) -> RankCorrelation | None:
    """The rank correlation of two scores; `one` and `other` have the shape (models, instructions),
    and NaN where a preference is missing.

    None where there are fewer than three models, or all score the same by one of the two: nothing
    is ranked then. A round of the resampling without a value is left out. Raises ValueError for
    other shapes, and for a model without any preference.
    """
    found = coefficients(*mean_scores(one, other))
    if found is None:
        return None
    low, high = over_instructions(one, other, level=level, n_rounds=n_rounds, seed=seed)
    # Rounding must not leave the coefficient of two equal rankings beside 1.
    spearman = round(found.spearman, 12)
    return RankCorrelation(spearman, found.kendall, low, high, found.n_models, level)


def mean_scores(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """The models' mean preferences, equal where they differ by rounding alone."""
    if one.ndim != 2 or one.shape != other.shape:
        raise ValueError(f"two arrays (models, instructions), not {one.shape} and {other.shape}")
    both = np.stack([one, other])
    if np.isnan(both).all(axis=2).any():
        raise ValueError("a model has no preference at all")
    means = np.nanmean(both, axis=2).round(12)
    return means[0], means[1]


def _resampled(
    one: Floats, other: Floats, level: float, n_rounds: int, seed: int, *, other_models: bool
) -> Ends:
    check_level(level)
    value = float(_spearman(*mean_scores(one, other)))
    both = np.stack([one, other])
    n_models, n = one.shape
    known, values = (~np.isnan(both)).astype(float), np.nan_to_num(both)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_rounds):
        times = np.bincount(rng.integers(n, size=n), minlength=n).astype(float)
        at = rng.integers(n_models, size=n_models) if other_models else slice(None)
        counts = (known @ times)[:, at]
        if counts.all():
            found.append((values @ times)[:, at] / counts)
    again = np.array(found).reshape(-1, 2, n_models).round(12)
    return _mirrored(_spearman(again[:, 0], again[:, 1]), value, level)


def _noisy(
    one: Floats, other: Floats, errors: tuple[Floats, Floats], rng: np.random.Generator, n: int
) -> tuple[Floats, Floats]:
    """Both scores `n` times with normal noise, each of shape (n, models)."""
    noise = [error * rng.standard_normal((n, len(one))) for error in errors]
    return one + noise[0], other + noise[1]


def _mirrored(found: Floats, value: float, level: float) -> Ends:
    """The middle `level` and its mirror image about the value."""
    low, high = _middle(found, level)
    return max(-1.0, min(low, 2 * value - high)), min(1.0, max(high, 2 * value - low))


def _outer(one: Ends, other: Ends) -> Ends:
    """The interval that holds both."""
    return min(one[0], other[0]), max(one[1], other[1])


def _middle(found: Floats, level: float) -> Ends:
    """The middle `level` of what was found, NaN left out; all is possible where nothing was."""
    there = found[~np.isnan(found)]
    if not len(there):
        return -1.0, 1.0
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# ------------------------------------------------------------------------------ coefficients
def _spearman(one: Floats, other: Floats) -> Floats:
    """Of the last axis; NaN where one of the two is constant."""
    return _pearson(rankdata(one, axis=-1), rankdata(other, axis=-1))


def _pearson(one: Floats, other: Floats) -> Floats:
    """Of the last axis; NaN where one of the two is constant."""
    a, b = (values - values.mean(axis=-1, keepdims=True) for values in (one, other))
    size = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    product = (a * b).sum(axis=-1)
    found: Floats = np.divide(product, size, out=np.full_like(size, np.nan), where=size > 0)
    bounded: Floats = np.clip(found, -1.0, 1.0)
    return bounded


def _scaled(values: Floats) -> Floats:
    """Mapped onto [0, 1], which changes no correlation."""
    small: Floats = values / np.abs(values).max()  # their difference can be too large for a float
    unit: Floats = (small - small.min()) / np.ptp(small)
    return unit
