"""What a judge prefers for its form or its author: the longer answer, the list, the first, its own.

That a judge prefers longer answers says little; people do too. So the human rate on the same items
stands beside the judge's, and the paired difference. Only items count in which one of the two
answers has the feature or has more of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.statistics.class_tables import TIE_ZONE, as_classes, checked_humans
from leaderboard.statistics.estimates import Figure, difference_of, mean_of
from leaderboard.statistics.uncertainty import Floats, check_level

LONGER = 30
"""Characters by more than which an answer is the longer one, as in AlpacaEval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferredShare:
    """How often the answer with the feature is preferred, a tie counting half, every item once.

    `judge` and `humans` are over the `n_both` items with a verdict and a label, `difference` is the
    judge's less the humans'; `judge_alone` is over all `n_judged` items with a verdict. In `n_differ`
    of the `n_items` items the answers differ in the feature.
    """

    judge: Figure
    humans: Figure
    difference: Figure
    judge_alone: Figure
    n_items: int
    n_differ: int
    n_judged: int
    n_both: int


def has_more(one: ArrayLike, two: ArrayLike, more_than: float = 0) -> Floats:
    """Which answer has more of something, by counts or truth values of shape (n,): 1 where output 2
    has by more than `more_than`, -1 where output 1 has, 0 where neither, nan where either is."""
    if more_than < 0:
        raise ValueError(f"more_than must be at least 0, not {more_than}")
    gap = np.asarray(two, dtype=np.float64) - np.asarray(one, dtype=np.float64)
    return np.where(np.isnan(gap), np.nan, np.sign(gap) * (np.abs(gap) > more_than))


def preferred_share(
    judge: ArrayLike,
    humans: ArrayLike,
    feature: ArrayLike,
    items: ArrayLike | None = None,
    tie_zone: float = TIE_ZONE,
    level: float = 0.95,
) -> PreferredShare:
    """A judge's verdicts, (n,), human labels, (n, annotators), and which answer has the feature, (n,):
    1 output 2, -1 output 1, 0 or nan neither (see `has_more`).

    `items` says which rows are of one item, in both orders of presentation for instance. For the
    answer shown first the feature is -1 in the original order and 1 in the swapped one.
    Raises ValueError for other numbers and shapes that do not fit.
    """
    check_level(level)
    labels, verdicts = checked_humans(humans), as_classes(judge, tie_zone)
    side = np.asarray(feature, dtype=np.float64)
    if not verdicts.shape == side.shape == labels.shape[:1]:
        raise ValueError(
            f"the shapes differ: {verdicts.shape}, {labels.shape[:1]} and {side.shape} items"
        )
    if not (np.isnan(side) | np.isin(side, (-1.0, 0.0, 1.0))).all():
        raise ValueError("the feature must be -1, 0, 1 or nan")
    ids = np.arange(len(side)) if items is None else np.asarray(items)
    if ids.shape != side.shape:
        raise ValueError(f"items must have the shape {side.shape}, not {ids.shape}")
    differs = np.abs(np.nan_to_num(side)) == 1
    judged = differs & ~np.isnan(verdicts)
    both = judged & ~np.isnan(labels).all(axis=1)
    # In the eyes of the answer with the feature.
    its = 0.5 + side * (verdicts - 0.5)
    theirs = 0.5 + side[both] * (np.nanmean(labels[both], axis=1) - 0.5)
    return PreferredShare(
        judge=mean_of(its[both], ids[both], level),
        humans=mean_of(theirs, ids[both], level),
        difference=difference_of(its[both], theirs, ids[both], level),
        judge_alone=mean_of(its[judged], ids[judged], level),
        n_items=len(np.unique(ids)),
        n_differ=len(np.unique(ids[differs])),
        n_judged=len(np.unique(ids[judged])),
        n_both=len(np.unique(ids[both])),
    )
