"""Human labels and a judge in one win rate: PPI++ and Rogan–Gladen, by hand, by property, by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from leaderboard.statistics.ppi import (
    anchored_rate,
    expected_half_width,
    expected_ratio,
    labels_needed,
    rogan_gladen,
)
from leaderboard.statistics.uncertainty import influence_interval, mean_interval, spread_interval

NAN = float("nan")
LABELS = [1, 0, 1, 1, 0, 0, *[NAN] * 6]
JUDGE = [1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1]


def sample(
    seed: int, n: int = 40, n_items: int = 400, correlation: float = 0.8, rate: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Zeros and ones of people, known for the first n, and of a judge."""
    rng = np.random.default_rng(seed)
    people, others = (rng.random((2, n_items)) < rate).astype(float)
    judge = np.where(rng.random(n_items) < correlation, people, others)
    people[n:] = NAN
    return people, judge


# ------------------------------------------------------------------------------------------- PPI++
def test_an_example_by_hand():
    # The regression of y on f has slope 0.75, half of which is lambda, as half are labelled.
    found = anchored_rate(LABELS, JUDGE)
    assert found.weight == pytest.approx(0.375)
    assert found.rate.value == pytest.approx(0.5 + 0.375 * (2 / 3 - 1 / 3))
    # y - lambda f is 0.625 twice, 1, and 0 thrice: squares about their mean sum up to 0.9375.
    variance = 0.9375 / 4 / 6 + 0.375**2 * (3 / 11) / 6
    assert found.rate.standard_error == pytest.approx(math.sqrt(variance))
    assert found.correlation == pytest.approx(1 / math.sqrt(2))
    assert (found.n_labelled, found.n_items, found.n_unjudged) == (6, 12, 0)
    assert found.labels_only == mean_interval(LABELS[:6])
    assert found.gain == pytest.approx(0.05 / variance)


@given(st.integers(0, 10_000), st.sampled_from([0.8, 0.9]))
def test_the_weight_makes_the_variance_least(seed, correlation):
    people, judge = sample(seed, correlation=correlation)
    n, n_rest = 40, 360
    cov = np.cov(people[:n], judge[:n])

    def variance(weight: float) -> float:
        own = cov[1, 1] * weight**2
        return float((cov[0, 0] - 2 * weight * cov[0, 1] + own) / n + own / n_rest)

    best = minimize_scalar(variance, bracket=(-1, 1)).x
    assert anchored_rate(people, judge).weight == pytest.approx(best, abs=1e-6)


@given(st.integers(0, 10_000))
def test_it_is_the_regression_estimator_of_surveys(seed):
    people, judge = sample(seed)
    slope = np.polyfit(judge[:40], people[:40], 1)[0]
    expected = np.mean(people[:40] - slope * judge[:40]) + slope * judge.mean()
    assert anchored_rate(people, judge).rate.value == pytest.approx(min(max(expected, 0), 1))


@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.1]))
def test_swapped_sides_mirror_everything(seed, rate):
    people, judge = sample(seed, rate=rate)
    one, other = anchored_rate(people, judge), anchored_rate(1 - people, 1 - judge)
    assert other.rate.value == pytest.approx(1 - one.rate.value)
    assert other.rate.low == pytest.approx(1 - one.rate.high)
    assert other.rate.high == pytest.approx(1 - one.rate.low)
    assert other.weight == pytest.approx(one.weight)


def test_a_lifted_and_squeezed_judge_says_the_same():
    people, judge = sample(1)
    one, other = anchored_rate(people, judge), anchored_rate(people, 0.3 + 0.6 * judge)
    assert other.rate.value == pytest.approx(one.rate.value)
    assert other.rate.low == pytest.approx(one.rate.low)
    assert other.weight == pytest.approx(one.weight / 0.6)
    against = anchored_rate(people, 1 - judge)
    assert against.rate.value == pytest.approx(one.rate.value)
    assert against.weight == pytest.approx(-one.weight)


@pytest.mark.parametrize(
    "judge", [np.full(400, 0.7), np.full(400, NAN)], ids=["constant", "silent"]
)
def test_a_judge_that_says_nothing_leaves_the_labels_alone(judge):
    people, _ = sample(2)
    found = anchored_rate(people, judge)
    assert found.rate == found.labels_only
    assert (found.weight, found.gain) == (0, 1)
    assert math.isnan(found.correlation)


def test_a_judge_that_costs_precision_is_left_out():
    """What it says of one label is no ground for weighting what it says of the others."""
    people, _ = sample(6)
    judge = np.full(400, 0.5)
    judge[0], judge[40:] = 0.5 + 1e-6, np.linspace(0, 1, 360)
    found = anchored_rate(people, judge)
    assert found.rate == found.labels_only


def test_with_everything_labelled_the_labels_stand_alone():
    people, judge = sample(3, n=400)
    found = anchored_rate(people, judge)
    assert found.rate == mean_interval(people)
    assert found.gain == 1


