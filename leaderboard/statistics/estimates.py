"""A figure with its interval, the item being the unit: means, differences, and what is fitted.

An item is a pair of answers that was labelled. Several verdicts on one item are not independent;
all intervals here take items as drawn, whatever the number of verdicts on each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.statistics.uncertainty import (
    ROUNDING,
    Floats,
    Interval,
    check_level,
    difference_interval,
    influence_interval,
    mean_interval,
)

MEAN = "score interval over items"
DIFFERENCE = "paired score interval over items"
FITTED = "Wilson's interval from each item's influence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure, its interval at `level`, the `n` items that it rests on, and the interval's name."""

    value: float
    low: float
    high: float
    n: int
    level: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undefined:
    """A figure that these data do not have, and why, in words for a report."""

    reason: str
    n: int = 0


Figure = Estimate | Undefined


def from_interval(interval: Interval, method: str) -> Estimate:
    """An interval of `uncertainty` as an estimate."""
    return Estimate(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        level=interval.level,
        method=method,
    )


def mean_of(
    scores: ArrayLike,
    items: ArrayLike | None = None,
    level: float = 0.95,
    without: str = "no item has a verdict",
) -> Figure:
    """The mean of scores in [0, 1], shape (n,), nan where missing, with `mean_interval`.

    `items` says which scores belong to one item, which then counts once, with their mean; without
    it each is an item of its own. `without` is the reason to give where there are none. Raises
    ValueError for other numbers.
    """
    check_level(level)
    means = item_means(scores, items)
    if not means.size:
        return Undefined(reason=without)
    return from_interval(mean_interval(means, level), MEAN)


def difference_of(
    one: ArrayLike, other: ArrayLike, items: ArrayLike | None = None, level: float = 0.95
) -> Figure:
    """The mean of `one` - `other`, both in [0, 1] and of shape (n,), where neither is missing; items
    as in `mean_of`. Raises ValueError for other numbers and shapes that differ."""
    check_level(level)
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"the shapes differ: {first.shape}, {second.shape}")
    means = item_means(first - second, items)
    if not means.size:
        return Undefined(reason="no item has both")
    return from_interval(difference_interval(means, level), DIFFERENCE)


def item_means(scores: ArrayLike, items: ArrayLike | None = None) -> Floats:
    """The mean score of each item that has any, in the order of the items' ids."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"scores must have one dimension, not {values.ndim}")
    there = ~np.isnan(values)
    if items is None:
        return values[there]
    ids = np.asarray(items)
    if ids.shape != values.shape:
        raise ValueError(f"items must have the shape {values.shape}, not {ids.shape}")
    _, at = np.unique(ids[there], return_inverse=True)
    means: Floats = np.bincount(at, values[there]) / np.bincount(at)
    return means


def ratio_of(parts: Floats, wholes: Floats) -> Floats:
    """The parts over the wholes, both of shape (m,); nan where a whole is 0."""
    nowhere = np.full(len(parts), np.nan)
    found: Floats = np.divide(parts, wholes, out=nowhere, where=wholes > ROUNDING)
    return found


@dataclass(frozen=True, slots=True)
class Unseen:
    """Items that might have been drawn: `parts`, shape (kinds, ...), and how many of a kind were."""

    parts: Floats
    n_seen: Floats


def influence_of(
    parts: Floats, statistic: Callable[[Floats], Floats], unseen: Unseen | None = None
) -> Floats:
    """Each item's influence on a statistic of the sum of parts, shape (items, ...), by the jackknife.

    `statistic` takes sums of shape (m, ...) and gives m numbers, nan where it is undefined. An item
    without which it is undefined is doubled instead of left out. The rare item on which much hangs
    is often not in a small sample: each kind of `unseen` adds its squared influence / (items *
    (1 + n_seen)) to the variance, so that it counts as one item where none was drawn and vanishes
    as they are.
    """
    n = len(parts)
    total = parts.sum(axis=0)[None]
    value = statistic(total)
    without = statistic(total - parts)
    lost = np.isnan(without)
    influence: Floats = (n - 1) * (value - without)
    influence[lost] = (n + 1) * (statistic(total + parts[lost]) - value)
    variance = float(influence.var())
    if unseen is None or variance <= ROUNDING:
        return influence
    pulls = (n + 1) * (statistic(total + unseen.parts) - value)
    added = float((pulls**2 / (1 + unseen.n_seen)).sum()) / n
    scaled: Floats = (influence - influence.mean()) * np.sqrt(1 + added / variance)
    return scaled


def fitted(value: float, influence: Floats, n_others: int, level: float) -> Estimate:
    """A figure in [0, 1] that is more than a mean, with `influence_interval`."""
    return from_interval(influence_interval(value, influence, n_others, level), FITTED)


def chance_corrected(
    observed: float, expected: float, influence: Floats, n_others: int, level: float
) -> Estimate:
    """1 - `observed` / `expected`: disagreement, in [0, 1], against that of chance, above 0.

    The interval is that of `observed` by `influence_interval`, at an `expected` that stands still;
    how `expected` varies comes in by `influence`, shape (items,), which is on the ratio. So items
    that all agree have an interval as wide as their number deserves. `n_others` is the number of
    items whose disagreement is not the most frequent one.
    """
    inner = influence_interval(observed, influence * expected, n_others, level)
    return Estimate(
        value=1 - observed / expected,
        low=max(-1.0, 1 - inner.high / expected),
        high=1 - inner.low / expected,
        n=len(influence),
        level=level,
        method=FITTED,
    )


def n_unusual(scores: Floats) -> int:
    """How many scores are not the most frequent one, up to rounding."""
    return int(len(scores) - np.unique(scores.round(12), return_counts=True)[1].max())
