"""The spread of labels that a pool of annotators gives where one of them labels each item.

AlpacaEval measures annotators by four labels an item: the variance is how often one label differs
from the mode of the other three, the bias how often the mode of four differs from the right one.
Where each label is drawn at random, from the members of a pool, the orders of presentation or a
coin, both are expectations over the draws. They are computed here, not sampled.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.statistics.panels import hard
from leaderboard.statistics.uncertainty import Floats

LABELS = np.array([0.0, 0.5, 1.0])
"""Output 1 is better, a tie, output 2 is better: the columns of all shares here."""
N_DRAWS = 4
"""Labels an item, as people gave for AlpacaEval."""


def label_shares(votes: ArrayLike) -> Floats:
    """How often a label drawn for an item is 0, a tie or 1, shape (items, 3).

    `votes` has the shape (items, choices): one verdict for each choice that a draw can come to (a
    member and an order, say), all equally likely, as preferences in [0, 1]. Missing ones (nan) are
    left out, the others sharing their chance; an item without any has nan. The votes may have soft
    values: a label is hard.
    """
    chosen = hard(votes)
    counts = np.stack([(chosen == label).sum(axis=1) for label in LABELS], axis=1)
    total = counts.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    return shares


def with_flips(shares: Floats, p: float) -> Floats:
    """The same for a pool with flip rate p: with probability 2 p the label is a fair coin's.

    Raises ValueError unless p is in [0, 0.5].
    """
    if not 0 <= p <= 0.5:
        raise ValueError(f"the flip rate must be in [0, 0.5], not {p}")
    return (1 - 2 * p) * shares + p * np.array([1.0, 0.0, 1.0])


def mode_shares(shares: Floats, n_draws: int) -> Floats:
    """How often the most frequent of `n_draws` labels is 0, a tie or 1, shape (items, 3); labels that
    are equally frequent share the chance. Every outcome of the draws is counted."""
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, not {n_draws}")
    modes = np.zeros(shares.shape)
    for zeros in range(n_draws + 1):
        for ties in range(n_draws + 1 - zeros):
            counts = np.array([zeros, ties, n_draws - zeros - ties])
            ways = factorial(n_draws) / np.prod([factorial(int(count)) for count in counts])
            usual = counts == counts.max()
            modes += np.outer(ways * (shares**counts).prod(axis=1), usual / usual.sum())
    return modes


def disagreement(shares: Floats, n_draws: int = N_DRAWS) -> Floats:
    """AlpacaEval's variance, by item: how far one label is from the mode of the n_draws - 1 others,
    a tie being half a step from either. In [0, 1]; nan where the shares are."""
    others = mode_shares(shares, n_draws - 1)
    return _distance(shares, others)


def mode_error(shares: Floats, gold: ArrayLike, n_draws: int = N_DRAWS) -> Floats:
    """AlpacaEval's bias, by item: how far the mode of `n_draws` labels is from the gold label."""
    return _distance(mode_shares(shares, n_draws), _certain(gold))


def label_agreement(shares: Floats, gold: ArrayLike) -> Floats:
    """How far one label agrees with the gold one, by item: 1 less the distance."""
    return 1 - _distance(shares, _certain(gold))


def _certain(gold: ArrayLike) -> Floats:
    shares: Floats = (hard(gold)[:, None] == LABELS).astype(np.float64)
    return shares


def _distance(one: Floats, other: Floats) -> Floats:
    steps = np.abs(LABELS[:, None] - LABELS)
    distance: Floats = np.einsum("ia,ab,ib->i", one, steps, other)
    return distance
