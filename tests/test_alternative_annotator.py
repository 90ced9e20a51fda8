"""The alternative annotator test: by hand, against a second count, and where it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from real_labels import pandalm
from scipy.stats import false_discovery_control, ttest_1samp

from leaderboard.statistics.alternative_annotator import (
    alternative_annotator,
    benjamini_yekutieli,
)
from leaderboard.statistics.estimates import Undefined

NAN = math.nan
LABEL = st.sampled_from([0.0, 0.5, 1.0, NAN])


def test_by_hand():
    # Of 30 items: on 6 the first human is alone; on 3 others the judge is.
    humans = np.ones((30, 3))
    humans[:6, 0] = 0
    judge = np.ones(30)
    judge[6:9] = 0
    found = alternative_annotator(judge, humans)
    first, second, third = found.humans
    assert (first.n, first.judge_wins.value, first.human_wins.value) == (30, 27 / 30, 24 / 30)
    # Human wins less judge's: -1 on 6, +1 on 3, else 0: mean -0.1; squares sum to 9 - 30 * 0.01.
    error = math.sqrt((9 - 0.3) / 29 / 30)
    t = (-0.1 - 0.2) / error
    assert t == pytest.approx(-3.0, abs=0.001)
    assert first.p_value == pytest.approx(0.00275, abs=0.00002)
    # In the second's place both match one of two where the first is alone.
    assert (second.judge_wins.value, second.human_wins.value) == (27 / 30, 1)
    # +1 on 3: mean 0.1, squares 3 - 0.3; t = -0.1 / 0.0557 = -1.795.
    assert (0.1 - 0.2) / math.sqrt(2.7 / 29 / 30) == pytest.approx(-1.795, abs=0.001)
    assert second.p_value == third.p_value == pytest.approx(0.0415, abs=0.0002)
    # Benjamini and Yekutieli: 1 + 1/2 + 1/3 = 11/6, so that 0.0415 * 11/6 is above 0.05.
    assert [one.stands_up for one in found.humans] == [True, False, False]
    assert (found.winning_rate, found.passes, found.reason) == (1 / 3, False, "")
    assert found.advantage.value == pytest.approx(27 / 30)
    assert found.advantage.n == 30
    assert alternative_annotator(judge, humans, epsilon=0.3).passes is True


def test_the_judge_that_is_one_of_the_humans_in_disguise_passes():
    rng = np.random.default_rng(0)
    true = rng.choice([0.0, 1.0], (200, 1))
    words = np.where(rng.random((200, 5)) < 0.8, true, 1 - true)
    found = alternative_annotator(words[:, 0], words[:, 1:])
    assert (found.passes, found.winning_rate) == (True, 1)
    coin = alternative_annotator(rng.choice([0.0, 1.0], 200), words[:, 1:])
    assert (coin.passes, coin.winning_rate) == (False, 0)
    assert coin.advantage.high < found.advantage.low


def test_pandalms_judges_may_replace_no_annotator(shared_data):
    humans, judges = pandalm(shared_data)
    for judge in judges.values():
        found = alternative_annotator(judge, humans)
        assert (found.passes, found.winning_rate) == (False, 0)
        assert found.humans[0].n == int((~np.isnan(judge)).sum())


@pytest.mark.parametrize("scoring", ["accuracy", "rmse"])
@given(judge_and_humans=arrays.arrays(np.float64, (35, 4), elements=LABEL))
def test_against_a_second_count(scoring, judge_and_humans):
    judge, humans = judge_and_humans[:, 0], judge_and_humans[:, 1:]
    found = alternative_annotator(judge, humans, 0.15, scoring=scoring)
    for j, one in enumerate(found.humans):
        wins = []
        for i in range(35):
            rest = [humans[i, k] for k in range(3) if k != j and not math.isnan(humans[i, k])]
            if math.isnan(judge[i]) or math.isnan(humans[i, j]) or not rest:
                continue
            gaps = [np.abs(np.array(rest) - word) for word in (judge[i], humans[i, j])]
            if scoring == "accuracy":
                mine, theirs = (np.mean(gap == 0) for gap in gaps)
            else:
                mine, theirs = (-math.sqrt(np.mean(gap**2)) for gap in gaps)
            wins.append((mine >= theirs - 1e-12, theirs >= mine - 1e-12))
        assert one.n == len(wins)
        if len(wins) < 2:
            assert one.p_value is None
            continue
        its, theirs = np.array(wins, dtype=float).T
        assert (one.judge_wins.value, one.human_wins.value) == (its.mean(), theirs.mean())
        if np.ptp(theirs - its):
            p = ttest_1samp(theirs - its, 0.15, alternative="less").pvalue
            assert one.p_value == pytest.approx(p)
        else:
            assert one.p_value == float((theirs - its)[0] >= 0.15)
    shares = [one.judge_wins.value for one in found.humans if one.n]
    if shares:
        assert found.advantage.value == pytest.approx(np.mean(shares))
        assert 0 <= found.advantage.low <= found.advantage.value <= found.advantage.high <= 1
    else:
        assert isinstance(found.advantage, Undefined)


def test_it_refuses_to_conclude_on_too_few():
    two = alternative_annotator(np.ones(40), np.ones((40, 2)))
    assert (two.passes, two.winning_rate) == (None, None)
    assert two.reason == "2 human annotators, and the test needs 3"
    assert two.humans[0].p_value == 0
    humans = np.ones((40, 3))
    humans[:11, 2] = NAN
    few = alternative_annotator(np.ones(40), humans)
    assert few.reason == "29 items for one of the humans, and the test needs 30 for each"
    assert few.passes is None
    assert not any(one.stands_up for one in few.humans)
    one = alternative_annotator([1.0], [[1.0]])
    assert one.advantage == Undefined(reason="no item has the judge's verdict and two human labels")
    assert one.humans[0].p_value is None


def test_all_the_same_is_decided_without_a_t_test():
    humans = np.ones((30, 3))
    assert alternative_annotator(np.ones(30), humans).passes is True
    always_wrong = alternative_annotator(np.zeros(30), humans)
    assert [one.p_value for one in always_wrong.humans] == [1, 1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_benjamini_and_yekutielis_adjustment_is_scipys(p_values):
    expected = false_discovery_control(p_values, method="by")
    assert benjamini_yekutieli(p_values) == pytest.approx(expected)


def test_the_advantage_covers():
    rng = np.random.default_rng(1)
    # The chance that the judge matches the two others at least as well as a human does, exactly.
    inside, a, b = 0, 0.7, 0.8
    score = {}
    for right in (0, 1):
        for others in (0, 1, 2):
            score[right, others] = (others if right else 2 - others) / 2
    truth = sum(
        (a if mine else 1 - a) * (b if theirs else 1 - b)
        * math.comb(2, others) * b**others * (1 - b) ** (2 - others)
        * (score[mine, others] >= score[theirs, others])
        for mine in (0, 1) for theirs in (0, 1) for others in (0, 1, 2)
    )  # fmt: skip
    for _ in range(300):
        words = (rng.random((40, 4)) < [a, b, b, b]).astype(float)
        found = alternative_annotator(words[:, 0], words[:, 1:]).advantage
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 300 <= 0.99


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: alternative_annotator([1.0], [[1.0]], epsilon=1), "epsilon"),
        (lambda: alternative_annotator([1.0], [[1.0]], q=0), "q in"),
        (lambda: alternative_annotator([1.0], [[1.0]], scoring="bleu"), "scoring"),
        (lambda: alternative_annotator([1.0, 0.0], [[1.0]]), "1 labelled items"),
        (lambda: alternative_annotator([1.0], [[0.7]]), "0.5"),
        (lambda: benjamini_yekutieli([NAN]), "p-values"),
    ],
)
def test_what_cannot_be_is_refused(run, words):
    with pytest.raises(ValueError, match=words):
        run()
