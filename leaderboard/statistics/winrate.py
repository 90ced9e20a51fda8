"""The win rate: the mean preference for a model over the instructions, with its interval.

With one reference per instruction the value, its standard error and the counts are the figures
that AlpacaEval publishes, as fractions instead of percent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from leaderboard.statistics.uncertainty import Floats, check_level, mean_interval

COLUMNS = ("instruction_id", "preference", "low", "high")
OPTIONAL_COLUMNS = ("category",)


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """A win rate in [0, 1] and what it rests on.

    `value`, `standard_error`, `low` and `high` are over instructions; `n_instructions` counts
    those with a judged item. `n_wins`, `n_losses`, `n_draws` and `discrete` (wins and half of the
    draws) are over the `n_judged` judged items of `n_items`. `bound_low` and `bound_high` are the
    value if all missing votes had been losses or wins.
    """

    value: float
    standard_error: float
    low: float
    high: float
    discrete: float
    n_wins: int
    n_losses: int
    n_draws: int
    n_judged: int
    n_items: int
    n_instructions: int
    bound_low: float
    bound_high: float
    level: float

    @property
    def coverage(self) -> float:
        """The share of the items that have a verdict."""
        return self.n_judged / self.n_items


def win_rate(items: pd.DataFrame, level: float = 0.95) -> WinRate:
    """The win rate of one model.

    `items` has one row per comparison: `instruction_id`; `preference` in [0, 1] for the model, nan
    where it is missing; `low` and `high`, the preference if all missing votes of the item had gone
    against and for the model (equal to it if no vote is missing, 0 and 1 if all are); and, if it
    is known, `category`, which is not looked at.

    An instruction with several rows, one per reference, counts once, with their mean, and only
    where all of them are judged: what is missing against a strong reference must not flatter. The
    standard error and the interval are over these means. The two bounds are over all rows of all
    instructions, and the wins, losses and draws over all judged rows.

    If nothing was judged, the value, its standard error and the discrete win rate are nan, and the
    interval is 0 to 1. Raises ValueError for missing or unknown columns, missing ids, numbers
    outside [0, 1] and no rows.
    """
    check_level(level)
    _check_columns(items, COLUMNS)
    if items.empty:
        raise ValueError("no items")
    clusters, _ = pd.factorize(items["instruction_id"])
    if (clusters < 0).any():
        raise ValueError("instruction_id is missing in some rows")
    judged = items["preference"].notna().to_numpy()
    preference = _numbers(items[judged], "preference")
    low, high = _numbers(items, "low"), _numbers(items, "high")
    if (low > high).any():
        raise ValueError("low is above high in some rows")

    whole = ~np.isin(clusters, clusters[~judged])
    means = _cluster_means(clusters[whole], _numbers(items[whole], "preference"))
    n_wins = int(np.count_nonzero(preference > 0.5))
    n_losses = int(np.count_nonzero(preference < 0.5))
    n_draws = preference.size - n_wins - n_losses
    value, standard_error, discrete = float("nan"), float("nan"), float("nan")
    interval_low, interval_high = 0.0, 1.0
    if means.size:
        interval = mean_interval(means, level)
        value, standard_error = interval.value, interval.standard_error
        interval_low, interval_high = interval.low, interval.high
    if preference.size:
        discrete = (n_wins + n_draws / 2) / preference.size
    return WinRate(
        value=value,
        standard_error=standard_error,
        low=interval_low,
        high=interval_high,
        discrete=discrete,
        n_wins=n_wins,
        n_losses=n_losses,
        n_draws=n_draws,
        n_judged=preference.size,
        n_items=len(items),
        n_instructions=means.size,
        bound_low=float(_cluster_means(clusters, low).mean()),
        bound_high=float(_cluster_means(clusters, high).mean()),
        level=level,
    )


def reference_win_rate(n_instructions: int, level: float = 0.95) -> WinRate:
    """The win rate of the reference against itself: a draw everywhere, 0.5 by definition.

    It was not estimated, so its standard error and the width of its interval are 0.
    """
    check_level(level)
    if n_instructions < 1:
        raise ValueError(f"n_instructions must be at least 1, not {n_instructions}")
    return WinRate(
        value=0.5,
        standard_error=0.0,
        low=0.5,
        high=0.5,
        discrete=0.5,
        n_wins=0,
        n_losses=0,
        n_draws=n_instructions,
        n_judged=n_instructions,
        n_items=n_instructions,
        n_instructions=n_instructions,
        bound_low=0.5,
        bound_high=0.5,
        level=level,
    )


def by_category(items: pd.DataFrame, level: float = 0.95) -> dict[str, WinRate]:
    """The win rate of one model within each category, in the order of the categories' names.

    `items` is that of `win_rate`, with a column `category`.
    """
    _check_columns(items, COLUMNS + OPTIONAL_COLUMNS)
    if items["category"].isna().any():
        raise ValueError("category is missing in some rows")
    return {str(name): win_rate(rows, level) for name, rows in items.groupby("category", sort=True)}


def _check_columns(items: pd.DataFrame, required: tuple[str, ...]) -> None:
    known = COLUMNS + OPTIONAL_COLUMNS
    missing = [name for name in required if name not in items.columns]
    unknown = [str(name) for name in items.columns if name not in known]
    if missing:
        raise ValueError(f"missing columns: {', '.join(missing)}")
    if unknown:
        raise ValueError(f"unknown columns: {', '.join(unknown)}; known are {', '.join(known)}")


def _numbers(items: pd.DataFrame, column: str) -> Floats:
    """A column as floats; raises ValueError where it is not in [0, 1]."""
    values: Floats = items[column].to_numpy(dtype=np.float64, na_value=np.nan)
    outside = ~((values >= 0) & (values <= 1))  # also true for nan
    if outside.any():
        at = int(np.argmax(outside))
        instruction = items["instruction_id"].iloc[at]
        raise ValueError(f"{column} of instruction {instruction!r} is {values[at]}, not in [0, 1]")
    return values


def _cluster_means(clusters: NDArray[np.intp], values: Floats) -> Floats:
    """The mean of the values of each cluster that has any; clusters are numbered from 0."""
    counts = np.bincount(clusters)
    present = counts > 0
    sums = np.bincount(clusters, weights=values)
    means: Floats = sums[present] / counts[present]
    return means
