"""What a judge prefers for its form or author, beside the people's rate on the same items."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.statistics.estimates import Undefined
from leaderboard.statistics.preference_biases import LONGER, has_more, preferred_share
from leaderboard.statistics.uncertainty import difference_interval

NAN = math.nan
LABEL = st.sampled_from([0.0, 0.5, 1.0, NAN])
ROWS = st.lists(
    st.tuples(LABEL, LABEL, LABEL, st.sampled_from([-1.0, 0.0, 1.0, NAN])), min_size=1, max_size=20
)


def test_which_has_more():
    assert has_more([10, 50, 10, 10], [40, 10, 41, 10], LONGER).tolist() == [0, -1, 1, 0]
    assert has_more([True, False, False], [False, True, False]).tolist() == [-1, 1, 0]
    assert np.isnan(has_more([NAN], [1])).all()
    with pytest.raises(ValueError, match="more_than"):
        has_more([1], [2], -1)


def test_by_hand():
    #          longer: 2    1      2     neither  2 (no label)  1 (no verdict)
    feature = [1, -1, 1, 0, 1, -1]
    judge = [1.0, 1.0, 0.5, 1.0, 0.0, NAN]
    humans = [[1, 0], [0, NAN], [0, 0], [1, 1], [NAN, NAN], [0, 0]]
    found = preferred_share(judge, humans, feature)
    assert (found.n_items, found.n_differ, found.n_judged, found.n_both) == (6, 5, 4, 3)
    assert found.judge.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert found.humans.value == pytest.approx((0.5 + 1 + 0) / 3)
    assert found.judge_alone.value == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    expected = difference_interval([0.5, -1, 0.5])
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert found.difference.n == 3


def test_both_orders_of_an_item_are_one_item():
    # It takes the answer shown first, in either order; people cannot see an order.
    judge, items = [0.0, 1.0, 0.0, 1.0], ["a", "a", "b", "b"]
    found = preferred_share(judge, [[1], [1], [0], [0]], [-1, 1, -1, 1], items)
    assert (found.judge.value, found.humans.value, found.judge.n) == (1, 0.5, 2)
    assert found.n_items == found.n_both == 2
    apart = preferred_share(judge, [[1], [1], [0], [0]], [-1, 1, -1, 1])
    assert apart.judge.n == 4
    assert apart.judge.low > found.judge.low


def test_without_labels_the_judges_rate_stands_alone():
    found = preferred_share([1.0, 0.0], [[NAN], [NAN]], [1, 1])
    assert found.judge_alone.value == 0.5
    for figure in (found.judge, found.humans, found.difference):
        assert isinstance(figure, Undefined)
    assert isinstance(preferred_share([1.0], [[1]], [0]).judge_alone, Undefined)


@given(ROWS)
def test_properties(rows):
    judge, one, two, feature = np.array(rows).T
    humans = np.stack([one, two], axis=1)
    found = preferred_share(judge, humans, feature)
    # Which output is called 2 does not matter.
    mirrored = preferred_share(1 - judge, 1 - humans, -feature)
    assert (found.n_differ, found.n_both) == (mirrored.n_differ, mirrored.n_both)
    for name in ("judge", "humans", "difference", "judge_alone"):
        a, b = getattr(found, name), getattr(mirrored, name)
        if isinstance(a, Undefined):
            assert a == b
        else:
            assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    if not isinstance(found.judge, Undefined):
        gap = found.judge.value - found.humans.value
        assert found.difference.value == pytest.approx(gap)
        # The other answer gets the rest.
        rest = preferred_share(judge, humans, -feature)
        assert rest.judge.value == pytest.approx(1 - found.judge.value)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: preferred_share([1.0], [[1]], [2]), "feature"),
        (lambda: preferred_share([1.0], [[1]], [1, 1]), "differ"),
        (lambda: preferred_share([1.0], [[1]], [1], ["a", "b"]), "items must have"),
        (lambda: preferred_share([1.0], [[0.2]], [1]), "0.5"),
        (lambda: preferred_share([1.0], [[1]], [1], level=0), "level"),
    ],
)
def test_what_cannot_be_is_refused(run, words):
    with pytest.raises(ValueError, match=words):
        run()
