"""Bradley-Terry strengths: one scale for models that met in pairs, from head-to-head verdicts.

A battle is one verdict on the answers of two models to one instruction. The model says

    P(a beats b) = 1 / (1 + exp(strength_b - strength_a)),

and the strengths are those of the largest likelihood, a preference of p counting as p of a win and
1 - p of a loss. The verdicts on one instruction are not independent, so instructions are the units
of all intervals here. Sources: Bradley and Terry (1952), Biometrika 39; for the intervals Liang and
Zeger (1986), Biometrika 73.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, stdtrit

from leaderboard.statistics.uncertainty import ROUNDING, Floats, Interval, check_level

COLUMNS = ("instruction_id", "model_1", "model_2", "preference")
RATING_OF_ANCHOR = 1000.0
RATING_POINTS = 400 / np.log(10)
"""Rating points per unit of strength: 400 points are odds of 10 to 1, as in chess."""

_CELLS_AT_ONCE = 2**22
"""The size of the largest array of one block of bootstrap rounds; 32 MB."""

_MOST_STEPS = 1000
"""Five or so are the rule; a range of strengths of 30 takes about 50."""

Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BradleyTerry:
    """The strengths of models, in the order of their names, and how sure they are.

    `strength` is in natural log odds, 0 for the anchor, or on average if there is none; `rating` is
    1000 + 400 / ln(10) * strength, and `low` to `high` its interval; all have shape (models,), as
    has `standard_error`, of the strength. Of shape (models, models) are `win_probability`, of the
    row's model against the column's, and `covariance`, of the strengths. With a single cluster,
    errors and intervals are nan.
    """

    models: tuple[str, ...]
    strength: Floats
    standard_error: Floats
    rating: Floats
    low: Floats
    high: Floats
    win_probability: Floats
    covariance: Floats
    n_battles: int
    n_clusters: int
    anchor: str | None
    level: float

    def difference(self, a: str, b: str) -> Interval:
        """The strength of `a` less that of `b`, with its interval; `n` is the number of clusters.

        Raises ValueError for unknown models.
        """
        contrast = np.zeros(len(self.models))
        contrast[_index(self.models, a)] += 1
        contrast[_index(self.models, b)] -= 1
        value = float(contrast @ self.strength)
        error = float(np.sqrt(contrast @ self.covariance @ contrast))
        half = _quantile(self.n_clusters, self.level) * error
        return Interval(
            value=value,
            standard_error=error,
            low=value - half,
            high=value + half,
            n=self.n_clusters,
            level=self.level,
        )


def bradley_terry(
    battles: pd.DataFrame, *, anchor: str | None = None, level: float = 0.95
) -> BradleyTerry:
    """The strengths of all models of `battles`, one row a verdict, with intervals.

    Its columns: `instruction_id`; `model_1` and `model_2`, names; `preference`, the probability in
    [0, 1] that model_2 is better, 0.5 for a tie, nan where it is missing, which drops the row.

    The covariance is the sandwich of the inverse curvature of the log likelihood about the
    products of the scores, summed within each instruction, times G / (G - 1) for G instructions;
    the interval takes Student's quantile at G - 1 degrees of freedom.

    Where a group of models won or lost everything against the others, the likelihood has no
    maximum: `_with_ties` says how little is then added, and only then. Verdicts between such
    groups, and those of a model whose verdicts are all the same, look constant only because the
    rare other one is missing: the variance that is expected between groups, and for such a model
    that of one other verdict a pair, is added to what is observed.

    Raises ValueError for missing or unknown columns, missing ids or names, a model against itself,
    preferences outside [0, 1], no battles, an unknown anchor, and models that no chain of battles
    joins.
    """
    check_level(level)
    held = _read(battles)
    at = None if anchor is None else _index(held.models, anchor)
    strength, wins, is_one_way = _fit(held)
    games = wins + wins.T
    probability = expit(strength[:, None] - strength)
    variance = games * probability * probability.T

    residual = held.preference - probability[held.second, held.first]
    n = len(held.models)
    scores = coo_array(
        (
            np.concatenate([residual, -residual]),
            (np.tile(held.cluster, 2), np.concatenate([held.second, held.first])),
        ),
        shape=(held.n_clusters, n),
    ).tocsr()
    constant = _is_constant(held)
    # One unseen verdict, but never more doubt than half a win leaves: an error of the square root of 2.
    unseen = np.minimum(2 * variance**2, 1) * (constant | constant[:, None])
    unseen[is_one_way] = variance[is_one_way]
    factor = held.n_clusters / (held.n_clusters - 1) if held.n_clusters > 1 else float("nan")
    spread = factor * (scores.T @ scores).toarray()
    spread += _curvature(unseen)
    # The ones turn the direction that the likelihood leaves open; no score has a part in it.
    inverse = np.linalg.inv(_curvature(variance) + 1)
    covariance = inverse @ spread @ inverse
    if at is not None:
        strength = strength - strength[at]
        to_anchor = np.eye(n)
        to_anchor[:, at] -= 1
        covariance = to_anchor @ covariance @ to_anchor.T
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    rating = RATING_OF_ANCHOR + RATING_POINTS * strength
    half = RATING_POINTS * _quantile(held.n_clusters, level) * error
    return BradleyTerry(
        models=held.models,
        strength=strength,
        standard_error=error,
        rating=rating,
        low=rating - half,
        high=rating + half,
        win_probability=probability,
        covariance=covariance,
        n_battles=held.preference.size,
        n_clusters=held.n_clusters,
        anchor=anchor,
        level=level,
    )


def bootstrap_strengths(battles: pd.DataFrame, n_rounds: int = 1000, seed: int = 0) -> Floats:
    """Strengths refitted to resampled instructions, shape (n_rounds, models), 0 on average.

    A round draws as many instructions as there are, with replacement, each with all its verdicts.
    `battles`, the order of the models and the errors are those of `bradley_terry`; a model that a
    round did not draw, or that won or lost everything in it, is held by the same weak ties.
    """
    if n_rounds < 1:
        raise ValueError(f"n_rounds must be at least 1, not {n_rounds}")
    held = _read(battles)
    strength, wins, _ = _fit(held)
    met = wins + wins.T > 0
    n, n_clusters = len(held.models), held.n_clusters
    by_cluster = _wins_by_cluster(held)
    rng = np.random.default_rng(seed)
    block = max(_CELLS_AT_ONCE // max(n * n, n_clusters), 1)
    rounds = np.empty((n_rounds, n))
    for begin in range(0, n_rounds, block):
        size = min(block, n_rounds - begin)
        drawn = np.empty((n_clusters, size))
        for k in range(size):
            picks = rng.integers(n_clusters, size=n_clusters)
            drawn[:, k] = np.bincount(picks, minlength=n_clusters)
        resampled = np.ascontiguousarray((by_cluster @ drawn).T).reshape(size, n, n)
        resampled, _ = _with_ties(resampled, met)
        rounds[begin : begin + size] = _maximum(resampled, np.tile(strength, (size, 1)))
    return rounds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Battles:
    """Battles as numbers; every array has shape (battles,) and no verdict is missing."""

    models: tuple[str, ...]
    first: Codes
    second: Codes
    cluster: Codes
    n_clusters: int
    preference: Floats


def _read(battles: pd.DataFrame) -> _Battles:
    if sorted(map(str, battles.columns)) != sorted(COLUMNS):
        found = ", ".join(map(str, battles.columns))
        raise ValueError(f"the columns must be {', '.join(COLUMNS)}, not {found}")
    battles = battles[battles["preference"].notna()]
    if battles.empty:
        raise ValueError("no battles")
    preference = battles["preference"].to_numpy(np.float64)
    if not np.all((preference >= 0) & (preference <= 1)):
        raise ValueError("preferences must be in [0, 1], or nan where missing")
    cluster, clusters = pd.factorize(battles["instruction_id"])
    # By name, so that neither the order of the rows nor that of the two models shows.
    both, names = pd.factorize(pd.concat([battles["model_1"], battles["model_2"]]), sort=True)
    if (cluster < 0).any() or (both < 0).any():
        raise ValueError("instruction_id, model_1 or model_2 is missing in some rows")
    first, second = both[: len(battles)], both[len(battles) :]
    if (first == second).any():
        raise ValueError(f"{names[first[first == second][0]]!r} is compared with itself")
    return _Battles(
        models=tuple(map(str, names)),
        first=first,
        second=second,
        cluster=cluster,
        n_clusters=len(clusters),
        preference=preference,
    )


def _wins_by_cluster(held: _Battles) -> csr_array:
    """The wins of a over b, row a * models + b, on each instruction, column."""
    n = len(held.models)
    cell = np.concatenate([held.second * n + held.first, held.first * n + held.second])
    credit = np.concatenate([held.preference, 1 - held.preference])
    shape = (n * n, held.n_clusters)
    by_cluster = coo_array((credit, (cell, np.tile(held.cluster, 2))), shape=shape).tocsr()
    by_cluster.eliminate_zeros()
    return by_cluster


def _fit(held: _Battles) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The strengths, the wins that they were fitted to, and which pairs are one-way."""
    n = len(held.models)
    won_2 = np.bincount(held.second * n + held.first, held.preference, n * n)
    won_1 = np.bincount(held.first * n + held.second, 1 - held.preference, n * n)
    wins = (won_1 + won_2).astype(np.float64).reshape(n, n)
    met = wins + wins.T > 0
    n_islands, island = connected_components(met, directed=False)
    if n_islands > 1:
        apart = [held.models[np.argmax(island == k)] for k in range(min(n_islands, 3))]
        raise ValueError(
            f"the models fall into {n_islands} groups that never met, around "
            f"{', '.join(map(repr, apart))}: their strengths cannot be compared"
        )
    tied, is_one_way = _with_ties(wins[None], met)
    return _maximum(tied, np.zeros((1, n)))[0], tied[0], is_one_way[0]


