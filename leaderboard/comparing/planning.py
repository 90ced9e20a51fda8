"""What a board can show: which differences its instructions can find, and how many more it takes.

Two rows that are near each other are what one plans for, so the plan rests on neighbours in the
table: each row and the next one by win rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from judges.errors import UserError
from leaderboard.rows.standings import Standings
from leaderboard.statistics.power import (
    all_pairs_level,
    half_width,
    instructions_needed,
    power_at,
    smallest_detectable,
)
from leaderboard.statistics.uncertainty import ROUNDING, Floats, difference_interval

DIFFERENCES = (0.01, 0.02, 0.03, 0.05, 0.10)
"""What one may want to see, unless it is said."""

ENOUGH = 40
"""With fewer instructions on which two rows differ, the test asks for more than a plan says."""

WORST = math.sqrt(0.5)
"""The deviation of two models whose every verdict is the toss of a coin, each its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """The variation that a plan rests on, and in words where it is from."""

    typical: float
    """Standard deviation of the paired differences, the median of the pairs of neighbours."""
    cautious: float
    """The same, with nine in ten of the pairs below it."""
    alone: float
    """Standard deviation of one model's preferences, the median of the rows."""
    share_different: float
    """Of the instructions, those on which the two rows of a pair differ, the median of the pairs."""
    n_pairs: int
    """The pairs that this is from, 0 where it is assumed."""
    source: str

    @property
    def is_assumed(self) -> bool:
        return self.n_pairs == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What n instructions show, in fractions: the smallest difference of one pair, of a cautious
    one, of a pair among all of the board's, and the half-width of one win rate. A difference is
    None where even one of 100 points would be missed."""

    n: int
    one_pair: float | None
    cautious: float | None
    all_pairs: float | None
    half_width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a difference needs: the power at the plan's n, and the instructions for the power that
    is asked for, None where a billion would not do."""

    difference: float
    power_one_pair: float
    power_cautious: float
    power_all_pairs: float
    n_one_pair: int | None
    n_cautious: int | None
    n_all_pairs: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A board's plan; `n_pairs` are all the pairs of its ranked rows."""

    board: str
    n: int
    power: float
    level: float
    n_pairs: int
    basis: Basis
    sizes: tuple[Size, ...]
    differences: tuple[Target, ...]

    def is_rough(self, n: float) -> bool:
        """Whether so many instructions are too few for the plan to be relied on."""
        return n * self.basis.share_different < ENOUGH


