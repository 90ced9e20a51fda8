"""What a panel of judges is worth: flips with the order, agreement, and how many votes it casts.

A vote is a preference in [0, 1] for output 2, nan where it is missing; 0.5 is a tie. Votes on one
instruction are not independent, so that every interval here takes the instruction as the unit:
`clusters` says which votes share one, and without it each stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from leaderboard.statistics.ranking import ranks
from leaderboard.statistics.uncertainty import (
    ROUNDING,
    Floats,
    Interval,
    check_level,
    influence_interval,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """How a judge's verdicts on the same pairs of answers change with the order they are shown in.

    A pair is decided where neither verdict is a tie. `rate` is `n_flipped` / `n_decided`, None
    where no pair is decided. Pairs with a tie in one order and with ties in both are counted apart,
    and so are those that lack a verdict in an order. `first_shown` is how often the answer that was
    shown first is preferred, a tie counting half, over all pairs with both verdicts: 0.5 for a
    judge without a bias for a place; None where there is no such pair.
    """

    n_flipped: int
    n_decided: int
    n_one_tie: int
    n_both_ties: int
    n_missing: int
    rate: Interval | None
    first_shown: Interval | None

    @property
    def n_tied(self) -> int:
        """Pairs with both verdicts of which at least one is a tie."""
        return self.n_one_tie + self.n_both_ties


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two judges say the same of the same pairs.

    `raw` is the mean of 1 - |difference| of the hard votes: 1 where they agree, 0 where they
    contradict each other, half where one of them sees a tie. `correlation` is Pearson's, of the
    votes as they are; None where a judge's votes never vary. `n` pairs have both votes.
    """

    raw: Interval
    correlation: Interval | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveVotes:
    """How many independent judges a panel is worth.

    `votes` is None where the votes never vary, or cancel each other. `correlation` is the mean one
    of two judges that vary, nan where fewer do. `constant` are the judges, by column, whose vote is
    the same everywhere: it tells nothing, so that they do not count.
    """

    votes: Interval | None
    correlation: float
    n_judges: int
    n: int
    constant: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What becomes of a ranking without one judge.

    `tau` is Kendall's tau-b of the two rankings, nan for fewer than two rows or where all are
    equal; `shifts` says by how many ranks each row falls (above 0) or rises, 0 for a row that lacks
    a figure in either.
    """

    tau: float
    shifts: tuple[int, ...]

    @property
    def largest(self) -> int:
        """The most ranks that a row moves."""
        return max(map(abs, self.shifts), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldFigures:
    """A judge against gold labels, as LLMBar counts, all in [0, 1].

    A missing verdict is wrong, and so is a tie where gold is none; `positional_agreement` is the share of pairs with the
    same verdict in both orders, where missing in both is the same.
    Source: Zeng et al. (2024), arXiv 2310.07641.
    """

    accuracy_original: float
    accuracy_swapped: float
    accuracy_both: float
    positional_agreement: float

    @property
    def accuracy_average(self) -> float:
        """The mean of the two orders."""
        return (self.accuracy_original + self.accuracy_swapped) / 2


def hard(preferences: ArrayLike, tie_zone: float = ROUNDING) -> Floats:
    """Each preference as a choice: 0, 0.5 for a tie (within `tie_zone` of it), 1, or nan."""
    soft = _votes(preferences)
    side = np.sign(soft - 0.5) / 2 + 0.5
    chosen: Floats = np.where(np.abs(soft - 0.5) <= max(tie_zone, ROUNDING), 0.5, side)
    return chosen


def flips(
    original: ArrayLike, swapped: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95
) -> Flips:
    """The flips of one judge: its preferences for output 2 in either order, both of shape (n,).

    Raises ValueError for numbers outside [0, 1] and shapes that differ.
    """
    one, two = hard(original), hard(swapped)
    units = _clusters(clusters, one, two)
    there = ~(np.isnan(one) | np.isnan(two))
    one, two, units = one[there], two[there], units[there]
    ties = (one == 0.5).astype(int) + (two == 0.5)
    decided = ties == 0
    flipped = (one != two)[decided]
    return Flips(
        n_flipped=int(flipped.sum()),
        n_decided=int(decided.sum()),
        n_one_tie=int((ties == 1).sum()),
        n_both_ties=int((ties == 2).sum()),
        n_missing=int((~there).sum()),
        rate=_share(flipped.astype(float), units[decided], level),
        first_shown=_share((1 - one + two) / 2, units, level),
    )


def agreement(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95
) -> Agreement | None:
    """The agreement of two judges on the pairs that both voted on; None where there is none.

    Votes have the shape (n,). The interval of the correlation r is on Fisher's scale, from the
    influence of each vote on r; an r of 1 or -1 has one of no width. Raises ValueError as `flips`.
    """
    one, two = _votes(a), _votes(b)
    units = _clusters(clusters, one, two)
    there = ~(np.isnan(one) | np.isnan(two))
    one, two, units = one[there], two[there], units[there]
    raw = _share(1 - np.abs(hard(one) - hard(two)), units, level)
    if raw is None:
        return None
    return Agreement(raw=raw, correlation=_correlation(one, two, units, level), n=len(one))


def panel_agreement(
    votes: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95
) -> Interval | None:
    """The raw agreement of `Agreement` as a mean over all pairs of judges, `votes` being of shape
    (n, judges); None where no two judges voted on one pair of answers."""
    chosen = hard(votes)
    units = _clusters(clusters, chosen)
    first, second = np.triu_indices(chosen.shape[1], 1)
    same = 1 - np.abs(chosen[:, first] - chosen[:, second])
    both = ~np.isnan(same)
    judged = both.any(axis=1)
    mean = np.where(both, same, 0.0)[judged].sum(axis=1) / both[judged].sum(axis=1)
    return _share(mean, units[judged], level)


def effective_votes(
    votes: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    gold: ArrayLike | None = None,
    level: float = 0.95,
) -> EffectiveVotes:
    """How many independent judges give a mean that varies as little as this panel's does:

        (sum of w)**2 * s2 / (w' C w)

    with C the covariance of the judges' votes over the n pairs that all of them voted on, s2 its
    mean diagonal and w the `weights` (equal); judges that never vary are left out. Equal weights, variances and correlations r make it
    k / (1 + (k - 1) * r), Kish's design effect. Without `gold` (each pair's right preference) the
    votes are taken as they are, so that judges who are right together agree as well: it says how
    many opinions there are. With it each vote becomes how right it is, 1 - |vote - gold|, so that
    only mistakes made together count.

    `votes` has the shape (n, judges). The interval is Student's on the scale of logarithms, from
    the influence of each pair. With equal weights the figure is at least 1.
    Raises ValueError for numbers outside [0, 1], no judge, and weights that are not above 0 in sum.
    Sources: Kish (1965), Survey Sampling; Kohli (2026), arXiv 2605.29800.
    """
    check_level(level)
    cast = _votes(votes)
    if cast.ndim != 2 or not cast.shape[1]:
        raise ValueError("votes must have the shape (n, judges), with at least one judge")
    k = cast.shape[1]
    w = np.ones(k) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (k,) or not (w >= 0).all() or not w.sum() > 0:
        raise ValueError(f"weights must be {k} numbers of 0 or more, not all of them 0")
    units = _clusters(clusters, cast)
    there = ~np.isnan(cast).any(axis=1)
    n = int(there.sum())
    varies = np.ptp(cast[there], axis=0) > ROUNDING if n else np.ones(k, dtype=bool)
    still = tuple(np.flatnonzero(~varies).tolist())
    found = EffectiveVotes(votes=None, correlation=np.nan, n_judges=k, n=n, constant=still)
    if gold is not None:
        right = _votes(gold)
        _clusters(None, cast, right)
        cast = 1 - np.abs(cast - right[:, None])
    cast, units, w = cast[there][:, varies], units[there], w[varies]
    if not n or not w.sum() > 0:
        return found
    centred = cast - cast.mean(axis=0)
    spread = np.square(centred).mean(axis=1)  # the mean over n of this is s2
    joint = np.square(centred @ w)  # and of this w' C w
    s2, of_sum = float(spread.mean()), float(joint.mean())
    found = replace(found, correlation=_mean_correlation(centred))
    if s2 <= ROUNDING or of_sum <= ROUNDING:
        return found
    value = float(w.sum() ** 2 * s2 / of_sum)
    error, t = _clustered_error(spread / s2 - joint / of_sum, units, level)
    low = value * float(np.exp(-t * error))
    interval = Interval(
        value=value,
        standard_error=value * error,
        low=max(low, min(value, 1.0)) if weights is None else low,
        high=value * float(np.exp(t * error)),
        n=n,
        level=level,
    )
    return replace(found, votes=interval)


def left_out(full: ArrayLike, without: ArrayLike) -> LeftOut:
    """How the ranking by `full` changes to the one by `without`, both of shape (rows,): each row's
    win rate by the whole panel and by the panel less one judge, nan where there is none."""
    one, two = np.asarray(full, dtype=np.float64), np.asarray(without, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"the rankings are of {one.shape} and {two.shape} rows")
    there = ~(np.isnan(one) | np.isnan(two))
    shifts = np.zeros(len(one), dtype=int)
    shifts[there] = ranks(two[there]) - ranks(one[there])
    # Which of each two rows is better, as 1, -1 or 0.
    better, then = (np.sign(values[:, None] - values) for values in (one[there], two[there]))
    largest = float(np.sqrt(np.square(better).sum() * np.square(then).sum()))
    tau = float((better * then).sum()) / largest if largest else float("nan")
    return LeftOut(tau=tau, shifts=tuple(shifts.tolist()))


def gold_figures(original: ArrayLike, swapped: ArrayLike, gold: ArrayLike) -> GoldFigures:
    """One judge's preferences in either order against gold labels, 0, 0.5 or 1; all of shape (n,)."""
    one, two, right = hard(original), hard(swapped), _votes(gold)
    _clusters(None, one, two, right)
    if not len(right) or not np.isin(right, (0.0, 0.5, 1.0)).all():
        raise ValueError("gold labels must be 0, 0.5 or 1, at least one of them")
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    return GoldFigures(
        accuracy_original=float((one == right).mean()),
        accuracy_swapped=float((two == right).mean()),
        accuracy_both=float(((one == right) & (two == right)).mean()),
        positional_agreement=float(same.mean()),
    )