def test_labels_that_are_all_the_same():
    found = anchored_rate([1] * 30 + [NAN] * 70, [0, 1] * 50)
    assert found.rate.value == 1
    assert found.rate.low < 0.9
    assert (found.weight, found.gain) == (0, 1)


def test_a_perfect_judge_of_many_leaves_little_to_ask():
    people = np.array([0.0, 1.0] * 20 + [NAN] * 40)
    found = anchored_rate(people, [0, 1] * 40)
    assert found.correlation == pytest.approx(1)
    assert found.gain > 1
    assert found.rate.high - found.rate.low > 0.1  # thirty labels do not show that it never errs


@pytest.mark.parametrize("misses", [0, 3])
def test_errors_of_the_judge_that_the_labels_do_not_show_are_allowed_for(misses):
    people = np.array([0.0, 1.0] * 20 + [NAN] * 360)
    judge = np.tile([0.0, 1.0], 200)
    judge[:misses] = 1 - judge[:misses]
    rate = anchored_rate(people, judge).rate
    expected = spread_interval(rate.value, rate.standard_error, 40, misses)
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high))


def test_where_the_judge_is_silent_the_label_counts_and_the_mean_stands_in():
    people, judge = sample(4)
    judge[[0, 1, 100, 101, 102]] = NAN
    filled = np.where(np.isnan(judge), np.nanmean(judge), judge)
    found, expected = anchored_rate(people, judge), anchored_rate(people, filled)
    assert found.rate == expected.rate
    assert (found.n_labelled, found.n_unjudged) == (40, 2)
    assert found.correlation == pytest.approx(np.corrcoef(people[2:40], judge[2:40])[0, 1])


@pytest.mark.parametrize("is_silent", [False, True])
def test_it_is_unbiased_whatever_the_judge_does_wrong(is_silent):
    """Labels drawn again and again from one board whose judge is far off, and perhaps silent."""
    rng = np.random.default_rng(5)
    truth = (rng.random(300) < 0.3).astype(float)
    judge = np.clip(0.4 + 0.5 * truth + rng.normal(0, 0.1, 300), 0, 1)
    if is_silent:  # on half of what people call a win
        judge[truth.argsort()[-40:]] = NAN
    values = []
    for _ in range(1500):
        labels = np.full(300, NAN)
        drawn = rng.choice(300, 60, replace=False)
        labels[drawn] = truth[drawn]
        values.append(anchored_rate(labels, judge).rate.value)
    assert np.nanmean(judge) > truth.mean() + 0.1
    assert abs(np.mean(values) - truth.mean()) < 0.003


@pytest.mark.parametrize(("rate", "least"), [(0.5, 0.93), (0.1, 0.93)])
def test_thirty_labels_cover(rate, least):
    held = 0
    for seed in range(600):
        interval = anchored_rate(*sample(seed, n=30, n_items=300, rate=rate)).rate
        held += interval.low <= rate <= interval.high
    assert held / 600 >= least


@pytest.mark.parametrize(
    ("labels", "judge", "complaint"),
    [
        ([1, 0, NAN], [1, 0, 1], "2 labels; three are needed"),
        ([1, 0, 1], [1, 0], "3 labels and 2 preferences"),
        ([1, 0, 2], [1, 0, 1], "labels: value 2 is 2.0"),
        ([1, 0, 1], [1, -0.5, 1], "judge: value 1 is -0.5"),
        ([[1, 0, 1]], [1, 0, 1], "labels must have one dimension"),
    ],
)
def test_what_cannot_be_used(labels, judge, complaint):
    with pytest.raises(ValueError, match=complaint):
        anchored_rate(labels, judge)
    with pytest.raises(ValueError, match="level"):
        anchored_rate([1, 0, 1], [1, 0, 1], level=1.0)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=40), st.floats(0, 1))
def test_the_interval_of_a_spread_is_that_of_influences(influence, value):
    by_influence = influence_interval(value, influence, 7)
    by_error = spread_interval(value, by_influence.standard_error, len(influence), 7)
    assert by_error.low == pytest.approx(by_influence.low)
    assert by_error.high == pytest.approx(by_influence.high)


# ------------------------------------------------------------------------------------ Rogan–Gladen
def counted(wins: int, n: int, hits: int, won: int, passes: int, lost: int):
    """Labels and a judge with these counts: wins of n unlabelled, hits of won, passes of lost."""
    labels = [NAN] * n + [1] * won + [0] * lost
    judge = [1] * wins + [0] * (n - wins) + [1] * hits + [0] * (won - hits)
    return labels, judge + [0] * passes + [1] * (lost - passes)


