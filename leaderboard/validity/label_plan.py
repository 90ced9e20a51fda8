"""How many human labels buy which interval, with the board's judges and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from judges.errors import UserError
from leaderboard.boards.board import Board
from leaderboard.rows.standings import Standings
from leaderboard.statistics.ppi import expected_half_width, labels_needed
from leaderboard.validity.anchored import LEAST, anchor

ASSUMED = (0.4, 0.6, 0.8)
"""Correlations of judge and human to plan for where none was observed."""
NUMBERS = (LEAST, 50, 100, 200, 400, 800)
HALF_WIDTHS = (0.10, 0.07, 0.05, 0.03)
WORST = 0.5
"""The standard deviation of labels that are wins and losses, as many of one as of the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The half-width that `n` labels will have, alone and by the plan's correlations; fractions."""

    n: int
    alone: float
    together: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """The labels that a half-width takes; None where all instructions of the board would not do."""

    half_width: float
    alone: int | None
    together: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """Which interval human labels of a random sample of a board's instructions buy."""

    board: str
    n_items: int
    level: float
    deviation: float
    """Standard deviation of the labels."""
    correlations: tuple[float, ...]
    is_assumed: bool
    source: str
    expected: tuple[Expected, ...]
    needed: tuple[Needed, ...]


def plan_labels(
    board: Board,
    table: Standings,
    *,
    n: int | None = None,
    labels: Path | None = None,
    level: float = 0.95,
) -> LabelPlan:
    """The plan for `n` labels, or for several numbers of them.

    Deviation and correlation are those seen in a file of `labels`, the median of its rows, or the
    worst deviation and the correlations ASSUMED. Raises UserError for more labels than the board has
    instructions, fewer than LEAST, and labels that cannot be used.
    """
    n_items = len(board.instructions)
    if n is not None and not LEAST <= n <= n_items:
        raise UserError(
            f"--humans {n}: from {LEAST} labels to the board's {n_items} instructions can be "
            "planned for"
        )
    if n_items < LEAST:
        raise UserError(f"board {board.name} has {n_items} instructions; {LEAST} labels are needed")
    deviation = WORST
    correlations: tuple[float, ...] = ASSUMED
    source = "assumed: correlations of judges and people, and labels as often wins as losses"
    if labels is not None:
        found = list(anchor(board, table, labels, level).rows.values())
        seen = [r.figures.correlation for r in found if not np.isnan(r.figures.correlation)]
        if not seen:
            raise UserError(
                f"{labels}: no correlation can be seen where labels or verdicts are equal"
            )
        correlations = (median(seen),)
        errors = [r.figures.labels_only.standard_error * r.figures.n_labelled**0.5 for r in found]
        deviation = median(errors)
        source = f"observed in {labels.name}: {', '.join(row.model for row in found)}"
    numbers = (n,) if n is not None else tuple(k for k in NUMBERS if k <= n_items)
    return LabelPlan(
        board=board.name,
        n_items=n_items,
        level=level,
        deviation=deviation,
        correlations=correlations,
        is_assumed=labels is None,
        source=source,
        expected=tuple(
            Expected(
                n=k,
                alone=expected_half_width(deviation, 0.0, k, n_items, level),
                together=_all(deviation, correlations, k, n_items, level),
            )
            for k in numbers
        ),
        needed=tuple(
            Needed(
                half_width=half,
                alone=_enough(labels_needed(deviation, 0.0, half, n_items, level)),
                together=tuple(
                    _enough(labels_needed(deviation, rho, half, n_items, level))
                    for rho in correlations
                ),
            )
            for half in HALF_WIDTHS
        ),
    )


def _all(
    deviation: float, correlations: Sequence[float], n: int, n_items: int, level: float
) -> tuple[float, ...]:
    return tuple(expected_half_width(deviation, rho, n, n_items, level) for rho in correlations)


def _enough(n: int | None) -> int | None:
    """Not fewer than give a figure at all."""
    return None if n is None else max(n, LEAST)
