"""Dawid and Skene's model: finds who errs, keeps its path, and says when one judge takes over."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leaderboard.statistics.dawid_skene import dawid_skene
from leaderboard.statistics.estimates import Undefined

NAN = math.nan


def votes_of(rng: np.random.Generator, n: int, right: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """The true classes, and the votes of judges who are right so often, 0 or 1."""
    true = rng.choice([0.0, 1.0], n)
    said = np.where(rng.random((n, len(right))) < right, true[:, None], 1 - true[:, None])
    return true, said


def test_it_finds_who_errs():
    right = [0.95, 0.8, 0.7, 0.6]
    true, votes = votes_of(np.random.default_rng(0), 4000, right)
    found = dawid_skene(votes)
    assert found.is_converged
    for judge, share in enumerate(right):
        assert found.confusion[judge, 0, 0] == pytest.approx(share, abs=0.04)
        assert found.confusion[judge, 2, 2] == pytest.approx(share, abs=0.04)
    assert np.all(np.diff(found.weights) < 0)
    assert found.path.shape[1] == 4
    assert found.path[0].max() < found.weights.max()  # it starts from the mean of the votes
    assert found.path.sum(axis=1) == pytest.approx(1)
    assert 1 < found.effective_votes < 4
    assert found.effective_votes == pytest.approx(1 / np.square(found.weights).sum())
    likeliest = found.posterior.argmax(axis=1) / 2
    majority = np.where(votes.mean(axis=1) == 0.5, votes[:, 0], votes.mean(axis=1) > 0.5)
    assert (likeliest == true).mean() >= (majority == true).mean() > 0.8


def test_one_step_by_hand():
    votes = np.array([[0, 0, 1], [1, 1, 1], [NAN, 0, 0]])
    found = dawid_skene(votes, smoothing=0.5, max_steps=1)
    assert not found.is_converged
    # Shares of the votes on the items: (2/3, 0, 1/3), (0, 0, 1), (1, 0, 0).
    assert found.prevalence == pytest.approx(np.array([5 / 3 + 0.5, 0.5, 4 / 3 + 0.5]) / 4.5)
    first = np.array([2 / 3, 0, 0]) + 0.5  # what the first judge says where 0 is true
    assert found.confusion[0, 0] == pytest.approx(first / first.sum())
    third = np.array([1, 0, 2 / 3]) + 0.5
    assert found.confusion[2, 0] == pytest.approx(third / third.sum())
    chances = found.prevalence * found.confusion[1, :, 0] * found.confusion[2, :, 0]
    assert found.posterior[2] == pytest.approx(chances / chances.sum())


def test_equal_judges_have_equal_votes():
    _, votes = votes_of(np.random.default_rng(1), 3000, [0.8] * 4)
    found = dawid_skene(votes)
    assert found.weights == pytest.approx(1 / 4, abs=0.05)
    assert found.effective_votes == pytest.approx(4, abs=0.1)
    assert found.dominant is None


def test_a_judge_that_takes_over_is_named():
    _, votes = votes_of(np.random.default_rng(2), 2000, [0.52, 0.97, 0.55, 0.54])
    found = dawid_skene(votes)
    assert found.dominant == 1
    assert found.effective_votes < 2
    assert dawid_skene(votes, max_share=1.0).dominant is None


def test_naming_the_outputs_the_other_way_changes_nothing():
    _, votes = votes_of(np.random.default_rng(3), 300, [0.9, 0.8, 0.7])
    votes[::7, 0], votes[::11, 1] = NAN, 0.5
    found, mirrored = dawid_skene(votes), dawid_skene(1 - votes)
    assert found.weights == pytest.approx(mirrored.weights)
    assert found.confusion == pytest.approx(mirrored.confusion[:, ::-1, ::-1])
    assert found.posterior == pytest.approx(mirrored.posterior[:, ::-1])
    order = [2, 0, 1]
    assert dawid_skene(votes[:, order]).weights == pytest.approx(found.weights[order])


def test_items_and_judges_without_votes():
    _, votes = votes_of(np.random.default_rng(4), 100, [0.9, 0.8, 0.7])
    votes[5] = NAN
    found = dawid_skene(votes)
    assert found.n == 99
    assert np.isnan(found.posterior[5]).all()
    assert found.posterior[np.arange(100) != 5].sum(axis=1) == pytest.approx(1)
    silent = np.column_stack([votes, np.full(100, NAN)])
    # What was never heard tells nothing.
    assert dawid_skene(silent).weights[3] == pytest.approx(0, abs=1e-9)


def test_votes_that_tell_nothing_have_equal_weights():
    every = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=float)
    found = dawid_skene(np.tile(every, (50, 1)), smoothing=1e9, max_steps=2)
    assert found.weights == pytest.approx(1 / 3, abs=1e-6)


def test_limits_are_stated():
    assert dawid_skene([[0, 1], [1, 1]]) == Undefined(
        reason="2 judges vote, and telling who errs takes 3"
    )
    assert isinstance(dawid_skene([[NAN, NAN, NAN]]), Undefined)
    assert dawid_skene([[0.5] * 3] * 2) == Undefined(reason="all votes are of one class", n=2)
    for wrong in ({"smoothing": 0}, {"max_share": 0}, {"max_steps": 0}):
        with pytest.raises(ValueError, match="smoothing"):
            dawid_skene([[0, 1, 1]], **wrong)
    with pytest.raises(ValueError, match="items, judges"):
        dawid_skene([0.0, 1.0])
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        dawid_skene([[2.0, 0, 1]])