def test_rogan_and_gladens_rate_and_lang_and_reiczigels_interval():
    found = rogan_gladen(*counted(90, 200, 36, 40, 56, 70))
    assert found is not None
    assert (found.sensitivity, found.specificity) == (0.9, 0.8)
    assert (found.n_wins, found.n_losses) == (40, 70)
    assert found.value == pytest.approx((0.45 + 0.8 - 1) / 0.7)
    z = norm.ppf(0.975)
    p, se, sp = (90 + z * z / 2) / (200 + z * z), 37 / 42, 57 / 72
    j = se + sp - 1
    centre = (p - (1 - sp)) / j
    spread = [
        p * (1 - p) / (200 + z * z),
        (centre * math.sqrt(se * (1 - se) / 42)) ** 2,
        ((1 - centre) * math.sqrt(sp * (1 - sp) / 72)) ** 2,
    ]
    shift = 2 * z * z * (centre * se * (1 - se) / 42 - (1 - centre) * sp * (1 - sp) / 72)
    assert found.low == pytest.approx(centre + shift - z * math.sqrt(sum(spread)) / j)
    assert found.high == pytest.approx(centre + shift + z * math.sqrt(sum(spread)) / j)


def test_a_perfect_judge_is_taken_at_its_word():
    found = rogan_gladen(*counted(60, 200, 40, 40, 40, 40))
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert found.low < 0.3 < found.high


def test_a_rate_below_what_errors_explain_is_cut_to_zero():
    found = rogan_gladen(*counted(22, 100, 30, 40, 30, 40))
    assert found is not None
    assert found.value == found.low == 0
    assert 0 < found.high < 0.3
    assert rogan_gladen(*counted(5, 100, 30, 40, 30, 40)) is None  # no errors explain so few
    assert rogan_gladen(*counted(95, 100, 30, 40, 30, 40)) is None


def test_swapped_sides_mirror_it():
    labels, judge = counted(90, 200, 36, 40, 56, 70)
    one = rogan_gladen(labels, judge)
    other = rogan_gladen(1 - np.array(labels), 1 - np.array(judge))
    assert one is not None
    assert other is not None
    assert other.value == pytest.approx(1 - one.value)
    assert (other.low, other.high) == pytest.approx((1 - one.high, 1 - one.low))
    assert (other.sensitivity, other.specificity) == (one.specificity, one.sensitivity)


@pytest.mark.parametrize(
    "counts",
    [(0, 0, 9, 10, 9, 10), (5, 10, 0, 0, 9, 10), (5, 10, 9, 10, 0, 0), (5, 10, 5, 10, 5, 10)],
    ids=["all labelled", "no win", "no loss", "no better than chance"],
)
def test_where_it_is_not_defined(counts):
    assert rogan_gladen(*counted(*counts)) is None


def test_what_it_does_not_take():
    labels, judge = counted(5, 10, 9, 10, 9, 10)
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        rogan_gladen([0.5, *labels[1:]], judge)
    with pytest.raises(ValueError, match="level"):
        rogan_gladen(labels, judge, level=0)
    missing = rogan_gladen(labels, [*judge[:-1], NAN])
    assert missing is not None
    assert missing.n_losses == 9


# ---------------------------------------------------------------------------------------- planning
def test_the_width_that_theory_promises():
    # A correlation of 0.8 with a tenth labelled: sqrt(1 - 0.64 * 0.9).
    assert expected_ratio(0.8, 80, 800) == pytest.approx(math.sqrt(0.424))
    assert expected_ratio(0.8, 80, 800) < 0.68
    assert expected_ratio(0.0, 80, 800) == expected_ratio(0.9, 800, 800) == 1
    assert expected_ratio(-0.5, 80, 800) == expected_ratio(0.5, 80, 800)


def test_simulated_intervals_are_as_wide_as_planned():
    found = [anchored_rate(*sample(seed, n=80, n_items=800)) for seed in range(300)]
    widths = [[of.rate.half_width, of.labels_only.half_width] for of in found]
    together, alone = np.mean(widths, axis=0)
    assert together / alone == pytest.approx(expected_ratio(0.8, 80, 800), abs=0.03)
    assert together / alone <= 0.68
    assert together == pytest.approx(expected_half_width(0.5, 0.8, 80, 800), rel=0.03)
    assert np.median([of.gain for of in found]) == pytest.approx(1 / 0.424, rel=0.05)


@given(st.floats(0, 1), st.sampled_from([0.03, 0.05, 0.1, 0.3]), st.sampled_from([40, 805]))
def test_the_fewest_labels_for_an_interval(correlation, half, n_items):
    n = labels_needed(0.5, correlation, half, n_items)
    if n is None:
        assert expected_half_width(0.5, correlation, n_items, n_items) > half
        return
    assert expected_half_width(0.5, correlation, n, n_items) <= half
    if n > 1:
        assert expected_half_width(0.5, correlation, n - 1, n_items) > half


def test_plans_that_cannot_be():
    with pytest.raises(ValueError, match="correlation must be"):
        expected_ratio(1.5, 80, 800)
    with pytest.raises(ValueError, match="80 labels of 40"):
        expected_ratio(0.5, 80, 40)
