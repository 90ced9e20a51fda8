"""Krippendorff's alpha: how far any number of annotators agree beyond chance, with missing labels.

Alpha is 1 - observed / expected disagreement. Every label of an item with m labels is paired with
the m - 1 others, each pair weighing 1 / (m - 1); an item with one label says nothing. What chance
would give comes from all these labels together. How far two values lie apart is 0 or 1 (nominal),
the square of their distance in ranks of all labels (ordinal), or of their difference (interval).
Source: Krippendorff (2011), Computing Krippendorff's alpha-reliability.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.statistics.estimates import (
    Figure,
    Undefined,
    Unseen,
    chance_corrected,
    influence_of,
    n_unusual,
    ratio_of,
)
from leaderboard.statistics.uncertainty import Floats, check_level

Metric = Literal["nominal", "ordinal", "interval"]
MAX_VALUES = 100
"""Different values at most: alpha is for classes, and its tables grow with their square."""


def alpha(labels: ArrayLike, metric: Metric = "nominal", level: float = 0.95) -> Figure:
    """Alpha of labels, shape (items, annotators), any numbers, nan where missing.

    Undefined where no item has two labels, and where all of these are one value. `n` counts the
    items with two labels or more. Raises ValueError for other shapes, infinite values and more than
    `MAX_VALUES` different ones.
    """
    check_level(level)
    given = np.asarray(labels, dtype=np.float64)
    if given.ndim != 2:
        raise ValueError(f"labels must be (items, annotators), not {given.shape}")
    if np.isinf(given).any():
        raise ValueError("labels must be finite, or nan where missing")
    pairable = given[(~np.isnan(given)).sum(axis=1) > 1]
    values = np.unique(pairable[~np.isnan(pairable)])
    if not len(values):
        return Undefined(reason="no item has two labels")
    if len(values) == 1:
        return Undefined(reason="all labels are the same", n=len(pairable))
    if len(values) > MAX_VALUES:
        raise ValueError(f"{len(values)} different values: alpha is for classes, read them as such")

    counts = (pairable[:, :, None] == values).sum(axis=1).astype(np.float64)
    parts = _coincidences(counts)

    def ratio(sums: Floats) -> Floats:
        observed, expected, _ = _disagreements(sums, values, metric)
        return ratio_of(observed, expected)

    observed, expected, apart = _disagreements(parts.sum(axis=0)[None], values, metric)
    m = counts.sum(axis=1)
    alike = np.eye(len(values))[:, :, None] * np.eye(len(values))[:, None, :] * m.mean()
    unseen = Unseen(alike, (counts == m[:, None]).sum(axis=0).astype(np.float64))
    return chance_corrected(
        float(observed[0]),
        float(expected[0]),
        influence_of(parts, ratio, unseen),
        n_unusual((parts * apart[0]).sum(axis=(1, 2)) / m),
        level,
    )


# --------------------------------------------------------------------------------------------------
def _coincidences(counts: Floats) -> Floats:
    """The pairs of labels of each item, shape (items, values, values), from its counts of values."""
    m = counts.sum(axis=1)[:, None, None]
    pairs = counts[:, :, None] * counts[:, None, :]
    same = counts[:, :, None] * np.eye(counts.shape[1])
    found: Floats = (pairs - same) / (m - 1)
    return found


def _disagreements(sums: Floats, values: Floats, metric: Metric) -> tuple[Floats, Floats, Floats]:
    """Observed and expected disagreement of summed coincidences, shape (m, values, values), and how
    far any two values lie apart, all as shares of the farthest two."""
    totals = sums.sum(axis=2)
    n = totals.sum(axis=1)
    apart = _apart(totals, values, metric)
    by_chance = np.einsum("mi,mj,mij->m", totals, totals, apart)
    # Without its only item a sum is empty, and nothing to divide by n.
    return ratio_of((sums * apart).sum(axis=(1, 2)), n), ratio_of(by_chance, n * (n - 1)), apart


def _apart(totals: Floats, values: Floats, metric: Metric) -> Floats:
    """The squared distances of values, shape (m, values, values), the largest being 1."""
    if metric == "nominal":
        return np.broadcast_to(1 - np.eye(len(values)), (len(totals), len(values), len(values)))
    # The middle rank of each value among all labels; half of the way between two neighbours.
    at = totals.cumsum(axis=1) - totals / 2 if metric == "ordinal" else values[None]
    apart = np.square(at[:, :, None] - at[:, None, :])
    farthest = apart.max(axis=(1, 2), keepdims=True)
    scaled: Floats = np.divide(apart, farthest, out=np.zeros(apart.shape), where=farthest > 0)
    return scaled