# --------------------------------------------------------------------------------------------------
def _votes(preferences: ArrayLike) -> Floats:
    """As numbers in [0, 1] or nan; raises ValueError for others."""
    votes = np.asarray(preferences, dtype=np.float64)
    if not (np.isnan(votes) | ((votes >= 0) & (votes <= 1))).all():
        raise ValueError("preferences must be in [0, 1], or nan where missing")
    return votes


def _clusters(clusters: ArrayLike | None, *columns: Floats) -> Any:
    """The cluster of each vote as a whole number from 0 on; raises ValueError where lengths differ."""
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise ValueError(f"the lengths differ: {sorted(lengths)}")
    (n,) = lengths
    if clusters is None:
        return np.arange(n)
    given = np.asarray(clusters)
    if given.shape != (n,):
        raise ValueError(f"clusters must have the shape ({n},), not {given.shape}")
    return np.unique(given, return_inverse=True)[1]


def _share(scores: Floats, units: Any, level: float) -> Interval | None:
    """The mean of scores in [0, 1] with the interval of `influence_interval`, their units being the
    clusters; hard scores in clusters of one have Wilson's. None without scores."""
    if not scores.size:
        return None
    value = float(scores.mean())
    _, at = np.unique(units, return_inverse=True)
    size = np.bincount(at)
    influence = (np.bincount(at, scores) - value * size) / size.mean()
    n_usual = int(np.unique(scores, return_counts=True)[1].max())
    return influence_interval(value, influence, scores.size - n_usual, level)


