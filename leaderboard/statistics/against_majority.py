"""A judge against the mode of all of an item's labels: as a classifier, and order by order.

This is the easier task of the two: the people behind the mode are one more than a person could be
held against. It is what PandaLM, Auto-J and LLMBar publish; `agreement` compares judges and people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.statistics.annotator_pools import LABELS
from leaderboard.statistics.class_tables import (
    TIE_ZONE,
    as_classes,
    checked_humans,
    class_counts,
)
from leaderboard.statistics.estimates import Figure, mean_of
from leaderboard.statistics.kappa import Classification, classification
from leaderboard.statistics.uncertainty import Floats

Unparsed = Literal["missing", "tie", "wrong"]
"""What a missing verdict is: left out and counted; a tie, as in PandaLM's figures; wrong, and the
same as another missing one, as in LLMBar's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByOrder:
    """How often a judge is right: in the `original` order, in the `swapped` one, in the `average` of
    the two and in `both` at once; and how often it says the `same` in both. An item counts where it
    has a verdict in the orders in question and a label."""

    original: Figure
    swapped: Figure
    average: Figure
    both: Figure
    same: Figure


def majority(humans: ArrayLike) -> Floats:
    """The mode of all labels of an item, shape (items, annotators), as shares of 0, tie and 1, shape
    (items, 3): tied modes share it, an item without labels has zeros."""
    counts = class_counts(checked_humans(humans))
    modes = (counts == counts.max(axis=1, keepdims=True)) & (counts > 0)
    shares: Floats = modes / np.maximum(modes.sum(axis=1, keepdims=True), 1)
    return shares


def classes_against_majority(
    judge: ArrayLike,
    humans: ArrayLike,
    unparsed: Unparsed = "missing",
    tie_zone: float = TIE_ZONE,
    level: float = 0.95,
) -> Classification:
    """A judge's preferences, (items,), as classes against the majority of labels, (items,
    annotators). A verdict that is `wrong` for missing stands in the matrix alone.

    Raises ValueError for numbers that cannot be and shapes that do not fit.
    """
    modes, said = majority(humans), _said(judge, humans, unparsed, tie_zone)
    known = modes.sum(axis=1) > 0
    tables = ((said[:, None] == LABELS)[:, :, None] * modes[:, None, :])[known]
    missing = np.isnan(as_classes(judge, tie_zone)) & known
    how: Literal["missing", "tie"] = "tie" if unparsed == "tie" else "missing"
    return classification(tables, modes[missing].sum(axis=0), how, level)


def by_order(
    original: ArrayLike,
    swapped: ArrayLike,
    humans: ArrayLike,
    unparsed: Unparsed = "missing",
    tie_zone: float = TIE_ZONE,
    level: float = 0.95,
) -> ByOrder:
    """A judge's preferences in the two orders, each (items,), against labels, (items, annotators).

    Raises ValueError for numbers that cannot be and shapes that do not fit.
    """
    modes = majority(humans)
    known = modes.sum(axis=1) > 0
    one, two = (_said(of, humans, unparsed, tie_zone)[known] for of in (original, swapped))
    first, second = (_right(of, modes[known]) for of in (one, two))
    has_both = ~np.isnan(one) & ~np.isnan(two)
    same = np.where(has_both, (one == two).astype(np.float64), np.nan)
    return ByOrder(
        original=mean_of(first, level=level),
        swapped=mean_of(second, level=level),
        average=mean_of((first + second) / 2, level=level),
        both=mean_of(first * same, level=level),
        same=mean_of(same, level=level),
    )


_WRONG = -1.0
"""A class that nobody says."""


def _said(judge: ArrayLike, humans: ArrayLike, unparsed: Unparsed, tie_zone: float) -> Floats:
    if unparsed not in get_args(Unparsed):
        raise ValueError(f"unparsed must be {', '.join(get_args(Unparsed))}, not {unparsed}")
    classes, n = as_classes(judge, tie_zone), len(np.asarray(humans))
    if classes.shape != (n,):
        raise ValueError(f"{classes.shape} preferences and {n} labelled items")
    value = {"missing": np.nan, "tie": 0.5, "wrong": _WRONG}[unparsed]
    said: Floats = np.where(np.isnan(classes), value, classes)
    return said


def _right(said: Floats, modes: Floats) -> Floats:
    """Each item's credit; nan where nothing was said."""
    credit = ((said[:, None] == LABELS) * modes).sum(axis=1)
    right: Floats = np.where(np.isnan(said), np.nan, credit)
    return right
