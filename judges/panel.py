"""Several judges: every vote is kept, then the votes on an item are made one preference.

A judge's vote on a comparison is the mean of its verdicts over the orders; it is missing when one
of them is. A comparison has a panel preference when at least `min_votes` votes are there. Beside
it stand two bounds: the preference if every missing verdict had gone against the model, and for it.
They are widened to hold the preference, which leaves out the verdict that a missing vote did have.

A judge that is not to judge an item, as another one was drawn for it or as it would judge itself,
has no vote there: none is missing, and none is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from math import inf
from typing import Any, Literal

import numpy as np
import pandas as pd

from judges.base import Judge, judge_digest, stable_fraction
from judges.errors import UserError
from judges.schema import Annotation, Instruction

Aggregate = Literal["mean", "median", "majority", "weighted"]
Assign = Literal["all", "one"] | int
MAX_NAME = 96
"""Characters of a judge's name."""
COIN = "coin"
"""The annotator of a label that a coin gave: no judge is called so."""
MAX_NAMED = 4
"""More judges than these are counted, not named."""


@dataclass(frozen=True)
class Panel:
    """The judges of a board and how their votes become one preference."""

    judges: tuple[Judge, ...]
    aggregate: Aggregate = "mean"
    weights: tuple[float, ...] = ()
    """By judge, for the aggregate `weighted`; empty for all the others."""
    assign: Assign = "all"
    """Whether every judge judges every item, or one or so many of them, drawn for each instruction."""

    def __post_init__(self) -> None:
        names = [judge.name for judge in self.judges]
        if not names:
            raise UserError("a panel needs at least one judge")
        for name in names:
            if not name.isprintable() or not 1 <= len(name) <= MAX_NAME:
                raise UserError(
                    f"a judge's name must be printable, 1 to {MAX_NAME} characters, not {name!r}"
                )
        if COIN in names:
            raise UserError(f"no judge can be called {COIN!r}, as the coin of label noise is")
        if len(set(names)) < len(names):
            raise UserError(f"two judges of the panel have one name: {', '.join(sorted(names))}")
        if self.aggregate not in tuple(_AGGREGATES):  # a tuple: what TOML holds may have no hash
            known = ", ".join(_AGGREGATES)
            raise UserError(f"unknown aggregate {self.aggregate!r}; known: {known}")
        if self.assign not in ("all", "one") and (
            type(self.assign) is not int or not 2 <= self.assign <= len(names)
        ):
            several = f", and numbers from 2 to {len(names)}" if len(names) > 1 else ""
            raise UserError(f"unknown assign {self.assign!r}; known: all, one{several}")
        if (self.aggregate == "weighted") != bool(self.weights):
            raise UserError(
                "a judge's `weight` and the panel's aggregate = \"weighted\" go together"
            )
        if self.weights and not all(0 < weight < inf for weight in self.weights):
            raise UserError("a judge's weight must lie above 0")
        if self.weights and self.assign == "one":
            raise UserError('assign = "one": with one vote an item there is nothing to weigh')

    @property
    def names(self) -> list[str]:
        return [judge.name for judge in self.judges]

    @cached_property
    def digests(self) -> dict[str, str]:
        """Judge → digest of its identity."""
        return {judge.name: judge_digest(judge) for judge in self.judges}

    def is_anothers(self, verdict: Annotation) -> bool:
        """Whether a stored verdict is of another judge than the one of its name here; one that does
        not say, as those made elsewhere do not, is taken for ours."""
        if verdict.judge is None:
            return False
        return self.digests.get(verdict.annotator, verdict.judge) != verdict.judge

    @property
    def called(self) -> str:
        """The judges by name, as long as they are few."""
        if len(self.judges) <= MAX_NAMED:
            return ", ".join(self.names)
        drawn = f", {self.assign} of them an item" if self.is_drawn else ""
        return f"a panel of {len(self.judges)}{drawn}"

    @property
    def is_drawn(self) -> bool:
        """Whether not every judge judges every item."""
        return self.assign != "all"

    @property
    def votes(self) -> int:
        """Votes that an item has when none is missing."""
        if isinstance(self.assign, int):
            return self.assign
        return 1 if self.assign == "one" else len(self.judges)

    def assigned(
        self, instruction: Instruction, seed: int, excluded: Collection[str] = ()
    ) -> tuple[Judge, ...]:
        """The judges that are to judge answers to this instruction; `excluded` are names.

        Where some are drawn, every model is judged by the same ones on an instruction, and leaving a
        judge out gives only its own instructions to others. The draws are independent of the random
        order's.
        """
        left = [judge for judge in self.judges if judge.name not in excluded]
        if len(left) <= self.votes:
            return tuple(left)
        drawn: dict[str, Judge] = {}
        for attempt in count():
            u = stable_fraction(seed, f"judge {attempt}", instruction.text)
            judge = self.judges[int(u * len(self.judges))]
            if judge.name not in excluded:
                drawn[judge.name] = judge
            if len(drawn) == self.votes:
                break
        return tuple(drawn.values())

    def assignment(
        self, instructions: Sequence[Instruction], seed: int, excluded: Collection[str] = ()
    ) -> np.ndarray:
        """Who judges what, shape (instructions, judges), True where the judge is to judge."""
        if not self.is_drawn:
            return np.tile([name not in excluded for name in self.names], (len(instructions), 1))
        place = {name: n for n, name in enumerate(self.names)}
        mask = np.zeros((len(instructions), len(place)), dtype=bool)
        for row, instruction in enumerate(instructions):
            for judge in self.assigned(instruction, seed, excluded):
                mask[row, place[judge.name]] = True
        return mask

    def identity(self) -> Mapping[str, Any]:
        """All that changes a panel preference, for the board's hash."""
        weights = dict(zip(self.names, self.weights, strict=True)) if self.weights else None
        return {
            "aggregate": self.aggregate,
            "judges": {judge.name: judge.identity() for judge in self.judges},
            # Left out where it is the rule: boards that were made before hash as they did.
            **({"assign": self.assign} if self.is_drawn else {}),
            **({"weights": weights} if weights else {}),
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


def _majority(votes: np.ndarray, _: np.ndarray) -> np.ndarray:
    """1 where more judges prefer output 2 than output 1, 0 where fewer do, else 0.5."""
    balance = np.nansum(np.sign(votes - 0.5), axis=1)
    majority: np.ndarray = (np.sign(balance) + 1) / 2
    return majority


def _weighted(votes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of the votes that are there."""
    total = (~np.isnan(votes)) @ weights
    mean: np.ndarray = np.nan_to_num(votes) @ weights / total
    return mean


_AGGREGATES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": lambda votes, _: np.nanmean(votes, axis=1),
    "median": lambda votes, _: np.nanmedian(votes, axis=1),
    "majority": _majority,
    "weighted": _weighted,
}


def panel_preferences(
    annotations: pd.DataFrame,
    comparison_ids: Sequence[str],
    judges: Sequence[str],
    *,
    aggregate: Aggregate = "mean",
    min_votes: int | Literal["all"] = "all",
    n_orders: Sequence[int] | None = None,
    weights: Sequence[float] = (),
    assigned: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row a comparison: `preference` (NaN: missing), `low`, `high`, `n_votes`, and one column
    of votes a judge, in the order of `comparison_ids`.

    `annotations` has the columns comparison_id, annotator, preference (NaN: missing). What it holds
    on other comparisons or of other annotators is left out; a comparison that it does not hold at
    all has every vote missing. `n_orders` is the number of orders that each judge was to be shown
    (1): an order without a row is missing, too. `weights` are by judge, for `weighted`. `assigned`
    has the shape (comparisons, judges) and says who was to judge what: everyone everything unless
    it is given. Where fewer than `min_votes` were to judge, all of them are needed; where nobody
    was, the preference is missing. Raises UserError when `min_votes` is not in 1..judges.
    """
    shape = (len(comparison_ids), len(judges))
    needed = len(judges) if min_votes == "all" else min_votes
    if not 1 <= needed <= len(judges):
        raise UserError(
            f"min_votes must lie in 1..{len(judges)}, the number of judges, or be 'all', "
            f"not {min_votes!r}"
        )
    asked = np.ones(shape, dtype=bool) if assigned is None else assigned
    row = {comparison: i for i, comparison in enumerate(comparison_ids)}
    column = {judge: j for j, judge in enumerate(judges)}
    at = annotations["comparison_id"].map(row).to_numpy(float)
    of = annotations["annotator"].map(column).to_numpy(float)
    held = ~(np.isnan(at) | np.isnan(of))
    cell = (at[held] * shape[1] + of[held]).astype(int)
    verdicts = annotations["preference"].to_numpy(float)[held]

    found = np.bincount(cell, minlength=shape[0] * shape[1])
    wanted = np.tile(np.ones(shape[1]) if n_orders is None else np.asarray(n_orders), shape[0])
    lost = np.maximum(wanted - found, 0)

    def vote(missing: float) -> np.ndarray:
        filled = np.where(np.isnan(verdicts), missing, verdicts)
        total = np.bincount(cell, filled, minlength=shape[0] * shape[1])
        total = total + np.where(lost > 0, lost * missing, 0.0)
        mean: np.ndarray = (total / (found + lost)).reshape(shape)
        return np.where(asked, mean, np.nan)

    def combined(votes: np.ndarray, where: np.ndarray, otherwise: float) -> np.ndarray:
        result = np.full(shape[0], otherwise)
        if where.any():
            each = np.asarray(weights or np.ones(shape[1]), dtype=float)
            result[where] = _AGGREGATES[aggregate](votes[where], each)
        return result

    votes, n_asked = vote(np.nan), asked.sum(axis=1)
    n_votes = (~np.isnan(votes)).sum(axis=1)
    anyone = n_asked > 0
    enough = anyone & (n_votes >= np.minimum(needed, n_asked))
    preference = combined(votes, enough, np.nan)
    return pd.DataFrame(
        {
            "comparison_id": list(comparison_ids),
            "preference": preference,
            "low": np.fmin(combined(vote(0.0), anyone, 0.0), preference),
            "high": np.fmax(combined(vote(1.0), anyone, 1.0), preference),
            "n_votes": n_votes,
            **{judge: votes[:, j] for judge, j in column.items()},
        }
    )
