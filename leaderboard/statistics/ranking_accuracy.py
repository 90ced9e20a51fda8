"""Which pairs of models do two scores rank alike, and what does their correlation lean on?

A pair of models counts by how surely the reference tells the two apart. What lies far apart from
the other models raises any correlation, so such models are named by a stated rule, and every model
is left out in turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from leaderboard.statistics.rank_correlation import Floats, coefficients
from leaderboard.statistics.uncertainty import holm

FAR_APART = 2.0
"""So many robust standard deviations from the median is far apart."""


@dataclass(frozen=True, slots=True)
class PairwiseAccuracy:
    """How many pairs of models a score ranks as the reference does.

    `n_pairs` pairs are told apart by the reference; of them `n_alike` are ranked the same way,
    `n_swapped` the other way and `n_tied` not at all, which counts half. `share` is the accuracy,
    `weighted` the same with each pair counted by its weight; None where no pair counts.
    """

    n_pairs: int
    n_alike: int
    n_swapped: int
    n_tied: int
    share: float | None
    weighted: float | None


def pairwise_accuracy(
    one: Floats, reference: Floats, p_value: Floats | None = None
) -> PairwiseAccuracy:
    """The accuracy of `one`, shape (models,), against `reference`.

    A pair's weight is 1 - p, p being the two-sided `p_value`, shape (models, models), of the
    reference's test whether the two differ: a pair that the reference cannot tell apart hardly
    counts. Unweighted it is the accuracy of Kocmi et al. (To Ship or Not to Ship, WMT 2021), who
    count a pair or leave it out by such a test; graded weights follow Thompson et al. (Improving
    Statistical Significance in Human Evaluation of Automatic Metrics via Soft Pairwise Accuracy,
    WMT 2024).
    """
    i, j = np.triu_indices(len(one), k=1)
    said, expected = np.sign(one[i] - one[j]), np.sign(reference[i] - reference[j])
    counts = expected != 0
    credit = ((1 + said * expected) / 2)[counts]
    weights = None if p_value is None else (1 - p_value[i, j])[counts]
    return PairwiseAccuracy(
        n_pairs=int(counts.sum()),
        n_alike=int((credit == 1).sum()),
        n_swapped=int((credit == 0).sum()),
        n_tied=int((credit == 0.5).sum()),
        share=float(credit.mean()) if len(credit) else None,
        weighted=None
        if weights is None or weights.sum() == 0
        else float(credit @ weights / weights.sum()),
    )


def swapped_pairs(one: Floats, other: Floats) -> list[tuple[int, int]]:
    """The pairs (i, j) that the two rank the other way round: `one` puts i first, `other` j. The
    pair that differs most by both, relative to their spreads, comes first."""
    i, j = np.triu_indices(len(one), k=1)
    a, b = one[i] - one[j], other[i] - other[j]
    found = np.flatnonzero(a * b < 0)
    size = np.minimum(np.abs(a) / (np.ptp(one) or 1.0), np.abs(b) / (np.ptp(other) or 1.0))
    ordered = found[np.argsort(-size[found], kind="stable")]
    return [(int(i[k]), int(j[k])) if a[k] > 0 else (int(j[k]), int(i[k])) for k in ordered]


def separation(values: Floats, errors: Floats) -> Floats:
    """The two-sided p-value of each pair's difference, shape (models, models), 1 on the diagonal,
    from standard errors taken as independent: z = difference / sqrt(e1**2 + e2**2)."""
    difference = np.abs(values[:, None] - values)
    spread = np.hypot(errors[:, None], errors)
    z = np.divide(difference, spread, out=np.full_like(spread, np.inf), where=spread > 0)
    p: Floats = np.where(difference == 0, 1.0, 2 * ndtr(-z))
    return p


def adjusted(p_value: Floats) -> Floats:
    """Holm's adjustment of the p-values of all pairs, shape (models, models)."""
    upper = np.triu_indices(len(p_value), k=1)
    found = np.ones_like(p_value)
    found[upper] = holm(p_value[upper])
    smaller: Floats = np.minimum(found, found.T)  # the lower triangle still holds ones
    return smaller


def far_apart(one: Floats, other: Floats) -> NDArray[np.bool_]:
    """Which models lie far apart from the others by either score, shape (models,): more than
    `FAR_APART` robust standard deviations, 1.4826 times the median absolute deviation, from the
    median. None does by a score that is the same for more than half of the models."""
    found = np.zeros(len(one), dtype=bool)
    for values in (one, other):
        distance = np.abs(values - np.median(values))
        spread = 1.4826 * float(np.median(distance))
        if spread > 0:
            found |= distance > FAR_APART * spread
    return found


def leave_one_out(one: Floats, other: Floats) -> Floats:
    """Spearman's coefficient without each model in turn, shape (models,); NaN where there is none."""
    keep = ~np.eye(len(one), dtype=bool)
    found = [coefficients(one[rest], other[rest]) for rest in keep]
    return np.array([math.nan if c is None else c.spearman for c in found])
