"""Which judges are reliable, learnt from their votes alone: Dawid and Skene's model. A report only.

Each item has a true class, and each judge a table of how often it says what when what is true. EM
finds both at once, starting from the mean of the votes. Without labels this rests on judges erring
independently: judges who err alike confirm each other, and take over. So the path of the weights
is kept, with how many votes they leave, and whether one judge has most of the weight. Using such
weights would be another panel, frozen before it judges.
Source: Dawid and Skene (1979), Applied Statistics 28.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.statistics.annotator_pools import LABELS
from leaderboard.statistics.class_tables import TIE_ZONE, as_classes
from leaderboard.statistics.estimates import Undefined
from leaderboard.statistics.uncertainty import ROUNDING, Floats

MIN_JUDGES = 3
"""Of two judges nobody can tell which one errs."""
MAX_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DawidSkene:
    """The fit to `n` items with a vote.

    `confusion`, shape (judges, 3, 3): how often a judge says a class (columns) where one is true
    (rows), in the order 0, tie, 1. `prevalence` is of the true classes, `posterior`, shape (items, 3),
    of each item's, nan without a vote. A judge's weight is what its vote tells of the truth, the
    mutual information, as a share of all judges'; `path`, shape (steps, judges), has them from the
    first step on. `effective_votes` is 1 / (sum of squared weights). `dominant` is the judge, by
    column, whose weight is above `max_share`.
    """

    confusion: Floats
    prevalence: Floats
    posterior: Floats
    path: Floats
    max_share: float
    is_converged: bool
    n: int

    @property
    def weights(self) -> Floats:
        """The last of the path."""
        last: Floats = self.path[-1]
        return last

    @property
    def effective_votes(self) -> float:
        """From 1, one judge decides, to the number of judges."""
        return float(1 / np.square(self.weights).sum())

    @property
    def dominant(self) -> int | None:
        """The guard: a judge that has taken over, if any."""
        return int(self.weights.argmax()) if self.weights.max() > self.max_share else None


def dawid_skene(
    votes: ArrayLike,
    *,
    smoothing: float = 1.0,
    max_share: float = MAX_SHARE,
    tie_zone: float = TIE_ZONE,
    max_steps: int = 500,
) -> DawidSkene | Undefined:
    """The fit to votes, shape (items, judges), in [0, 1] and nan where missing, read as classes.

    `smoothing`, above 0, is added to every cell of a judge's table and to every class, so that a
    judge never seen to err is not taken for one that cannot. Undefined with fewer than three judges
    who vote, and where all votes are one class. Raises ValueError for other numbers.
    """
    if not smoothing > 0 or not 0 < max_share <= 1 or max_steps < 1:
        raise ValueError("smoothing must be above 0, max_share in (0, 1], max_steps at least 1")
    classes = as_classes(votes, tie_zone)
    if classes.ndim != 2:
        raise ValueError(f"votes must be (items, judges), not {classes.shape}")
    said = (classes[:, :, None] == LABELS).astype(np.float64)
    voted = said.sum(axis=(1, 2)) > 0
    said = said[voted]
    n_judges = int((said.sum(axis=(0, 2)) > 0).sum())
    if n_judges < MIN_JUDGES:
        return Undefined(reason=f"{n_judges} judges vote, and telling who errs takes {MIN_JUDGES}")
    if (said.sum(axis=(0, 1)) > 0).sum() == 1:
        return Undefined(reason="all votes are of one class", n=len(said))

    truth = said.sum(axis=1) / said.sum(axis=(1, 2))[:, None]
    path: list[Floats] = []
    is_converged = False
    while len(path) < max_steps and not is_converged:
        prevalence = truth.sum(axis=0) + smoothing
        prevalence = prevalence / prevalence.sum()
        tables = np.einsum("it,ijs->jts", truth, said) + smoothing
        confusion = tables / tables.sum(axis=2, keepdims=True)
        path.append(_weights(confusion, prevalence))
        log_odds = np.log(prevalence) + np.einsum("ijs,jts->it", said, np.log(confusion))
        likely = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
        updated = likely / likely.sum(axis=1, keepdims=True)
        is_converged = bool(np.abs(updated - truth).max() < 1e-8)
        truth = updated
    posterior = np.full((len(voted), 3), np.nan)
    posterior[voted] = truth
    return DawidSkene(
        confusion=confusion,
        prevalence=prevalence,
        posterior=posterior,
        path=np.array(path),
        max_share=max_share,
        is_converged=is_converged,
        n=len(said),
    )


def _weights(confusion: Floats, prevalence: Floats) -> Floats:
    """The mutual information of each judge's vote and the truth, as shares; equal if none has any."""
    joint = prevalence[:, None] * confusion
    by_chance = prevalence[:, None] * joint.sum(axis=1)[:, None, :]
    known = np.maximum((joint * np.log(joint / by_chance)).sum(axis=(1, 2)), 0.0)
    total = known.sum()
    return known / total if total > ROUNDING else np.full(len(known), 1 / len(known))
