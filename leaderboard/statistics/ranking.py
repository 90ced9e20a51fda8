"""Which models differ: paired tests of all pairs of models, and the ranks that they leave open.

All of it compares rows of one board, so it is derived when it is shown and never stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from leaderboard.statistics.uncertainty import (
    Floats,
    check_level,
    holm,
    paired_p_rows,
    weight_of_unseen,
)

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """The paired tests of all pairs of models; every array has shape (models, models).

    `difference[i, j]` is the mean preference for i less that for j over the `n_common[i, j]`
    instructions that both have; it is nan where there is none. `p_value` is that of `paired_p`
    and `holm` the same adjusted for the number of pairs; both are 1 on the diagonal.
    """

    difference: Floats
    p_value: Floats
    holm: Floats
    n_common: Ints


def paired_differences(preferences: Floats) -> Pairs:
    """The tests of all pairs of rows of `preferences`, shape (models, instructions).

    Each number is in [0, 1], or nan where it is missing; instructions with several judged items
    come as their mean. The reference itself is a row of 0.5.
    """
    if preferences.ndim != 2:
        raise ValueError(f"preferences must have two dimensions, not {preferences.ndim}")
    present = ~np.isnan(preferences)
    if not np.all((preferences[present] >= 0) & (preferences[present] <= 1)):
        raise ValueError("preferences must be in [0, 1], or nan where missing")
    n_models = len(preferences)
    n_common = (present.astype(np.int64) @ present.T.astype(np.int64)).astype(np.int64)
    total = np.zeros((n_models, n_models))
    p_value = np.ones((n_models, n_models))
    for model in range(n_models - 1):
        # Subtracting row by row keeps equal rows at exactly zero, which the expansion of the
        # square into matrix products would not.
        differences = preferences[model] - preferences[model + 1 :]
        differences[np.isnan(differences)] = 0.0  # counts for nothing in the sum and in the test
        total[model, model + 1 :] = differences.sum(axis=1)
        p_value[model, model + 1 :] = paired_p_rows(differences, n_common[model, model + 1 :])
    total -= total.T
    difference = np.full_like(total, np.nan)
    np.divide(total, n_common, out=difference, where=n_common > 0)

    return _pairs(difference, np.minimum(p_value, p_value.T), n_common)


def paired_estimates(values: Floats, influence: Floats) -> Pairs:
    """The tests of all pairs of `values`, shape (models,), that were fitted rather than averaged.

    `influence`, shape (models, instructions), is that of `influence_interval`, nan where a model
    was not judged, so that a model's error is the mean of its influence. The test is Student's t of
    the difference, with the variance of the difference of two models' influences. A value
    that was not estimated, as the reference's 0.5, comes with an influence of 0.
    """
    if influence.ndim != 2 or values.shape != influence.shape[:1]:
        raise ValueError(f"{values.shape} values do not go with influences of {influence.shape}")
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError("values must be in [0, 1]")
    present = ~np.isnan(influence)
    n_common = (present.astype(np.int64) @ present.T.astype(np.int64)).astype(np.int64)
    count = np.maximum(present.sum(axis=1), 1)
    errors = np.where(present, influence, 0.0) / count[:, None]
    difference = values[:, None] - values
    p_value = np.ones((len(values), len(values)))
    for model in range(len(values) - 1):
        n = np.maximum(n_common[model, model + 1 :], 1)
        # What one instruction adds to half the difference, which lies in [-0.5, 0.5].
        pulls = (errors[model] - errors[model + 1 :]) * n[:, None] / 2
        distance = np.abs(difference[model, model + 1 :]) / 2
        # As in `paired_p`: what differences of one instruction in many would add, unseen so far.
        unseen = weight_of_unseen(pulls) * distance / 2
        variance = np.maximum(np.square(pulls).sum(axis=1) / n, unseen)
        spread = np.sqrt(variance / n)
        t = np.divide(distance, spread, out=np.zeros_like(spread), where=distance > 0)
        p_value[model, model + 1 :] = 2 * stdtr(np.maximum(n - 1, 1), -t)
    return _pairs(difference, np.minimum(p_value, p_value.T), n_common)


def rank_intervals(pairs: Pairs, level: float = 0.95) -> tuple[Ints, Ints]:
    """The best and the worst rank, from 1, that each model can have; two arrays, shape (models,).

    The best is 1 + the number of models that are significantly better, the worst is the number of
    models less those that are significantly worse, both after Holm's adjustment, so that all of
    these comparisons together contain a wrong one with a chance of at most 1 - level.
    """
    check_level(level)
    significant = pairs.holm <= 1 - level + 1e-12  # 1 - 0.9 is a little less than 0.1
    better = significant & (pairs.difference > 0)  # [i, j]: i is better than j
    low = 1 + better.sum(axis=0)
    high = len(better) - better.sum(axis=1)
    return low.astype(np.int64), high.astype(np.int64)


def ranks(values: ArrayLike) -> Ints:
    """The rank of each value, from 1 for the largest; equal values share the better rank, 1 1 3.

    Missing values (nan) share the last.
    """
    ordered = _descending(values)
    larger: Ints = np.searchsorted(np.sort(ordered), ordered, side="left").astype(np.int64)
    return 1 + larger


def tie_groups(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> Ints:
    """The group of each model, from 1 for the best, to show what a ranking does not tell apart.

    Going down the models by value, a model joins the current group while its rank interval `low`
    to `high` overlaps that of the group's first member, and otherwise starts the next group. So
    each member may be as good as the first of its group; two members of different groups may be
    tied as well, and only `Pairs` tells.
    """
    lows, highs = np.asarray(low, dtype=np.int64), np.asarray(high, dtype=np.int64)
    keys = _descending(values)
    if not keys.shape == lows.shape == highs.shape:
        raise ValueError("values, low and high must have the same length")
    groups = np.zeros(len(keys), dtype=np.int64)
    group, first = 0, -1
    for model in np.argsort(keys, kind="stable"):
        if group == 0 or lows[model] > highs[first] or lows[first] > highs[model]:
            group, first = group + 1, model
        groups[model] = group
    return groups


def _pairs(difference: Floats, p_value: Floats, n_common: Ints) -> Pairs:
    upper = np.triu_indices(len(p_value), k=1)
    adjusted = np.ones_like(p_value)
    adjusted[upper] = holm(p_value[upper])
    return Pairs(
        difference=difference,
        p_value=p_value,
        holm=np.minimum(adjusted, adjusted.T),  # the lower triangle still holds ones
        n_common=n_common,
    )


def _descending(values: ArrayLike) -> Floats:
    """Keys that sort the largest value first; numpy sorts nan last."""
    keys: Floats = -np.asarray(values, dtype=np.float64)
    if keys.ndim != 1:
        raise ValueError(f"values must have one dimension, not {keys.ndim}")
    return keys
