"""The alternative annotator test: may this judge replace one of the human annotators?

Each human in turn is left out. On every item that they labelled, the judge and they are scored by
how well they match the remaining humans; the judge wins where it scores at least as well, and so
does the human where they do. The judge stands up to that human if its share of wins is higher than
theirs less epsilon, which pays for the judge's being cheaper: a one-sided paired t test, controlled
over the humans at the false discovery rate q by Benjamini and Yekutieli, since the tests share
items. The winning rate is the share of humans that it stands up to; at one half it may replace one.
Source: Calderon, Reichart and Dror (2025), arXiv 2501.10970, which advises an epsilon of 0.2 where
the humans are experts, 0.15 for skilled annotators and 0.1 for crowd workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from leaderboard.statistics.class_tables import TIE_ZONE, as_classes, checked_humans
from leaderboard.statistics.estimates import Figure, Undefined, fitted, mean_of
from leaderboard.statistics.uncertainty import ROUNDING, Floats, check_level

Scoring = Literal["accuracy", "rmse"]
MIN_ANNOTATORS = 3
MIN_ITEMS = 30
"""Items for a human below which nothing is concluded, as the paper advises."""
PASSES = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutHuman:
    """The judge in the place of one human, by column. `judge_wins` and `human_wins` are shares of the
    `n` items, both counting where they score the same; `p_value` is that of the judge's being worse
    by epsilon or more, None below two items; `stands_up` says that this is rejected, with the false
    discovery rate controlled."""

    annotator: int
    n: int
    judge_wins: Figure
    human_wins: Figure
    p_value: float | None
    stands_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternativeAnnotator:
    """What the test says. `passes` is None where it refuses to conclude, and `reason` says why.

    `winning_rate` is the share of humans that the judge stands up to, None where it refuses;
    `advantage` the mean share of items on which it does at least as well as the human left out.
    """

    passes: bool | None
    reason: str
    winning_rate: float | None
    advantage: Figure
    humans: tuple[LeftOutHuman, ...]
    epsilon: float
    q: float
    scoring: Scoring


def alternative_annotator(
    judge: ArrayLike,
    humans: ArrayLike,
    epsilon: float = 0.2,
    q: float = 0.05,
    *,
    scoring: Scoring = "accuracy",
    tie_zone: float = TIE_ZONE,
    level: float = 0.95,
) -> AlternativeAnnotator:
    """The test of a judge's preferences, (items,), against human labels, (items, annotators).

    `accuracy` matches classes, the judge's read with the tie zone; `rmse` takes the root mean square
    distance from the remaining humans, with the judge's preferences as they are. An item counts for a
    human where they, another human and the judge have labelled it. With fewer than three humans, or
    fewer than 30 items for one of them, it refuses to conclude and gives what can be counted.
    Raises ValueError for numbers that cannot be and shapes that do not fit.
    """
    check_level(level)
    if not 0 <= epsilon < 1 or not 0 < q < 1:
        raise ValueError(f"epsilon must be in [0, 1) and q in (0, 1), not {epsilon} and {q}")
    if scoring not in get_args(Scoring):
        raise ValueError(f"scoring must be accuracy or rmse, not {scoring}")
    labels, classes = checked_humans(humans), as_classes(judge, tie_zone)
    own = classes if scoring == "accuracy" else np.asarray(judge, dtype=np.float64)
    if own.shape != labels.shape[:1]:
        raise ValueError(f"{own.shape} verdicts and {len(labels)} labelled items")
    wins = [_wins(own, labels, column, scoring) for column in range(labels.shape[1])]
    p_values = [_p_value(theirs - its, epsilon) for its, theirs in wins]
    reason = _too_few([len(its) for its, _ in wins])
    stands_up = np.zeros(len(wins), dtype=bool)
    if not reason:
        stands_up = benjamini_yekutieli(np.array(p_values, dtype=np.float64)) <= q
    rate = None if reason else float(stands_up.mean())
    return AlternativeAnnotator(
        passes=None if rate is None else rate >= PASSES,
        reason=reason,
        winning_rate=rate,
        advantage=_advantage(own, labels, scoring, level),
        humans=tuple(
            LeftOutHuman(
                annotator=at,
                n=len(its),
                judge_wins=mean_of(its, level=level),
                human_wins=mean_of(theirs, level=level),
                p_value=p_values[at],
                stands_up=bool(stands_up[at]),
            )
            for at, (its, theirs) in enumerate(wins)
        ),
        epsilon=epsilon,
        q=q,
        scoring=scoring,
    )


def benjamini_yekutieli(p_values: ArrayLike) -> Floats:
    """Adjusted p-values, shape (m,): rejecting where they are at most q keeps the expected share of
    false rejections at most q, however the tests depend on each other.

    Source: Benjamini and Yekutieli (2001), Annals of Statistics 29.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):  # also false for nan
        raise ValueError("p-values must be in [0, 1], in one dimension")
    m = len(p)
    rank = np.arange(1, m + 1)
    order = np.argsort(p, kind="stable")
    raw = p[order] * m * (1 / rank).sum() / rank
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return adjusted