def _clustered_error(influence: Floats, units: Any, level: float) -> tuple[float, float]:
    """The standard error of an estimate from each vote's influence on it, and Student's quantile."""
    total = np.bincount(np.unique(units, return_inverse=True)[1], influence)
    g = len(total)
    variance = float(np.square(total).sum()) / len(influence) ** 2 * g / max(g - 1, 1)
    return float(np.sqrt(variance)), float(stdtrit(max(g - 1, 1), (1 + level) / 2))


def _correlation(one: Floats, two: Floats, units: Any, level: float) -> Interval | None:
    check_level(level)
    a, b = one - one.mean(), two - two.mean()
    if min(a.std(), b.std()) <= ROUNDING:
        return None
    a, b = a / a.std(), b / b.std()
    r = float(np.clip((a * b).mean(), -1, 1))
    error, t = _clustered_error(a * b - r * (a * a + b * b) / 2, units, level)
    rest = 1 - r * r
    low = high = r
    if rest > ROUNDING:
        reach, z = t * error / rest, float(np.arctanh(r))
        low, high = float(np.tanh(z - reach)), float(np.tanh(z + reach))
    return Interval(value=r, standard_error=error, low=low, high=high, n=len(one), level=level)


def _mean_correlation(centred: Floats) -> float:
    spread = centred.std(axis=0)
    k = len(spread)
    if k < 2 or spread.min() <= ROUNDING:
        return float("nan")
    scaled = centred / spread
    # The mean square of the sum of k standardised votes is k + k * (k - 1) * the mean correlation.
    return float((np.square(scaled.sum(axis=1)).mean() - k) / (k * (k - 1)))
