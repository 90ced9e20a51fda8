"""Two rows of a board on the same instructions: is one better, by how much, is it sure?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from judges.errors import UserError
from leaderboard.boards import Board, load_board
from leaderboard.standings import Standings, standings
from leaderboard.statistics.uncertainty import difference_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The paired difference of two models' win rates: a - b, in fractions.

    `p_value` is of one sign-flip test; `p_holm` is adjusted for every pair of the board, and what
    `is_separable` rests on.
    """

    a: str
    b: str
    difference: float
    standard_error: float
    low: float
    high: float
    p_value: float
    p_holm: float
    n: int
    n_wins: int
    n_losses: int
    n_ties: int
    level: float = 0.95

    @property
    def is_separable(self) -> bool:
        return self.p_holm <= 1 - self.level + 1e-12  # as in rank_intervals


def compare(
    a: str, b: str, *, board: str | Board = "starter", results: str = "results"
) -> Comparison:
    """Compare two rows of a board from their stored verdicts; nothing is judged.

    Raises UserError for a name that is not in the board's table, or two rows without a common
    judged instruction.
    """
    loaded = load_board(board, Path(results)) if isinstance(board, str) else board
    return compare_in(standings(loaded), a, b)


def compare_in(table: Standings, a: str, b: str) -> Comparison:
    """`compare` on standings that are there already."""
    if a == b:
        raise UserError(f"{a} is compared with itself")
    for name in (a, b):
        if name in table.left_out:
            raise UserError(f"the row {name!r} is not in the table ({table.left_out[name]})")
        if name not in table.models:
            raise UserError(f"no row {name!r}; the board has: {', '.join(sorted(table.models))}")
    i, j = table.index(a), table.index(b)
    difference = table.preferences[i] - table.preferences[j]
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        raise UserError(f"{a} and {b} have no judged instruction in common")
    interval = difference_interval(difference)
    return Comparison(
        a=a,
        b=b,
        difference=interval.value,
        standard_error=interval.standard_error,
        low=interval.low,
        high=interval.high,
        p_value=float(table.pairs.p_value[i, j]),
        p_holm=float(table.pairs.holm[i, j]),
        n=len(difference),
        n_wins=int((difference > 0).sum()),
        n_losses=int((difference < 0).sum()),
        n_ties=int((difference == 0).sum()),
    )