# --------------------------------------------------------------------------------------------------
def _wins(own: Floats, labels: Floats, column: int, scoring: Scoring) -> tuple[Floats, Floats]:
    """On the items of one human: where the judge wins, and where the human does."""
    _, its, theirs = _scores(own, labels, column, scoring)
    judge_wins = (its >= theirs - ROUNDING).astype(np.float64)
    return judge_wins, (theirs >= its - ROUNDING).astype(np.float64)


def _scores(
    own: Floats, labels: Floats, column: int, scoring: Scoring
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """The items that count for a human, and there the scores of the judge and of the human."""
    rest = np.delete(labels, column, axis=1)
    there = ~np.isnan(own) & ~np.isnan(labels[:, column]) & ~np.isnan(rest).all(axis=1)
    rest, known = rest[there], ~np.isnan(rest[there])
    found = []
    for one in (own[there], labels[there, column]):
        gaps = np.where(known, np.abs(one[:, None] - rest), 0.0)
        if scoring == "accuracy":
            found.append((known & (gaps <= ROUNDING)).sum(axis=1) / known.sum(axis=1))
        else:
            found.append(-np.sqrt(np.square(gaps).sum(axis=1) / known.sum(axis=1)))
    return np.flatnonzero(there), found[0], found[1]


def _p_value(differences: Floats, epsilon: float) -> float | None:
    """Student's one-sided p of human wins less judge wins having a mean of epsilon or more; where all
    are the same, 0 below epsilon and 1 otherwise."""
    n = len(differences)
    if n < 2:
        return None
    gap, error = float(differences.mean()) - epsilon, float(differences.std(ddof=1)) / np.sqrt(n)
    if error <= ROUNDING:
        return 0.0 if gap < 0 else 1.0
    return float(stdtr(n - 1, gap / error))


def _too_few(n_items: list[int]) -> str:
    """Why nothing is concluded, or nothing."""
    if len(n_items) < MIN_ANNOTATORS:
        return f"{len(n_items)} human annotators, and the test needs {MIN_ANNOTATORS}"
    if min(n_items) < MIN_ITEMS:
        return (
            f"{min(n_items)} items for one of the humans, and the test needs {MIN_ITEMS} for each"
        )
    return ""


def _advantage(own: Floats, labels: Floats, scoring: Scoring, level: float) -> Figure:
    """The mean over humans of the judge's share of wins; an item pulls at the shares of all of them."""
    influence, wins_by_item = np.zeros(len(own)), np.zeros((2, len(own)))
    shares = []
    for column in range(labels.shape[1]):
        at, its, theirs = _scores(own, labels, column, scoring)
        if not len(at):
            continue
        wins = (its >= theirs - ROUNDING).astype(np.float64)
        shares.append(float(wins.mean()))
        influence[at] += (wins - wins.mean()) / len(at)
        wins_by_item[:, at] += np.stack([wins, np.ones(len(at))])
    used = wins_by_item[1] > 0
    if not shares:
        return Undefined(reason="no item has the judge's verdict and two human labels")
    n = int(used.sum())
    by_item = wins_by_item[0, used] / wins_by_item[1, used]
    n_others = int(n - np.unique(by_item.round(12), return_counts=True)[1].max())
    return fitted(float(np.mean(shares)), influence[used] * n / len(shares), n_others, level)
