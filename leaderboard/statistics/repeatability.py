"""How well a judge repeats itself; and has it changed? New verdicts on old comparisons.

Each comparison has k verdicts of the first day and one of today. If the judge is still the same,
any of the k + 1 might have been today's. The statistic is the sum, over the comparisons, of how far
today's verdict lies from the mean of the others; its distribution is that of drawing today's verdict
at random from the k + 1 of each comparison, a permutation test within blocks. A judge that always
says the same is caught by its third change (k = 4, at 1 %, as 5⁻³ = 0.008); one that wavers may
waver on. How many changes are found: docs/statistics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leaderboard.statistics.class_tables import TIE_ZONE, as_classes, class_counts
from leaderboard.statistics.estimates import Figure, mean_of

Floats = NDArray[np.float64]
N_DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class Change:
    """How far new verdicts lie from old ones, and how far those lie from each other."""

    n: int
    """Comparisons with all their verdicts."""
    today: float
    """Mean distance of today's verdict from the mean of the first day's."""
    first_day: float
    """The same of a first day's verdict from the mean of the first day's others."""
    p_value: float
    """How often as great a distance would be seen if nothing had changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatability:
    """How often a judge says the same again of the same item, over items with two verdicts or more:
    `same` of two verdicts, as a mean over the item's pairs, and `unanimous` of all of them."""

    same: Figure
    unanimous: Figure
    n: int


def repeatability(
    verdicts: ArrayLike, tie_zone: float = TIE_ZONE, level: float = 0.95
) -> Repeatability:
    """Of verdicts of shape (items, repeats), in [0, 1] and nan where missing, read as classes.

    Raises ValueError for other numbers and shapes.
    """
    classes = as_classes(verdicts, tie_zone)
    if classes.ndim != 2:
        raise ValueError(f"verdicts must be (items, repeats), not {classes.shape}")
    counts = class_counts(classes)
    n = counts.sum(axis=1)
    counts, n = counts[n > 1], n[n > 1]
    same = (counts * (counts - 1)).sum(axis=1) / (n * (n - 1))
    unanimous = (counts.max(axis=1) == n).astype(np.float64)
    once = "no item has two verdicts"
    return Repeatability(
        same=mean_of(same, level=level, without=once),
        unanimous=mean_of(unanimous, level=level, without=once),
        n=len(n),
    )


def change(first: Floats, new: Floats, seed: int = 0) -> Change | None:
    """How much a judge has changed; `first` has the shape (comparisons, k >= 2), `new`
    (comparisons,), NaN: missing. None where no comparison has all its verdicts.

    Raises ValueError for other shapes.
    """
    if first.ndim != 2 or first.shape[1] < 2 or new.shape != first.shape[:1]:
        raise ValueError(
            f"(comparisons, k >= 2) and (comparisons,), not {first.shape}, {new.shape}"
        )
    there = ~(np.isnan(first).any(axis=1) | np.isnan(new))
    if not there.any():
        return None
    verdicts = np.column_stack([first[there], new[there]])
    distances = _distances(verdicts)
    today = float(distances[:, -1].sum())
    rng = np.random.default_rng(seed)
    # Where all verdicts lie equally far off, chance has no say.
    is_settled = np.ptp(distances, axis=1) == 0
    by_chance = np.full(N_DRAWS, distances[is_settled, 0].sum())
    for of in distances[~is_settled]:
        by_chance += of[rng.integers(len(of), size=N_DRAWS)]
    # Sums of the same distances in another order may differ in the last digits.
    exceeded = int((by_chance >= today - 1e-9).sum())
    return Change(
        n=len(verdicts),
        today=today / len(verdicts),
        first_day=float(_distances(verdicts[:, :-1]).mean()),
        p_value=(1 + exceeded) / (1 + N_DRAWS),
    )


def _distances(verdicts: Floats) -> Floats:
    """Of each verdict, how far it lies from the mean of the comparison's others."""
    k = verdicts.shape[1]
    others = (verdicts.sum(axis=1, keepdims=True) - verdicts) / (k - 1)
    found: Floats = np.abs(verdicts - others)
    return found
