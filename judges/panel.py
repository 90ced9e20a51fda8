"""Several judges: every vote is kept, then the votes on an item are made one preference.

A judge's vote on a comparison is the mean of its verdicts over the orders; it is missing when one
of them is. A comparison has a panel preference when at least `min_votes` votes are there. Beside
it stand two bounds: the preference if every missing verdict had gone against the model, and for it.
They are widened to hold the preference, which leaves out the verdict that a missing vote did have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from judges.base import Judge
from judges.errors import UserError
from judges.schema import Instruction

Aggregate = Literal["mean", "median", "majority"]
MAX_NAME = 96
"""Characters of a judge's name."""


@dataclass(frozen=True, slots=True)
class Panel:
    """The judges of a board and how their votes become one preference."""

    judges: tuple[Judge, ...]
    aggregate: Aggregate = "mean"

    def __post_init__(self) -> None:
        names = [judge.name for judge in self.judges]
        if not names:
            raise UserError("a panel needs at least one judge")
        for name in names:
            if not name.isprintable() or not 1 <= len(name) <= MAX_NAME:
                raise UserError(
                    f"a judge's name must be printable, 1 to {MAX_NAME} characters, not {name!r}"
                )
        if len(set(names)) < len(names):
            raise UserError(f"two judges of the panel have one name: {', '.join(sorted(names))}")
        if self.aggregate not in tuple(_AGGREGATES):  # a tuple: what TOML holds may have no hash
            known = ", ".join(_AGGREGATES)
            raise UserError(f"unknown aggregate {self.aggregate!r}; known: {known}")

    @property
    def names(self) -> list[str]:
        return [judge.name for judge in self.judges]

    def identity(self) -> Mapping[str, Any]:
        """All that changes a panel preference, for the board's hash."""
        return {
            "aggregate": self.aggregate,
            "judges": {judge.name: judge.identity() for judge in self.judges},
        }

    def check(self, instructions: Sequence[Instruction]) -> None:
        """Raises UserError where a judge cannot judge an instruction."""
        for judge in self.judges:
            obstacles = [(i.id, why) for i in instructions if (why := judge.obstacle(i))]
            if obstacles:
                first, why = obstacles[0]
                raise UserError(
                    f"judge {judge.name} cannot judge {len(obstacles)} of {len(instructions)} "
                    f"instructions; the first is {first!r}: {why}"
                )


def _majority(votes: np.ndarray) -> np.ndarray:
    """1 where more judges prefer output 2 than output 1, 0 where fewer do, else 0.5."""
    balance = np.nansum(np.sign(votes - 0.5), axis=1)
    majority: np.ndarray = (np.sign(balance) + 1) / 2
    return majority


_AGGREGATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda votes: np.nanmean(votes, axis=1),
    "median": lambda votes: np.nanmedian(votes, axis=1),
    "majority": _majority,
}


def panel_preferences(
    annotations: pd.DataFrame,
    comparison_ids: Sequence[str],
    judges: Sequence[str],
    *,
    aggregate: Aggregate = "mean",
    min_votes: int | Literal["all"] = "all",
    n_orders: Sequence[int] | None = None,
) -> pd.DataFrame:
    """One row a comparison: `preference` (NaN: missing), `low`, `high`, `n_votes`, and one column
    of votes a judge, in the order of `comparison_ids`.

    `annotations` has the columns comparison_id, annotator, preference (NaN: missing). What it holds
    on other comparisons or of other annotators is left out; a comparison that it does not hold at
    all has every vote missing. `n_orders` is the number of orders that each judge was to be shown
    (1): an order without a row is missing, too. Raises UserError when `min_votes` is not in 1..judges.
    """
    shape = (len(comparison_ids), len(judges))
    needed = len(judges) if min_votes == "all" else min_votes
    if not 1 <= needed <= len(judges):
        raise UserError(
            f"min_votes must lie in 1..{len(judges)}, the number of judges, or be 'all', "
            f"not {min_votes!r}"
        )
    row = {comparison: i for i, comparison in enumerate(comparison_ids)}
    column = {judge: j for j, judge in enumerate(judges)}
    at = annotations["comparison_id"].map(row).to_numpy(float)
    of = annotations["annotator"].map(column).to_numpy(float)
    held = ~(np.isnan(at) | np.isnan(of))
    cell = (at[held] * shape[1] + of[held]).astype(int)
    verdicts = annotations["preference"].to_numpy(float)[held]

    count = np.bincount(cell, minlength=shape[0] * shape[1])
    wanted = np.tile(np.ones(shape[1]) if n_orders is None else np.asarray(n_orders), shape[0])
    lost = np.maximum(wanted - count, 0)

    def vote(missing: float) -> np.ndarray:
        filled = np.where(np.isnan(verdicts), missing, verdicts)
        total = np.bincount(cell, filled, minlength=shape[0] * shape[1])
        total = total + np.where(lost > 0, lost * missing, 0.0)
        mean: np.ndarray = total / (count + lost)
        return mean.reshape(shape)

    votes, n_votes = vote(np.nan), (~np.isnan(vote(np.nan))).sum(axis=1)
    enough = n_votes >= needed
    combine = _AGGREGATES[aggregate]
    preference = np.full(shape[0], np.nan)
    if enough.any():
        preference[enough] = combine(votes[enough])
    return pd.DataFrame(
        {
            "comparison_id": list(comparison_ids),
            "preference": preference,
            "low": np.fmin(combine(vote(0.0)), preference),
            "high": np.fmax(combine(vote(1.0)), preference),
            "n_votes": n_votes,
            **{judge: votes[:, j] for judge, j in column.items()},
        }
    )
