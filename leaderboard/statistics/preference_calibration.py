"""Do a judge's preferences mean what they say: of those at 0.8, do people prefer output 2 in 80 %?

The label of an item is the share of its humans who prefer output 2, a tie counting half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from leaderboard.statistics.class_tables import checked_humans
from leaderboard.statistics.estimates import Estimate, Figure, Undefined, mean_of
from leaderboard.statistics.uncertainty import Floats, check_level, mean_interval

N_ROUNDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The items with a preference from `begin` to `end`: their mean preference, and the label's."""

    begin: float
    end: float
    n: int
    preference: float
    label: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A reliability table and what sums it up; bins without items are left out.

    `brier` is the mean of (preference - label)². It is `reliability` - `resolution` + `uncertainty`
    + `within_bins`: how far the bins are off, how far they part the labels, how far the labels vary
    (less is not in the judge's power), and what the bins blur. `ece` is the mean distance of
    preference and label over the bins, an item weighing the same in each; even a calibrated judge
    has some, by chance. Its interval reaches the same way up and down: as far as the bins' gaps
    together moved in `level` of the bootstrap rounds over items (with Student's quantile, a degree
    of freedom for each bin), and at least as far as the interval of the mean distance of single
    items. By the triangle inequality ECE cannot have moved farther: it covers too often rather than
    too seldom.
    """

    bins: tuple[Bin, ...]
    brier: Figure
    ece: Figure
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float
    n: int


def calibration(
    judge: ArrayLike, humans: ArrayLike, n_bins: int = 10, level: float = 0.95, seed: int = 0
) -> Calibration | Undefined:
    """A judge's preferences, (items,), against human labels, (items, annotators), in bins of equal
    width, on the items that have both; undefined where there is none.

    Sources: Brier (1950), Monthly Weather Review 78; Murphy (1973), Journal of Applied Meteorology
    12; Naeini, Cooper and Hauskrecht (2015), AAAI, for ECE. Raises ValueError for preferences outside
    [0, 1], other labels than 0, 0.5 and 1, shapes that do not fit and no bins.
    """
    check_level(level)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, not {n_bins}")
    labels, given = checked_humans(humans), np.asarray(judge, dtype=np.float64)
    if given.shape != labels.shape[:1]:
        raise ValueError(f"{given.shape} preferences and {len(labels)} labelled items")
    if not (np.isnan(given) | ((given >= 0) & (given <= 1))).all():
        raise ValueError("preferences must be in [0, 1], or nan where missing")
    there = ~np.isnan(given) & ~np.isnan(labels).all(axis=1)
    if not there.any():
        return Undefined(reason="no item has a verdict and a human label")
    p, y = given[there], np.nanmean(labels[there], axis=1)
    at = np.minimum((p * n_bins).astype(int), n_bins - 1)
    bins = tuple(
        Bin(
            begin=k / n_bins,
            end=(k + 1) / n_bins,
            n=int((at == k).sum()),
            preference=float(p[at == k].mean()),
            label=mean_of(y[at == k], level=level),
        )
        for k in np.unique(at).tolist()
    )
    size = np.bincount(at)
    used = size > 0
    share = size[used] / len(p)
    said, seen = (np.bincount(at, of)[used] / size[used] for of in (p, y))
    reliability = float(share @ (said - seen) ** 2)
    resolution = float(share @ (seen - y.mean()) ** 2)
    brier = mean_of((p - y) ** 2, level=level)
    assert isinstance(brier, Estimate)
    return Calibration(
        bins=bins,
        brier=brier,
        ece=_ece(p - y, at, level, seed),
        reliability=reliability,
        resolution=resolution,
        uncertainty=float(y.var()),
        within_bins=brier.value - (reliability - resolution + float(y.var())),
        n=len(p),
    )


def _ece(gaps: Floats, at: Floats, level: float, seed: int) -> Estimate:
    n = len(gaps)
    by_bin = gaps[:, None] * (at[:, None] == np.unique(at)) / n
    mean = by_bin.sum(axis=0)
    value = float(np.abs(mean).sum())
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), N_ROUNDS)
    moved = np.abs(times @ by_bin - mean).sum(axis=1)
    # Each bin's mean takes a degree of freedom, which resampling does not know of.
    free = max(n - by_bin.shape[1], 1)
    wider = np.sqrt(n / free) * stdtrit(free, (1 + level) / 2) / ndtri((1 + level) / 2)
    single = mean_interval(np.abs(gaps), level)
    reach = max(float(np.quantile(moved, level) * wider), single.high - single.value)
    return Estimate(
        value=value,
        low=max(0.0, value - reach),
        high=min(1.0, value + reach),
        n=n,
        level=level,
        method="bootstrap of the bins' gaps over items, wide on purpose",
    )