def make_plan(
    table: Standings,
    board: str,
    *,
    n: int | None = None,
    difference: float | None = None,
    power: float = 0.8,
    models: tuple[str, str] | None = None,
    level: float = 0.95,
) -> Plan:
    """The plan of a board for n instructions (its own number), from the rows that it has.

    `difference` is a fraction, else DIFFERENCES are planned for; `models` are two rows to take the
    variation from. Raises UserError for what cannot be planned.
    """
    if n is not None and not 2 <= n <= 1_000_000_000:
        raise UserError(f"--n {n}: from two instructions to a billion can be planned for")
    if difference is not None and not 0 < difference <= 1:
        raise UserError(f"--difference {100 * difference:g}: points between 0 and 100 are needed")
    if not 0 < power < 1:
        raise UserError(f"--power {power:g}: a number between 0 and 1 is needed, such as 0.8")
    basis = find_basis(table, models)
    size = n or table.preferences.shape[1]
    n_models = len(table.models)
    strict = all_pairs_level(n_models, level)

    def detectable(deviation: float, n: int, level: float) -> float | None:
        found = smallest_detectable(deviation, n, level=level, power=power)
        return found if found <= 1 else None

    return Plan(
        board=board,
        n=size,
        power=power,
        level=level,
        n_pairs=math.comb(n_models, 2),
        basis=basis,
        sizes=tuple(
            Size(
                n=k,
                one_pair=detectable(basis.typical, k, level),
                cautious=detectable(basis.cautious, k, level),
                all_pairs=detectable(basis.typical, k, strict),
                half_width=half_width(basis.alone, k, level=level),
            )
            for k in (size // 2, size, 2 * size, 4 * size)
            if k > 1
        ),
        differences=tuple(
            Target(
                difference=d,
                power_one_pair=power_at(basis.typical, size, d, level=level),
                power_cautious=power_at(basis.cautious, size, d, level=level),
                power_all_pairs=power_at(basis.typical, size, d, level=strict),
                n_one_pair=instructions_needed(basis.typical, d, level=level, power=power),
                n_cautious=instructions_needed(basis.cautious, d, level=level, power=power),
                n_all_pairs=instructions_needed(basis.typical, d, level=strict, power=power),
            )
            for d in (DIFFERENCES if difference is None else (difference,))
        ),
    )


def board_resolution(table: Standings) -> float | None:
    """The smallest difference that the board shows with 80 % power; None where no two rows differ,
    or where half the interval of a difference is more: verdicts that are nearly all the same do not
    show what rarer ones would add."""
    basis = find_basis(table)
    if basis.is_assumed:
        return None
    smallest = smallest_detectable(basis.typical, table.preferences.shape[1])
    rows = _by_rate(table)
    rows += [np.full_like(rows[0], 0.5)] * (len(rows) == 1)
    found = [d[~np.isnan(d)] for d in _differences(rows)]
    half = float(np.median([difference_interval(d).half_width for d in found]))
    return smallest if smallest >= half else None


def find_basis(table: Standings, models: tuple[str, str] | None = None) -> Basis:
    """The variation of two named rows, of the board's neighbours, or of the one row that there is
    against an even one; where there is none, WORST is assumed."""
    if models is not None:
        rows = [_row(table, name) for name in models]
        source = f"{models[0]} and {models[1]}"
    else:
        rows = _by_rate(table)
        source = f"{len(rows) - 1} pairs of neighbours in the table"
        if len(rows) == 2:
            source = " and ".join(sorted(table.models))
        if len(rows) == 1:
            rows, source = [rows[0], np.full_like(rows[0], 0.5)], f"{table.models[0]}, the one row"
    differences = _differences(rows)
    found = [_deviation(difference) for difference in differences]
    if not found and models is not None:
        raise UserError(f"{source} do not differ on the instructions that both are judged on")
    if not found:
        return Basis(
            typical=WORST,
            cautious=WORST,
            alone=0.5,
            share_different=0.5,
            n_pairs=0,
            source="no two rows that differ are there, so the worst case is assumed",
        )
    return Basis(
        typical=float(np.median(found)),
        cautious=float(np.quantile(found, 0.9)),
        alone=float(np.median([*filter(None, map(_deviation, rows))])),
        share_different=float(np.median([_share_different(values) for values in differences])),
        n_pairs=len(found),
        source=source,
    )


def _by_rate(table: Standings) -> list[Floats]:
    # Two rows of one value are neighbours in any order: sorted by name, it is always the same.
    order = sorted(range(len(table.models)), key=lambda k: (_mean(table, k), table.models[k]))
    return [table.preferences[k] for k in order]


def _differences(rows: Sequence[Floats]) -> list[Floats]:
    """Of each row and the next one, where they vary."""
    return [b - a for a, b in pairwise(rows) if _deviation(b - a)]


def _deviation(values: Floats) -> float:
    """The standard deviation of what is not missing, 0 where it is equal or too little."""
    present = values[~np.isnan(values)]
    deviation = float(present.std(ddof=1)) if len(present) > 1 else 0.0
    return deviation if deviation > ROUNDING else 0.0


def _share_different(values: Floats) -> float:
    present = values[~np.isnan(values)]
    return float(np.mean(np.abs(present) > ROUNDING))


def _mean(table: Standings, k: int) -> float:
    return float(np.nanmean(table.preferences[k]))


def _row(table: Standings, name: str) -> Floats:
    if name not in table.models:
        raise UserError(f"no ranked row {name!r}; the board has: {', '.join(table.models)}")
    row: Floats = table.preferences[table.index(name)]
    return row
