"""How alike two scores rank the same models, on the same instructions.

Spearman's and Kendall's coefficients (the latter tau-b) of the models' mean preferences, with an
interval from resampling the instructions, the same ones for both scores. The models are taken as
they are: the interval says what other instructions might have shown, not what other models might.

Resampling adds noise to noise, which draws coefficients towards 0: where models are close, the
quantiles alone (Efron's percentile interval) lie beside the truth. So the interval holds them and
their mirror image about the coefficient (the basic interval; Davison and Hinkley, Bootstrap Methods
and their Application, 1997, ch. 5), within -1 and 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from leaderboard.statistics.uncertainty import check_level

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Two rankings of the same models; the interval is Spearman's."""

    spearman: float
    kendall: float
    low: float
    high: float
    n_models: int
    level: float


def rank_correlation(
    one: Floats, other: Floats, *, level: float = 0.95, n_rounds: int = 2000, seed: int = 0
) -> RankCorrelation | None:
    """The rank correlation of two scores; `one` and `other` have the shape (models, instructions),
    and NaN where a preference is missing.

    None where there are fewer than three models, or all score the same by one of the two: nothing
    is ranked then. A round of the resampling without a value is left out. Raises ValueError for
    other shapes, and for a model without any preference.
    """
    check_level(level)
    if one.ndim != 2 or one.shape != other.shape:
        raise ValueError(f"two arrays (models, instructions), not {one.shape} and {other.shape}")
    both = np.stack([one, other])
    if np.isnan(both).all(axis=2).any():
        raise ValueError("a model has no preference at all")
    n_models, n = one.shape
    means = np.nanmean(both, axis=2)
    spearman = _spearman(means[0], means[1])
    if n_models < 3 or math.isnan(spearman):
        return None
    known, values = (~np.isnan(both)).astype(float), np.nan_to_num(both)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_rounds):
        times = np.bincount(rng.integers(n, size=n), minlength=n).astype(float)
        counts = known @ times
        if counts.all():
            again = values @ times / counts
            found.append(_spearman(again[0], again[1]))
    low, high = _interval(np.array(found), spearman, level)
    kendall = float(kendalltau(means[0], means[1]).statistic)
    return RankCorrelation(spearman, kendall, low, high, n_models, level)


def _spearman(one: Floats, other: Floats) -> float:
    """NaN where one of the two is constant."""
    a, b = (rankdata(values.round(12)) - (len(values) + 1) / 2 for values in (one, other))
    size = math.sqrt(float(a @ a) * float(b @ b))
    # Rounding must not leave the coefficient of two equal rankings beside 1.
    return round(float(a @ b) / size, 12) if size else math.nan


def _interval(found: Floats, value: float, level: float) -> tuple[float, float]:
    """The middle `level` of what was found and its mirror image; all is possible where nothing was."""
    there = found[~np.isnan(found)]
    if not len(there):
        return -1.0, 1.0
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2])
    return max(-1.0, min(low, 2 * value - high)), min(1.0, max(high, 2 * value - low))
