"""How far a judge agrees with people, beside how far people agree with each other.

The estimand is the same for both: one annotator against the mode of k other humans, k being shown.
One against the mode of four is an easier task than one against the mode of three, so that a human,
who cannot be among the others, and a judge must be compared at the same k. Every item counts once:
an item with more labels than are needed counts every choice of k alike, one with fewer is left out
and counted. Tied modes share the credit, half each where there are two.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.statistics.annotator_pools import LABELS
from leaderboard.statistics.class_tables import (
    TIE_ZONE,
    as_classes,
    checked_humans,
    class_counts,
    human_tables,
    majority_tables,
    paired_tables,
    subset_modes,
)
from leaderboard.statistics.estimates import Estimate, Figure, difference_of, mean_of
from leaderboard.statistics.uncertainty import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstHumans:
    """A judge and the humans against the mode of `k` other humans, on the same items.

    `judge` and `humans` are the shares of verdicts that are the mode, `difference` the judge's less
    the humans'. `as_is` scores the judge's preferences themselves: 1 - |p - mode|, beside
    `humans_as_is`, in which a tie is half right where the mode is a side.

    `n_judged` of the `n_items` items with a label have a verdict; the figures are over `n_used`, those
    with enough labels as well. `labels_per_item` counts the items with so many labels.
    """

    k: int
    judge: Figure
    humans: Figure
    difference: Figure
    as_is: Figure
    humans_as_is: Figure
    n_items: int
    n_judged: int
    n_used: int
    labels_per_item: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """What an annotator reaches who does not read: always the same class, by label, or a fair coin
    between the two outputs, of which this is the expectation. At the same k as a judge."""

    k: int
    constant: dict[float, Figure]
    random: Figure

    @property
    def best_constant(self) -> float:
        """The label that agrees most often; the first of equal ones."""
        shares = {
            label: figure.value if isinstance(figure, Estimate) else 0.0
            for label, figure in self.constant.items()
        }
        return max(shares, key=lambda label: shares[label])


def usual_k(humans: ArrayLike) -> int:
    """The others that a human can be held against: the most frequent number of labels of an item with
    two or more, less one; the smaller of equally frequent ones, 1 where there is none."""
    several = [n for n in labels_per_item(humans).items() if n[0] > 1]
    return max(several, key=lambda n: (n[1], -n[0]))[0] - 1 if several else 1


def labels_per_item(humans: ArrayLike) -> dict[int, int]:
    """How many items have so many labels, fewest first; items without labels are not counted."""
    counts = class_counts(checked_humans(humans)).sum(axis=1).astype(int)
    return dict(sorted(Counter(counts[counts > 0].tolist()).items()))


def against_humans(
    judge: ArrayLike,
    humans: ArrayLike,
    k: int | None = None,
    tie_zone: float = TIE_ZONE,
    level: float = 0.95,
) -> AgainstHumans:
    """A judge's preferences, shape (items,), against human labels, shape (items, annotators).

    Without `k` it is `usual_k`. Where no item has more than one label, the judge is held against
    that one, and the humans' own figures are undefined. Raises ValueError for preferences outside
    [0, 1], other human labels than 0, 0.5 and 1, and shapes that do not fit.
    """
    labels, soft = checked_humans(humans), np.asarray(judge, dtype=np.float64)
    per_item = labels_per_item(labels)
    k = usual_k(labels) if k is None else k
    alone = all(n == 1 for n in per_item)
    mine = majority_tables(as_classes(soft, tie_zone), labels, k)
    n_labels = (~np.isnan(labels)).sum(axis=1)
    used = (n_labels >= k + (not alone)) & ~np.isnan(soft)
    theirs = human_tables(labels, k)[used]
    right, own = agreement_scores(mine[used]), agreement_scores(theirs)
    few = f"no item has a verdict and {k + (not alone)} human labels"
    nobody = f"no item has a verdict and {k + 1} human labels"
    return AgainstHumans(
        k=k,
        judge=mean_of(right, level=level, without=few),
        humans=mean_of(own, level=level, without=nobody),
        difference=difference_of(right, own, level=level),
        as_is=mean_of(_as_is(soft, labels, k)[used], level=level, without=few),
        humans_as_is=mean_of(_absolute_scores(theirs), level=level, without=nobody),
        n_items=int((n_labels > 0).sum()),
        n_judged=int(((n_labels > 0) & ~np.isnan(soft)).sum()),
        n_used=int(used.sum()),
        labels_per_item=per_item,
    )


def each_annotator(
    humans: ArrayLike, k: int | None = None, level: float = 0.95
) -> tuple[Figure, ...]:
    """Each human, by column, against the mode of k others, on the items that they labelled."""
    labels = checked_humans(humans)
    k = usual_k(labels) if k is None else k
    return tuple(
        mean_of(agreement_scores(human_tables(labels, k, annotator)), level=level)
        for annotator in range(labels.shape[1])
    )


def with_each_human(
    judge: ArrayLike, humans: ArrayLike, tie_zone: float = TIE_ZONE, level: float = 0.95
) -> tuple[Figure, ...]:
    """How often a judge says what each human says, by column, on the items that both labelled."""
    labels, classes = checked_humans(humans), as_classes(judge, tie_zone)
    return tuple(
        mean_of(agreement_scores(paired_tables(classes, column)), level=level)
        for column in labels.T
    )


def floors(humans: ArrayLike, k: int | None = None, level: float = 0.95) -> Floors:
    """The floors at k, on the items on which a human has k others."""
    labels = checked_humans(humans)
    alone = all(n == 1 for n in labels_per_item(labels))
    k = usual_k(labels) if k is None else k
    counts = class_counts(labels)
    modes = subset_modes(counts[counts.sum(axis=1) >= k + (not alone)], k)
    return Floors(
        k=k,
        constant={
            float(label): mean_of(modes[:, at], level=level) for at, label in enumerate(LABELS)
        },
        random=mean_of((modes[:, 0] + modes[:, 2]) / 2, level=level),
    )


def agreement_scores(tables: Floats) -> Floats:
    """Each item's share on the diagonal, nan for an item without a table."""
    return _scores(tables, np.eye(3))


# --------------------------------------------------------------------------------------------------
def _absolute_scores(tables: Floats) -> Floats:
    """The same with half for a tie against a side."""
    return _scores(tables, 1 - np.abs(LABELS[:, None] - LABELS))


def _as_is(soft: Floats, labels: Floats, k: int) -> Floats:
    """1 - |p - mode| of each item, over the modes that share it."""
    modes = subset_modes(class_counts(labels), k)
    scores: Floats = (modes * (1 - np.abs(soft[:, None] - LABELS))).sum(axis=1)
    return scores


def _scores(tables: Floats, credit: Floats) -> Floats:
    there = tables.sum(axis=(1, 2)) > 0
    scores: Floats = np.where(there, (tables * credit).sum(axis=(1, 2)), np.nan)
    return scores
