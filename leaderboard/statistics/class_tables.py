"""What one annotator says against what others say, item by item, as tables of three classes.

A table has the shape (3, 3): rows are the classes of the annotator in question, columns those of
the reference, in the order of `LABELS`: output 1 is better, a tie, output 2 is better. The table of
an item sums to 1, or is all zeros where the annotator or the reference is missing. Agreement, kappa,
precision and recall are all read from such tables.

The reference is the mode of k labels. Where an item has more than k, every choice of k of them
counts alike; where k labels have several modes, these share the item. Both are expectations,
computed and never drawn, so that an item's table may hold fractions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import comb

from leaderboard.statistics.annotator_pools import LABELS
from leaderboard.statistics.panels import hard
from leaderboard.statistics.uncertainty import Floats

TIE_ZONE = 0.25
"""A preference this near to 0.5 is nearest to a tie; 0 where a tie could not be said."""


def as_classes(preferences: ArrayLike, tie_zone: float = TIE_ZONE) -> Floats:
    """Preferences read as classes: a tie within `tie_zone` of 0.5, otherwise the side of it.

    Raises ValueError for numbers outside [0, 1] and a zone outside [0, 0.5).
    """
    if not 0 <= tie_zone < 0.5:
        raise ValueError(f"the tie zone must be in [0, 0.5), not {tie_zone}")
    return hard(preferences, tie_zone)


def checked_humans(humans: ArrayLike) -> Floats:
    """Human labels of shape (items, annotators), 0, 0.5, 1 or nan; raises ValueError for others."""
    labels = np.asarray(humans, dtype=np.float64)
    if labels.ndim != 2 or not labels.shape[1]:
        raise ValueError(f"human labels must be (items, annotators >= 1), not {labels.shape}")
    if not (np.isnan(labels) | np.isin(labels, LABELS)).all():
        raise ValueError("human labels must be 0, 0.5 (a tie), 1, or nan where missing")
    return labels


def class_counts(labels: Floats) -> Floats:
    """How many of an item's labels, shape (items, annotators), are in each class: (items, 3)."""
    counts: Floats = (labels[:, :, None] == LABELS).sum(axis=1).astype(np.float64)
    return counts


def paired_tables(annotator: Floats, reference: Floats) -> Floats:
    """The tables of classes, both of shape (items,), against each other."""
    if annotator.shape != reference.shape:
        raise ValueError(f"the shapes differ: {annotator.shape}, {reference.shape}")
    return _outer(_indicator(annotator), _indicator(reference))


def majority_tables(annotator: Floats, humans: Floats, k: int) -> Floats:
    """The tables of classes, shape (items,), against the mode of k human labels; zeros where an item
    has fewer than k."""
    if len(annotator) != len(humans):
        raise ValueError(f"{len(annotator)} verdicts and {len(humans)} labelled items")
    return _outer(_indicator(annotator), subset_modes(class_counts(humans), k))


def human_tables(humans: Floats, k: int, annotator: int | None = None) -> Floats:
    """The tables of one human against the mode of k others: of the column `annotator`, or the mean
    over all humans who labelled the item. Zeros where an item has k labels or fewer."""
    counts = class_counts(humans)
    own = counts if annotator is None else _indicator(humans[:, annotator])
    tables = np.zeros((len(humans), 3, 3))
    for label in range(3):
        others = counts.copy()
        others[:, label] -= 1  # the annotator's own label
        there = own[:, label] > 0
        tables[there, label] = own[there, label, None] * subset_modes(others[there], k)
    total = tables.sum(axis=(1, 2), keepdims=True)
    found: Floats = np.divide(tables, total, out=tables, where=total > 0)
    return found


def subset_modes(counts: Floats, k: int) -> Floats:
    """How often the most frequent of k labels of an item is 0, a tie or 1, shape (items, 3), over all
    choices of k of the counted labels; equally frequent ones share a choice. Zeros where there are
    fewer than k."""
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    modes = np.zeros(counts.shape)
    for zeros in range(k + 1):
        for ties in range(k + 1 - zeros):
            taken = np.array([zeros, ties, k - zeros - ties])
            ways = comb(counts, taken).prod(axis=1)
            usual = taken == taken.max()
            modes += np.outer(ways, usual / usual.sum())
    total = modes.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(modes, total, out=np.zeros(modes.shape), where=total > 0)
    return shares


# --------------------------------------------------------------------------------------------------
def _indicator(classes: Floats) -> Floats:
    found: Floats = (classes[:, None] == LABELS).astype(np.float64)
    return found


def _outer(rows: Floats, columns: Floats) -> Floats:
    tables: Floats = rows[:, :, None] * columns[:, None, :]
    return tables
