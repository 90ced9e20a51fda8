"""Has a judge changed since a board's first day?"""

from __future__ import annotations

import numpy as np
import pytest

from leaderboard.statistics.repeatability import change


def steady(n: int = 20, k: int = 3) -> np.ndarray:
    return np.tile((np.arange(n) % 2)[:, None], (1, k)).astype(float)


@pytest.mark.parametrize(
    ("n_changed", "is_caught"), [(0, False), (3, False), (4, True), (20, True)]
)
def test_a_judge_that_always_says_the_same_is_caught_by_its_fourth_change(n_changed, is_caught):
    first = steady()
    new = first[:, 0].copy()
    new[:n_changed] = 1 - new[:n_changed]
    found = change(first, new)
    assert found is not None
    assert (found.n, found.first_day) == (20, 0)
    assert found.today == pytest.approx(n_changed / 20)
    # Today's verdict is the odd one of four in each of them.
    assert found.p_value == pytest.approx(0.25**n_changed, abs=0.003)
    assert (found.p_value < 0.01) == is_caught


def test_the_same_judge_raises_a_false_alarm_as_often_as_the_level_says():
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(400):
        likely = rng.beta(1, 1, size=20)[:, None]
        verdicts = (rng.random((20, 4)) < likely).astype(float)
        found = change(verdicts[:, :3], verdicts[:, 3])
        assert found is not None
        p_values.append(found.p_value)
    assert np.mean(np.array(p_values) < 0.05) < 0.08
    assert 0.4 < np.mean(p_values) < 0.62


def test_a_judge_that_has_turned_round_is_caught_though_it_wavers():
    rng = np.random.default_rng(2)
    likely = rng.choice([0.1, 0.9], size=40)[:, None]
    first = (rng.random((40, 3)) < likely).astype(float)
    new = (rng.random(40) >= likely[:, 0]).astype(float)
    found = change(first, new)
    assert found is not None
    assert found.p_value < 0.001
    assert found.today > 2 * found.first_day


def test_what_is_missing_is_left_out():
    first, new = steady(4), steady(4)[:, 0]
    first[0, 1] = new[1] = np.nan
    found = change(first, new)
    assert found is not None
    assert found.n == 2
    assert change(first[:2], new[:2]) is None


@pytest.mark.parametrize("shapes", [((4,), 4), ((4, 1), 4), ((4, 3), 3)])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match="comparisons"):
        change(np.zeros(shapes[0]), np.zeros(shapes[1]))
