"""Which examples make up a step: every one counts once, whatever the batches and processes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train_baselines.runtime import plan
from train_baselines.runtime.optimizer import learning_rate_at

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 9))
def test_an_epoch_holds_every_row_once_and_depends_on_its_number(n, size, seed):
    steps = plan.steps_of_epoch(n, size, seed=seed, epoch=0)
    assert sorted(row for step in steps for row in step) == list(range(n))
    assert {len(step) for step in steps[:-1]} <= {size}
    assert steps == plan.steps_of_epoch(n, size, seed=seed, epoch=0)
    if n > 20:
        assert steps != plan.steps_of_epoch(n, size, seed=seed, epoch=1)
        assert steps != plan.steps_of_epoch(n, size, seed=seed + 1, epoch=0)


@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 12), st.integers(0, 12))
def test_steps_can_be_looked_up_ahead(n, size, begin, length):
    epochs = [plan.steps_of_epoch(n, size, seed=3, epoch=epoch) for epoch in range(25)]
    every = [step for epoch in epochs for step in epoch]
    asked = range(begin, begin + length)
    assert list(plan.rows_of_steps(n, size, asked, seed=3)) == every[begin : begin + length]


@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_batches_keep_to_the_budget(lengths, budget, packed):
    batches = plan.cut(range(len(lengths)), lengths, budget, packed=packed)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        held = [lengths[row] for row in batch]
        assert held == sorted(held, reverse=True)
        used = sum(held) if packed else len(held) * held[0]
        assert used <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 4), st.integers(1, 200), st.booleans())
def test_shares_are_the_rows_part_of_the_mean_over_all(lengths, world, budget, packed):
    weights = [float(length) for length in lengths]
    dealt = plan.deal(range(len(lengths)), lengths, world)
    planned = plan.shares(dealt, lengths, weights, budget, packed=packed)
    assert len({len(batches) for batches in planned}) == 1
    computed = [row for batches in planned for b in batches if b.share for row in b.rows]
    assert sorted(computed) == list(range(len(lengths)))
    # A figure's mean over all rows, from the batches' means.
    figure = [row * 0.5 for row in range(len(lengths))]
    total = math.fsum(
        b.share
        * sum(figure[row] * weights[row] for row in b.rows)
        / sum(weights[row] for row in b.rows)
        for batches in planned
        for b in batches
    )
    mean = sum(f * w for f, w in zip(figure, weights, strict=True)) / sum(weights)
    assert total / world == pytest.approx(mean)


def test_lengths_by_hand():
    assert plan.deal([0, 1, 2, 3], [5, 9, 7, 7], 2) == [[1, 3], [2, 0]]
    assert plan.cut([0, 1, 2, 3], [5, 9, 7, 7], 18) == [[1, 2], [3, 0]]
    # A batch with a sixteenth of the budget ends where the next row has less than two thirds.
    assert plan.cut([0, 1, 2, 3], [10, 30, 20, 19], 1920) == [[1, 2, 3, 0]]
    assert plan.cut([0, 1, 2, 3], [10, 30, 20, 19], 960) == [[1, 2], [3, 0]]
    assert plan.cut([0, 1, 2, 3], [10, 30, 20, 19], 240) == [[1, 2], [3], [0]]
    assert plan.cut([0, 1, 2, 3], [10, 30, 20, 19], 240, packed=True) == [[1, 2, 3, 0]]
    assert plan.cut([0, 1, 2, 3], [5, 9, 7, 7], 19, packed=True) == [[1, 2], [3, 0]]
    (only,) = plan.shares([[0, 1]], [5, 9], [1.0, 3.0], 9)
    assert only == [plan.Share((1,), 0.75), plan.Share((0,), 0.25)]
    # The second process has one row where the first has two batches.
    first, second = plan.shares([[0, 1], [2]], [9, 9, 9], [1.0, 1.0, 1.0], 9)
    assert [b.share for b in first] == pytest.approx([2 / 3, 2 / 3])
    assert [b.share for b in second] == pytest.approx([2 / 3, 0])


def test_the_learning_rate_rises_and_falls():
    def rates(kind: str) -> list[float]:
        return [learning_rate_at(s, 10, peak=1.0, warmup=2, kind=kind) for s in range(10)]

    for kind in ("cosine", "linear", "constant"):
        assert rates(kind)[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates("linear")[2:] == pytest.approx([1 - n / 8 for n in range(8)])
    assert rates("cosine")[6] == pytest.approx(0.5)
    assert set(rates("constant")[2:]) == {1.0}
    assert min(rates("cosine")) > 0


@dataclass
class Counted:
    """A tally's stand-in for accelerate in one process."""

    def reduce(self, values, kind):
        return values


def test_metrics_are_means_by_share():
    import torch

    from train_baselines.runtime.journal import Tally

    tally = Tally()
    tally.add({"loss": torch.tensor(4.0), "part": 1}, 0.25, torch.zeros(1))
    tally.add({"loss": torch.tensor(2.0), "part": 3}, 0.75, torch.zeros(1))
    assert tally.total(Counted()) == {"loss": 2.5, "part": 2.5}
