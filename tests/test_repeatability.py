"""Has a judge changed since a board's first day?"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from leaderboard.judging import drift, first_day
from leaderboard.statistics.estimates import Undefined
from leaderboard.statistics.panels import panel_agreement
from leaderboard.statistics.repeatability import change, repeatability

STATISTICS_DOC = Path(__file__).parents[1] / "docs" / "statistics.md"
K = 1 + first_day.REPEATS


def steady(n: int = 20, k: int = K) -> np.ndarray:
    return np.tile((np.arange(n) % 2)[:, None], (1, k)).astype(float)


def days(rng: np.random.Generator, n: int, wavers: float, changed: float) -> np.ndarray:
    """Verdicts of a judge that says something else at a share of its calls, and has changed its
    mind on a share of comparisons; today's is the last."""
    verdicts = (rng.random((n, 1)) < 0.5) ^ (rng.random((n, K + 1)) < wavers)
    verdicts[:, K] ^= rng.random(n) < changed
    return verdicts.astype(float)


def alarms(n: int, wavers: float, changed: float, rounds: int) -> float:
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(rounds):
        verdicts = days(rng, n, wavers, changed)
        of = change(verdicts[:, :K], verdicts[:, K])
        assert of is not None
        found += of.p_value < drift.LEVEL
    return found / rounds


@pytest.mark.parametrize(
    ("n_changed", "is_caught"), [(0, False), (2, False), (3, True), (20, True)]
)
def test_a_judge_that_always_says_the_same_is_caught_by_its_third_change(n_changed, is_caught):
    first = steady()
    new = first[:, 0].copy()
    new[:n_changed] = 1 - new[:n_changed]
    found = change(first, new)
    assert found is not None
    assert (found.n, found.first_day) == (20, 0)
    assert found.today == pytest.approx(n_changed / 20)
    # Today's verdict is the odd one of five in each of them.
    assert found.p_value == pytest.approx(0.2**n_changed, abs=0.003)
    assert (found.p_value < drift.LEVEL) == is_caught


def test_by_hand():
    # Distances of 0, 1, 1 from the mean of the other two: 1, 1/2, 1/2; of 0, 0, 1: 1/2, 1/2, 1.
    found = change(np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([1.0, 1.0]))
    assert found is not None
    assert (found.today, found.first_day) == (pytest.approx(0.75), pytest.approx(0.5))
    # 5 of the 9 draws reach 1.5: (1, any) and (1/2, 1).
    assert found.p_value == pytest.approx(5 / 9, abs=0.01)


@pytest.mark.parametrize("wavers", [0.02, 0.1, 0.3])
def test_the_same_judge_raises_a_false_alarm_no_more_often_than_the_level_says(wavers):
    # 400 rows: with 1 % of them, 10 or more are seen once in a hundred times.
    assert alarms(40, wavers, 0.0, 400) <= 10 / 400


def test_the_p_values_of_the_same_judge_are_evenly_spread():
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(300):
        soft = np.clip(rng.beta(1, 1, size=(20, 1)) + 0.1 * rng.standard_normal((20, K + 1)), 0, 1)
        found = change(soft[:, :K], soft[:, K])
        assert found is not None
        p_values.append(found.p_value)
    for level in (0.05, 0.2, 0.5, 0.8):
        assert np.mean(np.array(p_values) < level) == pytest.approx(level, abs=0.08)


def test_the_power_is_what_the_documentation_says():
    text = STATISTICS_DOC.read_text(encoding="utf-8")
    section = text.partition("## Has a judge changed?")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) %((?: \| \d+ %)+) \|$", section, re.MULTILINE)
    changes = [
        int(c)
        for c in re.findall(r"(\d+) %", section.partition("| says otherwise")[2].partition("\n")[0])
    ]
    assert (len(rows), changes) == (4, [0, 10, 20, 30, 50])
    for wavers, cells in rows:
        for changed, cell in zip(changes, re.findall(r"\d+", cells), strict=True):
            found = alarms(40, int(wavers) / 100, changed / 100, 150)
            assert found == pytest.approx(int(cell) / 100, abs=0.11), (wavers, changed)
    # A judge that always says the same is caught by three changes.
    assert round(100 * binom.sf(2, 40, 0.2)) == 99


def test_a_judge_that_has_turned_round_is_caught_though_it_wavers():
    rng = np.random.default_rng(2)
    likely = rng.choice([0.1, 0.9], size=40)[:, None]
    first = (rng.random((40, K)) < likely).astype(float)
    new = (rng.random(40) >= likely[:, 0]).astype(float)
    found = change(first, new)
    assert found is not None
    assert found.p_value < 0.001
    assert found.today > 2 * found.first_day


def test_how_well_a_judge_repeats_itself():
    nan = float("nan")
    verdicts = np.array([[0, 0, 0], [1, 1, 0], [0.5, 1, nan], [1, nan, nan], [1, 1, nan]])
    found = repeatability(verdicts)
    assert found.n == found.same.n == found.unanimous.n == 4
    assert found.same.value == pytest.approx((1 + 1 / 3 + 0 + 1) / 4)
    assert found.unanimous.value == pytest.approx(2 / 4)
    hard = np.where(verdicts == 0.5, nan, verdicts)
    # Without ties it is the agreement of a panel of the repeats.
    assert repeatability(hard).same.value == pytest.approx(panel_agreement(hard).value)
    assert repeatability(1 - verdicts).same.low == pytest.approx(found.same.low)
    assert repeatability(np.array([[0.6, 0.4]])).same.value == 1
    assert repeatability(np.array([[0.6, 0.4]]), tie_zone=0).same.value == 0
    once = repeatability([[1.0], [0.0]])
    assert (once.n, once.same) == (0, Undefined(reason="no item has two verdicts"))
    with pytest.raises(ValueError, match="items, repeats"):
        repeatability([1.0, 0.0])


def test_the_order_of_comparisons_and_of_the_first_day_do_not_matter():
    verdicts = days(np.random.default_rng(3), 30, 0.2, 0.2)
    one = change(verdicts[:, :K], verdicts[:, K])
    other = change(verdicts[::-1, :K][:, ::-1], verdicts[::-1, K])
    assert one is not None
    assert other is not None
    assert (one.n, one.today, one.first_day) == pytest.approx((30, other.today, other.first_day))
    assert one.p_value == pytest.approx(other.p_value, abs=0.02)


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
