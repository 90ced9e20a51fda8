"""The promise of the rank intervals: at 95 %, all true ranks of a board lie inside at once."""

from __future__ import annotations

import numpy as np
import pytest

from leaderboard.statistics.ranking import Pairs, paired_differences, rank_intervals
from leaderboard.statistics.uncertainty import Floats

BOARDS = 300
MOST_MISSED = 24
"""Of 300 boards 15 may miss; at exactly 5 %, more than 24 miss once in a hundred times."""

RATES = {
    "equal": np.full(8, 0.5),
    "spread": np.linspace(0.75, 0.25, 8),
    "blocks": np.repeat([0.6, 0.5, 0.4], [2, 3, 3]),
    "rare wins": np.full(8, 0.05),
}


def board(rng: np.random.Generator, rates: Floats, n: int) -> Pairs:
    """Verdicts on models of these win rates; half of the chance is the instruction's."""
    shape = (len(rates), n)
    chance = np.where(rng.random(shape) < 0.5, rng.random(n), rng.random(shape))
    return paired_differences((chance < rates[:, None]).astype(np.float64))


def holds_all(pairs: Pairs, rates: Floats) -> bool:
    """Whether each interval holds every rank that its model could be given among its equals."""
    low, high = rank_intervals(pairs)
    best = 1 + (rates[:, None] > rates).sum(axis=0)
    worst = (rates[:, None] >= rates).sum(axis=0)
    return bool(np.all((low <= best) & (worst <= high)))


@pytest.mark.parametrize("n", [30, 120])
@pytest.mark.parametrize("truth", RATES)
def test_all_true_ranks_lie_inside_at_once(truth: str, n: int) -> None:
    rng = np.random.default_rng(n)
    rates = RATES[truth]
    missed = sum(not holds_all(board(rng, rates, n), rates) for _ in range(BOARDS))
    assert missed <= MOST_MISSED


def test_without_the_adjustment_they_would_not() -> None:
    rng = np.random.default_rng(1)
    rates = RATES["equal"]
    missed = 0
    for _ in range(BOARDS):
        pairs = board(rng, rates, 120)
        unadjusted = Pairs(
            difference=pairs.difference,
            p_value=pairs.p_value,
            holm=pairs.p_value,
            n_common=pairs.n_common,
        )
        missed += not holds_all(unadjusted, rates)
    assert missed > 3 * MOST_MISSED


def test_models_that_differ_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    low, high = rank_intervals(board(rng, np.array([0.8, 0.5, 0.2]), 300))
    assert (low.tolist(), high.tolist()) == ([1, 2, 3], [1, 2, 3])
