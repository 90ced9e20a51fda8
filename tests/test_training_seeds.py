"""The interval of a method over its seeds: published mean squares, properties, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.statistics.training_seeds import group_difference, seed_group
from leaderboard.statistics.uncertainty import difference_interval, mean_interval

nan = float("nan")


def tables() -> st.SearchStrategy[np.ndarray]:
    """Preferences of 2 to 4 seeds on 1 to 8 instructions."""
    shapes = st.tuples(st.integers(2, 4), st.integers(1, 8))
    return shapes.flatmap(
        lambda shape: st.lists(
            st.lists(st.floats(0, 1), min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        )
    ).map(lambda rows: np.array(rows, dtype=float))


def methods(rng, kind: str, mean: float, seed_sd: float, seeds: int, n: int) -> np.ndarray:
    """Preferences of seeds of one method: instructions are easy or hard, seeds good or bad by chance.

    A seed moves each instruction by 4p(1 - p) times its own effect, which keeps the mean.
    """
    p = rng.beta(4 * mean, 4 * (1 - mean), n)
    reach = 4 * mean * (1 - mean) * 4 / 5
    effects = rng.normal(0, seed_sd / reach, seeds).clip(-0.25, 0.25)[:, None]
    chance = p + effects * 4 * p * (1 - p)
    if kind == "binary":
        return (rng.random((seeds, n)) < chance).astype(float)
    return rng.beta(4 * chance + 1e-9, 4 * (1 - chance) + 1e-9)


def test_the_parts_are_published_mean_squares() -> None:
    # Shrout and Fleiss (1979), Psychological Bulletin 86, tables 2 and 3: six targets by four
    # judges, with mean squares 11.24 (targets), 32.49 (judges) and 1.02 (residual). The variance of
    # the mean is (11.24 + 32.49 - 1.02) / 24; here in tenths, the judges being the seeds.
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    group = seed_group(np.array(ratings).T / 10, n_rounds=50_000)
    assert group.mean == pytest.approx(np.mean(ratings) / 10)
    assert group.standard_error == pytest.approx(math.sqrt((11.24 + 32.49 - 1.02) / 2400), rel=0.01)
    assert group.seed_sd == pytest.approx(math.sqrt(32.49 / 6) / 10, rel=1e-3)
    # Within: Student's quantile at 3 degrees of freedom on what is left to the judges.
    within = mean_interval(np.mean(ratings, axis=1) / 10)
    arm = scipy.stats.t.ppf(0.975, 3) * math.sqrt((32.49 - 1.02) / 2400)
    assert group.low == pytest.approx(
        max(group.mean - math.hypot(within.value - within.low, arm), 0), abs=5e-3
    )
    assert (group.n_seeds, group.n_instructions, group.level) == (4, 6, 0.95)


def test_seeds_that_do_not_differ_have_the_interval_of_one() -> None:
    one = np.random.default_rng(0).random(40)
    group, single = seed_group(np.array([one, one, one])), mean_interval(one)
    assert (group.low, group.high) == pytest.approx((single.low, single.high), abs=1e-12)
    assert group.seed_sd == 0
    assert group.standard_error == pytest.approx(single.standard_error, rel=0.05)


def test_seeds_that_differ_alone_have_students_interval() -> None:
    rates = np.array([0.4, 0.5, 0.55, 0.65])
    group = seed_group(np.repeat(rates[:, None], 4000, axis=1), n_rounds=1000)
    low, high = scipy.stats.t.interval(0.95, 3, rates.mean(), scipy.stats.sem(rates))
    assert (group.low, group.high) == pytest.approx((low, high), abs=0.02)


def test_little_of_the_chance_is_taken_off_few_seeds() -> None:
    # Rates 0.45 and 0.55, every verdict a coin's toss: the seeds' part is what such chance makes.
    rng = np.random.default_rng(3)
    table = (rng.random((2, 400)) < [[0.45], [0.55]]).astype(float)
    two = seed_group(table, n_rounds=20_000)
    rates, chance = table.mean(axis=1), np.var(table[0] - table[1], ddof=1) / 2 / 800
    part = rates.var(ddof=1) / 2
    arm = 12.7062 * math.sqrt(part - (chance / 2) ** 2 / part)
    within = mean_interval(table.mean(axis=0))
    expected = two.mean - math.hypot(within.value - within.low, arm)
    assert two.low == pytest.approx(max(expected, 0), abs=0.01)


@given(tables())
def test_mirrored_preferences_have_the_mirrored_interval(table: np.ndarray) -> None:
    group, mirrored = seed_group(table, n_rounds=50), seed_group(1 - table, n_rounds=50)
    assert mirrored.mean == pytest.approx(1 - group.mean, abs=1e-9)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - group.high, 1 - group.low), abs=1e-6)
    assert 0 <= group.low <= group.mean + 1e-12
    assert group.mean - 1e-12 <= group.high <= 1


@given(tables(), tables())
def test_swapped_groups_have_the_negated_difference(a: np.ndarray, b: np.ndarray) -> None:
    n = min(a.shape[1], b.shape[1])
    there = group_difference(a[:, :n], b[:, :n], n_rounds=50)
    back = group_difference(b[:, :n], a[:, :n], n_rounds=50)
    assert back.value == pytest.approx(-there.value, abs=1e-9)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-6)


def test_groups_of_equal_seeds_differ_as_two_models_do() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(60), rng.random(60)
    groups = group_difference(np.array([a, a]), np.array([b, b, b]))
    pair = difference_interval(a - b)
    assert (groups.value, groups.low, groups.high) == pytest.approx(
        (pair.value, pair.low, pair.high), abs=1e-12
    )
    assert groups.standard_error == pytest.approx(pair.standard_error)


def test_the_same_numbers_give_the_same_interval() -> None:
    table = np.random.default_rng(2).random((3, 30))
    assert seed_group(table) == seed_group(table)
    assert seed_group(table, seed=1).low != seed_group(table).low


def test_missing_verdicts_are_left_out() -> None:
    table = np.random.default_rng(4).random((3, 50))
    nobody = np.insert(table, [0, 50], nan, axis=1)
    assert seed_group(nobody) == seed_group(table)
    table[0, :2] = nan
    group = seed_group(table)
    assert group.mean == pytest.approx(np.mean([np.nanmean(row) for row in table]))
    assert group.n_instructions == 50
    two = group_difference(table, np.where(np.arange(50) < 5, nan, table))
    assert two.n == 45


def test_seeds_without_a_common_instruction_leave_rounds_out() -> None:
    group = seed_group(np.array([[1.0, nan, 1.0], [nan, 0.0, nan]]), n_rounds=100)
    assert (group.mean, group.low, group.high) == (0.5, 0.0, 1.0)


def test_one_instruction_has_no_standard_error_to_speak_of() -> None:
    group = seed_group(np.array([[0.2], [0.6]]))
    assert group.low == 0
    assert group.high == 1


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (np.zeros(3), "two dimensions"),
        (np.zeros((1, 3)), "two seeds"),
        (np.array([[0.5], [nan]]), "no verdict"),
        (np.array([[0.5], [1.5]]), r"\[0, 1\]"),
    ],
)
def test_bad_tables_are_refused(table: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        seed_group(table)


def test_bad_arguments_are_refused() -> None:
    table = np.full((2, 3), 0.5)
    with pytest.raises(ValueError, match="n_rounds"):
        seed_group(table, n_rounds=0)
    with pytest.raises(ValueError, match="level"):
        seed_group(table, level=1.0)
    for other in (np.full((2, 4), 0.5), np.full(3, 0.5)):
        with pytest.raises(ValueError, match="shape"):
            group_difference(table, other)


# The figures of a longer run are in docs/statistics.md; here, that none of them is far off.
@pytest.mark.parametrize("kind", ["binary", "soft"])
@pytest.mark.parametrize("seed_sd", [0.0, 0.03])
@pytest.mark.parametrize(("seeds", "least"), [(2, 0.87), (3, 0.89), (5, 0.9)])
def test_the_methods_own_win_rate_is_covered(
    kind: str, seed_sd: float, seeds: int, least: float
) -> None:
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(200):
        group = seed_group(methods(rng, kind, 0.5, seed_sd, seeds, 60), n_rounds=100)
        covered.append(group.low <= 0.5 <= group.high)
    assert least <= np.mean(covered) <= 0.995


def test_the_plain_two_way_bootstrap_does_not_cover() -> None:
    # What the corrections are for: a seed's share of the variance is lost in three seeds.
    rng = np.random.default_rng(8)
    covered = []
    for _ in range(100):
        table = methods(rng, "soft", 0.5, 0.06, 3, 300)
        means = [
            table[np.ix_(rng.integers(0, 3, 3), rng.integers(0, 300, 300))].mean()
            for _ in range(100)
        ]
        low, high = np.quantile(means, [0.025, 0.975])
        covered.append(low <= 0.5 <= high)
    assert np.mean(covered) < 0.9


def test_the_difference_of_two_methods_is_covered() -> None:
    rng = np.random.default_rng(9)
    covered = []
    for _ in range(200):
        p = rng.beta(2, 2, 60)
        groups = [
            (
                rng.random((3, 60))
                < p + rng.normal(0, 0.05, (3, 1)).clip(-0.2, 0.2) * 4 * p * (1 - p)
            )
            for _ in range(2)
        ]
        a, b = (group.astype(float) for group in groups)
        found = group_difference(a, b, n_rounds=100)
        covered.append(found.low <= 0 <= found.high)
    assert 0.9 <= np.mean(covered) <= 0.995
