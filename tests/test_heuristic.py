"""The heuristic judges: longest, shortest, random."""

from __future__ import annotations

import pytest
from conftest import comparison, exchanged, one_preference, verdicts
from hypothesis import given
from hypothesis import strategies as st

from judges.kinds.heuristic import Heuristic


@pytest.mark.parametrize(
    ("rule", "one", "two", "preference"),
    [
        ("longest", "ab", "abc", 1),
        ("longest", "abc", "ab", 0),
        ("longest", "é", "e", 0.5),
        ("shortest", "ab", "abc", 0),
        ("shortest", "a", "", 1),
        ("random", "same", "same", 0.5),
    ],
)
def test_a_rule_prefers_what_it_says(rule, one, two, preference):
    assert one_preference(Heuristic(rule=rule), comparison(one, two)) == preference


def test_the_random_judge_is_fair_and_keeps_to_its_word():
    judge = Heuristic(rule="random")
    pairs = [comparison(f"one {n}", f"two {n}", n=n) for n in range(2000)]
    first = [a.preference for a in verdicts(judge, *pairs)]
    assert first == [a.preference for a in verdicts(Heuristic(rule="random"), *pairs)]
    assert set(first) == {0, 1}
    assert abs(first.count(1) - 1000) < 4 * 2000**0.5 / 2


ANSWERS = st.sampled_from(["", "red", "blue", "a red one or two", "\ud83d", "RED"])


@pytest.mark.parametrize("rule", ["longest", "shortest", "random"])
@given(one=ANSWERS, two=ANSWERS)
def test_exchanging_the_outputs_turns_the_preference(rule, one, two):
    judge, pair = Heuristic(rule=rule), comparison(one, two)
    assert one_preference(judge, exchanged(pair)) == 1 - (one_preference(judge, pair) or 0)
