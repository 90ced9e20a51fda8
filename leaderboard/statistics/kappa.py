"""Cohen's kappa, and precision and recall by class, of tables as in `class_tables`.

Both take the tables of items, shape (items, 3, 3): those of two annotators, or of an annotator
against the mode of k humans, where an item may hold fractions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from leaderboard.statistics.annotator_pools import LABELS
from leaderboard.statistics.estimates import (
    Figure,
    Undefined,
    Unseen,
    chance_corrected,
    fitted,
    influence_of,
    mean_of,
    n_unusual,
    ratio_of,
)
from leaderboard.statistics.uncertainty import ROUNDING, Floats, check_level

Weights = Literal["none", "linear", "quadratic"]
Unparsed = Literal["missing", "tie"]

_STEPS = np.abs(LABELS[:, None] - LABELS)
_DISAGREEMENT: dict[str, Floats] = {
    "none": (_STEPS > 0).astype(np.float64),
    "linear": _STEPS,
    "quadratic": _STEPS**2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """An annotator as a classifier of the reference's classes.

    `matrix` counts items, rows being the annotator's classes and columns the reference's, in the
    order 0, tie, 1; a fourth row holds the unparsed verdicts. Precision, recall and F1 are plain
    means over the classes that the annotator or the reference ever uses; a class that is never said,
    or never right, has 0, as in scikit-learn; a rare class that is not in a small sample is not in
    its figures nor their intervals. `accuracy` and these are over the judged items, or over
    all where unparsed verdicts count as ties.
    """

    matrix: tuple[tuple[float, float, float], ...]
    accuracy: Figure
    precision: Figure
    recall: Figure
    f1: Figure
    n_judged: int
    n_items: int
    unparsed: Unparsed


def kappa(tables: Floats, weights: Weights = "none", level: float = 0.95) -> Figure:
    """Cohen's kappa: 1 - observed / expected disagreement, a step between classes weighing 1, its
    distance or its square. Equal to scikit-learn's for tables of two annotators.

    Undefined without items, and where all verdicts and references are of one class: chance alone
    would agree everywhere. Raises ValueError for tables that are not (items, 3, 3).
    Sources: Cohen (1960), Educational and Psychological Measurement 20; Cohen (1968),
    Psychological Bulletin 70.
    """
    check_level(level)
    there = _with_items(tables)
    disagreement = _DISAGREEMENT[weights]

    def ratio(sums: Floats) -> Floats:
        return ratio_of(*_disagreements(sums, disagreement))

    if not len(there):
        return Undefined(reason="no item has both verdicts")
    observed, expected = (float(of[0]) for of in _disagreements(_sum(there), disagreement))
    if expected <= ROUNDING:
        return Undefined(reason="all verdicts are of one class", n=len(there))
    by_item = (there * disagreement).sum(axis=(1, 2))
    # Where a class is rare, kappa hangs on one more agreement on it.
    influence = influence_of(there, ratio, _unseen(there, agreements_only=True))
    return chance_corrected(observed, expected, influence, n_unusual(by_item), level)


def classification(
    tables: Floats,
    lost: Floats | None = None,
    unparsed: Unparsed = "missing",
    level: float = 0.95,
) -> Classification:
    """Tables of a judge's classes against the reference's, (items, 3, 3); `lost`, (3,), are the
    unparsed verdicts by the class of their reference: left out and counted, or with
    `unparsed="tie"` in the tables as ties already, as PandaLM takes them."""
    check_level(level)
    there = _with_items(tables)
    missing = np.zeros(3) if lost is None else np.asarray(lost, dtype=np.float64)
    n_lost = round(float(missing.sum()))
    matrix = np.vstack([there.sum(axis=0), missing])
    if unparsed == "tie":
        matrix[1] -= missing
    right = np.trace(there, axis1=1, axis2=2)
    found: list[Figure] = [mean_of(right, level=level)]
    for at in range(3):
        found.append(_macro_figure(there, at, right, level))
    n = len(there)
    return Classification(
        matrix=tuple((float(a), float(b), float(c)) for a, b, c in matrix),
        accuracy=found[0],
        precision=found[1],
        recall=found[2],
        f1=found[3],
        n_judged=n - n_lost if unparsed == "tie" else n,
        n_items=n if unparsed == "tie" else n + n_lost,
        unparsed=unparsed,
    )


# --------------------------------------------------------------------------------------------------
def _with_items(tables: Floats) -> Floats:
    if tables.ndim != 3 or tables.shape[1:] != (3, 3):
        raise ValueError(f"tables must have the shape (items, 3, 3), not {tables.shape}")
    there: Floats = tables[tables.sum(axis=(1, 2)) > 0]
    return there


def _unseen(tables: Floats, *, agreements_only: bool) -> Unseen:
    """One item for each pair of classes that either has said, and how many items are such."""
    counts = tables.sum(axis=0)
    said = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1) > ROUNDING)
    cells = [(a, b) for a in said for b in said if a == b or not agreements_only]
    at = np.arange(len(cells)), *np.array(cells).T
    parts = np.zeros((len(cells), 3, 3))
    parts[at] = 1
    return Unseen(parts, counts[at[1:]])


def _sum(tables: Floats) -> Floats:
    summed: Floats = tables.sum(axis=0)[None]
    return summed


def _disagreements(sums: Floats, disagreement: Floats) -> tuple[Floats, Floats]:
    """Observed and by chance, of summed tables of shape (m, 3, 3)."""
    n = sums.sum(axis=(1, 2))
    observed = (sums * disagreement).sum(axis=(1, 2))
    by_chance = np.einsum("mi,mj,ij->m", sums.sum(axis=2), sums.sum(axis=1), disagreement)
    return ratio_of(observed, n), ratio_of(by_chance, n**2)


def _macro(sums: Floats) -> Floats:
    """Macro precision, recall and F1 of summed tables, shape (m, 3): nan without items."""
    hits = np.diagonal(sums, axis1=1, axis2=2)
    said, true = sums.sum(axis=2), sums.sum(axis=1)
    used = (said + true > ROUNDING).astype(np.float64)
    parts = [(hits, said), (hits, true), (2 * hits, said + true)]
    means = []
    for part, whole in parts:
        rates = np.divide(part, whole, out=np.zeros(hits.shape), where=whole > ROUNDING)
        means.append(ratio_of(rates.sum(axis=1), used.sum(axis=1)))
    stacked: Floats = np.stack(means, axis=1)
    return stacked


def _macro_figure(tables: Floats, at: int, right: Floats, level: float) -> Figure:
    if not len(tables):
        return Undefined(reason="no item has both verdicts")
    value = float(np.clip(_macro(_sum(tables))[0, at], 0, 1))
    # One more hit or miss of a rare class moves its precision or recall far.
    unseen = _unseen(tables, agreements_only=False)
    influence = influence_of(tables, lambda sums: _macro(sums)[:, at], unseen)
    return fitted(value, influence, n_unusual(right), level)