def _is_constant(held: _Battles) -> NDArray[np.bool_]:
    """The models whose verdicts are all the same, shape (models,)."""
    model = np.concatenate([held.second, held.first])
    preference = np.concatenate([held.preference, 1 - held.preference])
    one_of_them = np.empty(len(held.models))
    one_of_them[model] = preference
    is_other = np.abs(preference - one_of_them[model]) > ROUNDING
    result: NDArray[np.bool_] = np.bincount(model, is_other) == 0
    return result


def _with_ties(wins: Floats, met: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Wins, shape (rounds, models, models), with ties added where there would be no maximum.

    There is one where a chain of wins leads from every model to every other (Ford 1957, American
    Mathematical Monthly 64). Otherwise the models fall into groups within which it does; pairs of
    models of two groups, if they are among those that `met`, are one-way, and the second result.
    Each group then spreads a quarter of a win and a quarter of a loss evenly over its one-way
    pairs: a model that lost everything to a group so gets half a win from it, however many they
    are. The ties are between models that met, so the choice of an anchor does not matter.
    """
    n_rounds, n, _ = wins.shape
    games = wins + wins.swapaxes(1, 2)
    winner = np.nonzero(wins > ROUNDING * games)
    # One graph whose parts are the rounds: one call instead of one a round.
    links = (winner[0] * n + winner[1], winner[0] * n + winner[2])
    graph = coo_array((np.ones(len(winner[0]), bool), links), shape=(n_rounds * n, n_rounds * n))
    _, group = connected_components(graph.tocsr(), directed=True, connection="strong")
    group = group.reshape(n_rounds, n)
    is_one_way = (group[:, :, None] != group[:, None, :]) & met
    of_group = np.bincount(group.ravel(), is_one_way.sum(axis=2).ravel())
    share = (0.25 / np.maximum(of_group, 1))[group]
    return wins + is_one_way * (share[:, :, None] + share[:, None, :]), is_one_way


def _maximum(wins: Floats, start: Floats) -> Floats:
    """The strengths, shape (rounds, models), of the largest likelihood of each round's wins.

    Newton's method. Along a step d the third derivative is at most r times the second, r being the
    range of d; so log(1 + r) / r of the step never lowers the likelihood, wherever it starts, and
    is nearly all of the step close to the maximum (Bach 2010, Electronic Journal of Statistics 4).
    """
    strength: Floats = start - start.mean(axis=1, keepdims=True)
    games = wins + wins.swapaxes(1, 2)
    for _ in range(_MOST_STEPS):
        odds = np.exp(strength)
        probability = odds[:, :, None] / (odds[:, :, None] + odds[:, None, :])
        chance_of_loss = probability.swapaxes(1, 2)  # less of it is lost to rounding than by 1 - p
        unexpected = wins * chance_of_loss
        gradient = unexpected.sum(axis=2) - unexpected.sum(axis=1)
        # The ones hold the mean at 0, which the likelihood leaves open.
        curvature = _curvature(games * probability * chance_of_loss) + 1
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        largest = np.maximum(np.ptp(step, axis=1), ROUNDING)
        strength += step * (np.log1p(largest) / largest)[:, None]
        if largest.max() < 1e-6:  # what is left is of the order of its square
            return strength
    raise ValueError(
        f"the strengths did not settle in {_MOST_STEPS} steps: are they too far apart?"
    )


def _curvature(variance: Floats) -> Floats:
    """Minus the second derivatives of the log likelihood, from the variance of each pair's wins."""
    result: Floats = -variance
    diagonal = np.arange(variance.shape[-1])
    result[..., diagonal, diagonal] += variance.sum(axis=-1)
    return result


def _quantile(n_clusters: int, level: float) -> float:
    return float(stdtrit(max(n_clusters - 1, 1), (1 + level) / 2))


def _index(models: tuple[str, ...], model: str) -> int:
    if model not in models:
        raise ValueError(f"no battle of {model!r}; the models are {', '.join(models)}")
    return models.index(model)
