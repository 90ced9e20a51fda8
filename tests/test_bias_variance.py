"""Bias and variance by AlpacaEval's rules: with its quirks by name, and without them."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from real_labels import pandalm

from leaderboard.statistics.agreement import against_humans
from leaderboard.statistics.annotator_pools import disagreement, label_shares, mode_error
from leaderboard.statistics.bias_variance import (
    of_humans,
    of_humans_alpaca_eval,
    of_judge,
    of_judge_alpaca_eval,
    usual_k_of,
)
from leaderboard.statistics.estimates import Estimate, Undefined

NAN = math.nan
RULES = ("zero_one", "absolute", "squared")
LABEL = st.sampled_from([0.0, 0.5, 1.0])


def values_of(found):
    return tuple(
        figure.value if isinstance(figure, Estimate) else None
        for figure in (found.agreement, found.bias, found.variance)
    )


# ------------------------------------------------------------------------------------- by hand
def test_two_against_two_is_output_2_for_alpaca_eval_and_half_for_us():
    humans, judge = [[0, 0, 1, 1]], [[0, 0, 0, 0]]
    quirk = of_judge_alpaca_eval(judge, humans)
    assert values_of(quirk) == (0, 1, 0)
    assert quirk.k_humans == 4
    ours = of_judge(judge, humans, k=4)
    assert values_of(ours) == (0.5, 0.5, 0)
    # By default three others, as for a human: 001, 001, 011, 011.
    assert values_of(of_judge(judge, humans)) == (0.5, 0.5, 0)
    # Each of the four is against two who say the other thing.
    assert values_of(of_humans(humans)) == (0, None, 1)
    assert "as it is measured from them" in of_humans(humans).bias.reason


def test_the_choice_of_alpaca_eval_among_modes_is_that_of_its_seed():
    pandas = pytest.importorskip("pandas")
    for labels in ([0.0, 1.0], [0.5, 1.0], [0.0, 0.5], [0.0, 0.5, 1.0]):
        drawn = pandas.Series(labels).mode().sample(1, random_state=123).item()
        found = of_judge_alpaca_eval([[drawn, drawn]], [labels], "zero_one")
        assert (found.agreement.value, found.bias.value) == (1, 0)


def test_a_judge_is_held_against_all_four_by_alpaca_eval_and_a_human_against_three():
    humans = [[0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1]]
    judge = [[0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 0, 0]]
    quirk = of_judge_alpaca_eval(judge, humans)
    # Modes of four: 0, 1, 1; the judge's: 0, 1, and 1 of its two.
    assert values_of(quirk) == pytest.approx(((3 / 4 + 1 + 1 / 2) / 3, 0, (1 / 4 + 0 + 1) / 3))
    people = of_humans_alpaca_eval(humans)
    assert values_of(people) == pytest.approx(((3 / 4 + 1 + 3 / 4) / 3, None, (1 / 4 + 1 / 4) / 3))
    assert (people.k_humans, people.k_others, quirk.k_others) == (3, 3, 3)
    # Ours: three of four humans, of whom one choice in four is all of a kind.
    ours = of_judge(judge, humans)
    assert ours.k_humans == 3
    assert ours.bias.value == pytest.approx((0 + 0 + 1 / 2) / 3)
    assert ours.variance.value == pytest.approx(quirk.variance.value)


def test_the_centre_of_each_rule():
    humans, judge = [[0, 1, 1]], [[0.2, 0.4, 0.9]]
    found = {rule: values_of(of_judge(judge, humans, rule, k=3)) for rule in RULES}
    # The mode of the humans is 1, their mean 2/3; the judge's median 0.4, its mean 0.5.
    assert found["absolute"] == pytest.approx((0.5, 0.6, (0.45 + 0.15 + 0.6) / 3))
    squares = [(x - 2 / 3) ** 2 for x in judge[0]]
    others = [(0.2 - 0.65) ** 2, (0.4 - 0.55) ** 2, (0.9 - 0.3) ** 2]
    assert found["squared"] == pytest.approx(
        (1 - np.mean(squares), (0.5 - 2 / 3) ** 2, np.mean(others))
    )
    # None of its verdicts is the mode, and none is said twice.
    assert found["zero_one"] == pytest.approx((0, 1, 1))
    # Of more than three equal modes the median stands in.
    spread = of_judge([[0.1, 0.2, 0.3, 0.4, 0.5]], [[0.0, 0.0]], "zero_one", k=1)
    assert spread.bias.value == 1


def test_one_verdict_an_item_has_neither_bias_nor_variance():
    for run in (of_judge, of_judge_alpaca_eval):
        found = run([[0.0], [1.0]], [[0.0, 0.0], [0.0, 0.0]])
        assert found.agreement.value == 0.5
        reason = "one verdict an item: bias and variance cannot be told apart"
        assert found.bias == found.variance == Undefined(reason=reason, n=2)
        assert found.k_others == 0
    nothing = of_judge([[NAN]], [[1.0]])
    assert isinstance(nothing.agreement, Undefined)
    assert nothing.bias.n == 0


def test_one_human_is_held_against_nobody():
    found = of_humans([[1.0], [0.0]])
    assert found.agreement == Undefined(reason="no item has more than 1 human labels")
    assert found.bias == found.variance == found.agreement
    # The judge can still be.
    assert of_judge([[1.0, 1.0], [1.0, 1.0]], [[1.0], [0.0]]).bias.value == 0.5


def test_items_with_too_few_labels_or_verdicts_are_left_out():
    humans = [[0, 0, 0], [1, 1, NAN], [NAN] * 3]
    judge = [[0, 0, 1], [1, NAN, NAN], [1, 1, 1]]
    found = of_judge(judge, humans, k=3)
    assert (found.agreement.n, found.bias.n, found.variance.n) == (1, 1, 1)
    assert usual_k_of(np.array(judge, dtype=float)) == 2
    wider = of_judge(judge, humans, k=2)
    assert (wider.agreement.n, wider.variance.n) == (2, 1)


# ----------------------------------------------------------------------------------- consistency
def test_the_zero_one_figures_are_the_agreement_with_people(shared_data):
    humans, judges = pandalm(shared_data)
    found = of_judge(judges["pandalm_7b"][:, None], humans, "zero_one")
    agreement = against_humans(judges["pandalm_7b"], humans)
    assert found.agreement.value == pytest.approx(agreement.judge.value, abs=1e-12)
    assert (found.agreement.low, found.agreement.high) == pytest.approx(
        (agreement.judge.low, agreement.judge.high)
    )
    people = of_humans(humans, "zero_one")
    assert people.variance.value == pytest.approx(1 - agreement.humans.value)
    absolute = of_judge(judges["pandalm_7b"][:, None], humans)
    assert absolute.agreement.value == pytest.approx(agreement.as_is.value)


def test_draws_from_a_pool_have_the_expected_bias_and_variance():
    rng = np.random.default_rng(0)
    votes = rng.choice([0.0, 0.5, 1.0], (400, 5))
    drawn = np.array([rng.choice(row, 4) for row in votes])
    gold = rng.choice([0.0, 1.0], 400)
    found = of_judge(drawn, gold[:, None], "absolute", k=1)
    shares = label_shares(votes)
    assert found.variance.low < disagreement(shares).mean() < found.variance.high
    assert found.bias.low < mode_error(shares, gold).mean() < found.bias.high


@given(
    arrays.arrays(np.float64, st.tuples(st.just(5), st.integers(2, 4)), elements=LABEL),
    arrays.arrays(np.float64, st.tuples(st.just(5), st.integers(1, 4)), elements=LABEL),
    st.sampled_from(RULES),
)
def test_bias_and_variance_properties(judge, humans, rule):
    found, mirrored = of_judge(judge, humans, rule), of_judge(1 - judge, 1 - humans, rule)
    for name in ("agreement", "bias", "variance"):
        one, other = getattr(found, name), getattr(mirrored, name)
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
        assert 0 <= one.low <= one.value <= one.high <= 1
    if rule == "squared":
        # The mean square error of one verdict is that of the mean and the spread about it, and the
        # mean of k - 1 others is farther off than the mean of all k, by k / (k - 1).
        k = judge.shape[1]
        for row, people in zip(judge, humans, strict=True):
            own = of_judge(row[None], people[None], rule)
            spread = own.variance.value * ((k - 1) / k) ** 2
            off = 1 - own.agreement.value
            assert off == pytest.approx(own.bias.value + spread, abs=1e-12)
    centre = [np.mean(chosen) for chosen in combinations(humans[0], found.k_humans)]
    if rule == "squared":
        first = of_judge(judge[:1], humans[:1], rule, k=found.k_humans)
        gaps = (judge[0].mean() - np.array(centre)) ** 2
        assert first.bias.value == pytest.approx(gaps.mean(), abs=1e-12)


# --------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: of_judge([[0.0]], [[0.0]], "cubic"), "rule"),
        (lambda: of_judge([0.0], [[0.0]]), "repeats"),
        (lambda: of_judge([[0.0], [0.0]], [[0.0]]), "1 items"),
        (lambda: of_judge([[2.0]], [[0.0]]), "in \\[0, 1\\]"),
        (lambda: of_judge([[0.0]], [[0.3]]), "0.5"),
        (lambda: of_judge([[0.0]], [[0.0]], level=2), "level"),
        (lambda: of_humans([[0.0] * 20], k=10), "too many choices of 10"),
    ],
)
def test_what_cannot_be_is_refused(run, words):
    with pytest.raises(ValueError, match=words):
        run()
