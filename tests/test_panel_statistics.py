"""What a panel is worth: flips, agreement, effective votes, rankings without one of its judges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import kendalltau, pearsonr, rankdata

from leaderboard.statistics.panels import (
    agreement,
    effective_votes,
    flips,
    gold_figures,
    hard,
    left_out,
    panel_agreement,
)
from leaderboard.statistics.uncertainty import mean_interval

NAN = math.nan
VOTE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, NAN])
PAIRS = st.lists(st.tuples(VOTE, VOTE), min_size=1, max_size=30)


def votes_of(n: int, k: int, elements: st.SearchStrategy[float] = VOTE) -> st.SearchStrategy:
    return arrays.arrays(np.float64, (n, k), elements=elements)


# ------------------------------------------------------------------------------------------- flips
def test_a_choice_is_the_side_of_a_half():
    assert hard([0, 0.49, 0.5, 0.5 + 1e-15, 0.51, 1]).tolist() == [0, 0, 0.5, 0.5, 1, 1]
    assert np.isnan(hard([NAN])).all()
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        hard([1.5])


def test_flips_by_hand():
    #            kept  kept  flip  one tie  two ties  missing
    original = [1.00, 0.20, 0.90, 0.50, 0.50, NAN]
    swapped_ = [0.70, 0.00, 0.10, 1.00, 0.50, 1.0]
    found = flips(original, swapped_)
    assert (found.n_flipped, found.n_decided) == (1, 3)
    assert (found.n_one_tie, found.n_both_ties, found.n_missing) == (1, 1, 1)
    assert found.n_tied == 2
    assert found.rate is not None
    assert found.rate.value == pytest.approx(1 / 3)
    # Shown first and preferred: original prefers 1, swapped prefers 2. Of the pairs in turn:
    # 0 and 1, 1 and 0, 0 and 0, half and 1, half and half.
    assert found.first_shown is not None
    assert found.first_shown.value == pytest.approx((0.5 + 0.5 + 0 + 0.75 + 0.5) / 5)


def test_a_judge_that_takes_the_first_always_flips():
    found = flips([0.0] * 40, [1.0] * 40)
    assert (found.rate.value, found.first_shown.value) == (1, 1)
    assert found.rate.low < 1
    last = flips([1.0] * 40, [0.0] * 40)
    assert (last.rate.value, last.first_shown.value) == (1, 0)


def test_the_rate_of_single_pairs_has_wilsons_interval():
    original, swapped_ = np.repeat([0.0, 1.0], [30, 20]), np.repeat([0.0, 1.0], [38, 12])
    found = flips(original, swapped_).rate
    expected = mean_interval((original != swapped_).astype(float))
    assert found is not None
    assert (found.value, found.n) == (expected.value, 50)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.standard_error == pytest.approx(expected.standard_error)


def test_pairs_of_one_instruction_count_once():
    # Four rows that flip on the same instructions say no more than one row does.
    one = flips([0, 0, 0, 1, 1, 1, 0, 1], [1, 0, 0, 0, 1, 1, 0, 1])
    four = flips(
        np.tile([0, 0, 0, 1, 1, 1, 0, 1], 4), np.tile([1, 0, 0, 0, 1, 1, 0, 1], 4),
        clusters=np.tile(list("abcdefgh"), 4),
    )  # fmt: skip
    apart = flips(np.tile([0, 0, 0, 1, 1, 1, 0, 1], 4), np.tile([1, 0, 0, 0, 1, 1, 0, 1], 4))
    for found in (one, four, apart):
        assert found.rate is not None
        assert found.rate.value == 0.25
    assert four.rate.standard_error == pytest.approx(one.rate.standard_error)
    assert four.rate.high > apart.rate.high


def test_without_pairs_there_is_no_rate():
    found = flips([NAN, 0.0], [1.0, NAN])
    assert (found.rate, found.first_shown, found.n_missing) == (None, None, 2)
    assert flips([0.5], [0.5]).rate is None
    assert flips([], []).n_decided == 0


@given(PAIRS)
def test_flips_properties(pairs):
    original, swapped_ = np.array(pairs).T
    found = flips(original, swapped_)
    parts = (found.n_decided, found.n_one_tie, found.n_both_ties, found.n_missing)
    assert sum(parts) == len(pairs)
    assert 0 <= found.n_flipped <= found.n_decided
    # Which output is called 2 does not matter to a flip; the place that is preferred stays.
    mirrored = flips(1 - original, 1 - swapped_)
    assert (mirrored.n_flipped, mirrored.n_decided) == (found.n_flipped, found.n_decided)
    # Read the other way round, the second place is the first.
    turned = flips(swapped_, original)
    assert repr(turned.rate) == repr(found.rate)
    if found.first_shown is not None and turned.first_shown is not None:
        assert turned.first_shown.value == pytest.approx(1 - found.first_shown.value)
        assert 0 <= found.first_shown.low <= found.first_shown.value <= found.first_shown.high <= 1
    # Counted one by one.
    n_flipped = sum((a - 0.5) * (b - 0.5) < 0 for a, b in pairs)
    assert found.n_flipped == n_flipped


@pytest.mark.parametrize("wrong", [([0.0], [0.0, 1.0], None), ([0.0], [1.0], [1, 2])])
def test_lengths_that_differ_are_refused(wrong):
    with pytest.raises(ValueError, match=r"lengths differ|clusters must have"):
        flips(*wrong)


# --------------------------------------------------------------------------------------- agreement
def test_agreement_by_hand():
    found = agreement([1.0, 0.9, 0.2, 0.5, 0.5, NAN], [0.6, 0.1, 0.5, 0.5, 1.0, 1.0])
    assert found is not None
    assert found.n == 5
    assert found.raw.value == pytest.approx((1 + 0 + 0.5 + 1 + 0.5) / 5)
    assert agreement([NAN], [1.0]) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=40))
def test_correlation_is_pearsons(pairs):
    a, b = np.array(pairs).T
    found = agreement(a, b)
    assert found is not None
    if min(a.std(), b.std()) <= 1e-6:
        return
    assert found.correlation is not None
    assert found.correlation.value == pytest.approx(pearsonr(a, b).statistic, abs=1e-7)
    assert found.correlation.low <= found.correlation.value + 1e-12
    assert found.correlation.value <= found.correlation.high + 1e-12
    again = agreement(b, a)
    assert again is not None
    assert repr(again.raw) == repr(found.raw)


def test_judges_that_never_vary_have_no_correlation():
    found = agreement([1.0, 1.0, 1.0], [0.0, 1.0, 0.0])
    assert found is not None
    assert found.correlation is None
    same = agreement([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert same is not None
    assert (same.correlation.low, same.correlation.high) == pytest.approx((1, 1))


def jackknife(statistic, votes, clusters):
    """The standard error of a statistic by leaving out one cluster after the other."""
    left = np.array([statistic(votes[clusters != c]) for c in np.unique(clusters)])
    g = len(left)
    return math.sqrt((g - 1) / g * np.square(left - left.mean()).sum())


def correlated_votes(rng, n, k, share):
    """Hard votes of k judges, each right 7 times in 10, with a common part."""
    common = rng.random(n)[:, None]
    own = rng.random((n, k))
    return (np.where(rng.random((n, k)) < share, common, own) < 0.7).astype(float)


def test_standard_errors_are_those_of_the_jackknife():
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(150), 4)
    items = np.repeat(correlated_votes(rng, 150, 3, 0.5), 4, axis=0)
    votes = np.where(rng.random((600, 3)) < 0.3, correlated_votes(rng, 600, 3, 0.3), items)
    found = agreement(votes[:, 0], votes[:, 1], clusters)
    assert found is not None
    se = jackknife(lambda v: np.corrcoef(v.T)[0, 1], votes, clusters)
    assert found.correlation.standard_error == pytest.approx(se, rel=0.02)
    se = jackknife(lambda v: (v[:, 0] == v[:, 1]).mean(), votes, clusters)
    assert found.raw.standard_error == pytest.approx(se, rel=0.02)
    several = effective_votes(votes, clusters)
    assert several.votes is not None
    se = jackknife(lambda v: math.log(kish(v)), votes, clusters)
    assert several.votes.standard_error / several.votes.value == pytest.approx(se, rel=0.03)


def test_panel_agreement_by_hand():
    found = panel_agreement([[1, 1, 0], [0, 0, NAN], [NAN, NAN, 1], [0.5, 1, 1]])
    assert found is not None
    assert found.n == 3
    assert found.value == pytest.approx((1 / 3 + 1 + (0.5 + 0.5 + 1) / 3) / 3)
    assert panel_agreement([[1.0], [0.0]]) is None


@given(votes_of(12, 2))
def test_panel_agreement_of_two_is_their_agreement(votes):
    found, alone = panel_agreement(votes), agreement(votes[:, 0], votes[:, 1])
    assert (found is None) == (alone is None)
    if found is not None and alone is not None:
        assert repr(found) == repr(alone.raw)


# --------------------------------------------------------------------------------- effective votes
def kish(votes):
    """k / (1 + (k - 1) * mean correlation), generalised to judges that vary differently."""
    covariance = np.atleast_2d(np.cov(votes.T, bias=True))
    return len(covariance) ** 2 * np.diag(covariance).mean() / covariance.sum()


def test_effective_votes_by_hand():
    # Two judges of the same variance, correlation 0.5: 2 / 1.5.
    votes = np.array([[1, 1], [1, 1], [1, 1], [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]], float)
    found = effective_votes(votes)
    assert found.correlation == pytest.approx(0.5)
    assert found.votes is not None
    assert found.votes.value == pytest.approx(2 / 1.5)
    assert (found.n_judges, found.n) == (2, 8)
    assert 1 <= found.votes.low < found.votes.value < found.votes.high


def test_all_combinations_of_votes_are_independent_judges():
    votes = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
    found = effective_votes(votes)
    assert found.votes is not None
    assert found.votes.value == pytest.approx(3)
    assert found.correlation == pytest.approx(0)


def test_copies_are_one_vote():
    votes = np.tile([[0.0], [1.0], [1.0], [0.5]], 9)
    found = effective_votes(votes)
    assert found.votes is not None
    assert (found.votes.value, found.votes.low, found.votes.high) == pytest.approx((1, 1, 1))
    assert found.correlation == pytest.approx(1)
    alone = effective_votes(votes[:, :1])
    assert alone.votes is not None
    assert alone.votes.value == pytest.approx(1)
    assert math.isnan(alone.correlation)


def test_being_right_together_costs_no_vote_with_gold_labels():
    rng = np.random.default_rng(1)
    gold = (rng.random(4000) < 0.5).astype(float)
    wrong = rng.random((4000, 5)) < 0.2
    votes = np.where(wrong, 1 - gold[:, None], gold[:, None])
    without, with_gold = effective_votes(votes), effective_votes(votes, gold=gold)
    assert without.votes is not None
    assert with_gold.votes is not None
    # The verdicts of two judges correlate by (1 - 2 * 0.2) ** 2 = 0.36.
    assert without.votes.value == pytest.approx(5 / (1 + 4 * 0.36), rel=0.05)
    assert with_gold.votes.low < 5 < with_gold.votes.high
    # The names of the two outputs mean nothing.
    turned = effective_votes(1 - votes, gold=1 - gold)
    assert turned.votes is not None
    assert turned.votes.value == pytest.approx(with_gold.votes.value)


def test_weights():
    rng = np.random.default_rng(3)
    votes = correlated_votes(rng, 500, 3, 0.4)
    even, same = effective_votes(votes), effective_votes(votes, weights=[2, 2, 2])
    assert even.votes is not None
    assert same.votes is not None
    assert same.votes.value == pytest.approx(even.votes.value)
    # Independent judges of equal variance: (sum of w)**2 / sum of w**2.
    free = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
    uneven = effective_votes(free, weights=[2, 1, 0]).votes
    assert uneven is not None
    assert uneven.value == pytest.approx(9 / 5)
    for wrong in ([1, 1], [1, -1, 1], [0, 0, 0]):
        with pytest.raises(ValueError, match="weights must be 3 numbers"):
            effective_votes(free, weights=wrong)


def test_votes_that_tell_nothing_have_no_figure():
    assert effective_votes(np.ones((6, 3))).votes is None
    opposed = effective_votes(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert opposed.votes is None
    assert opposed.correlation == pytest.approx(-1)
    missing = effective_votes(np.full((4, 2), NAN))
    assert (missing.votes, missing.n) == (None, 0)
    with pytest.raises(ValueError, match="at least one judge"):
        effective_votes(np.ones((3, 0)))
    with pytest.raises(ValueError, match="shape"):
        effective_votes(np.ones(3))


@given(votes_of(15, 3))
def test_effective_votes_properties(votes):
    found = effective_votes(votes)
    whole = votes[~np.isnan(votes).any(axis=1)]
    assert found.n == len(whole)
    if found.votes is None:
        return
    assert found.votes.value == pytest.approx(kish(whole[:, np.ptp(whole, axis=0) > 0]))
    assert found.votes.value >= 1 - 1e-9
    assert found.votes.low <= found.votes.value <= found.votes.high
    mirrored = effective_votes(1 - votes).votes
    assert mirrored is not None
    assert mirrored.value == pytest.approx(found.votes.value)
    copies = effective_votes(np.repeat(votes, 2, axis=1)).votes
    assert copies is not None
    assert copies.value == pytest.approx(found.votes.value), "copies add nothing"


@pytest.mark.parametrize(("n", "share"), [(100, 0.5), (400, 0.5), (400, 0.1)])
def test_the_interval_of_effective_votes_covers(n, share):
    # A judge shares the common draw with chance s, so that two judges' votes correlate by s * s.
    truth, inside, reps = 5 / (1 + 4 * share**2), 0, 600
    for seed in range(reps):
        rng = np.random.default_rng([seed, n])
        found = effective_votes(correlated_votes(rng, n, 5, share)).votes
        assert found is not None
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / reps <= 0.98


# ------------------------------------------------------------------------------ without one judge
def test_a_ranking_without_a_judge_by_hand():
    found = left_out([0.9, 0.7, 0.5, 0.3], [0.6, 0.8, 0.5, 0.3])
    assert found.shifts == (1, -1, 0, 0)
    assert found.largest == 1
    assert found.tau == pytest.approx((5 - 1) / 6)
    gone = left_out([0.9, NAN, 0.5, 0.3], [0.9, 0.8, NAN, 0.95])
    assert gone.shifts == (1, 0, 0, -1)
    assert gone.tau == pytest.approx(-1)


def test_rankings_that_say_nothing_have_no_tau():
    assert math.isnan(left_out([0.5], [0.4]).tau)
    assert math.isnan(left_out([0.5, 0.5], [0.4, 0.6]).tau)
    assert math.isnan(left_out([NAN, 0.5], [0.4, NAN]).tau)
    assert left_out([], []).largest == 0
    with pytest.raises(ValueError, match="rows"):
        left_out([0.5], [0.5, 0.5])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_shifts_are_differences_of_ranks(rates):
    one, two = np.array(rates).T
    found = left_out(one, two)
    expected = rankdata(-two, method="min") - rankdata(-one, method="min")
    assert found.shifts == tuple(expected)
    theirs = kendalltau(one, two).statistic
    assert found.tau == pytest.approx(theirs, nan_ok=True)


# ------------------------------------------------------------------------------------- gold labels
def test_figures_against_gold_labels_by_hand():
    gold = [1, 1, 0, 0, 1]
    found = gold_figures([1, 1, 1, NAN, 0.5], [1, 0, 1, NAN, 1], gold)
    assert found.accuracy_original == pytest.approx(2 / 5)
    assert found.accuracy_swapped == pytest.approx(2 / 5)
    assert found.accuracy_average == pytest.approx(2 / 5)
    assert found.accuracy_both == pytest.approx(1 / 5)
    assert found.positional_agreement == pytest.approx(3 / 5)
    for wrong in ([], [0.7, 1, 1, 1, 1], [NAN, 1, 1, 1, 1]):
        with pytest.raises(ValueError, match="gold labels"):
            gold_figures([1] * len(wrong), [1] * len(wrong), wrong)


@pytest.mark.parametrize("constant", [0.5, 0.0, 1.0])
def test_a_vote_that_is_the_same_everywhere_is_none(constant):
    rng = np.random.default_rng(3)
    two = rng.integers(0, 2, (40, 2)).astype(float)
    with_it = np.column_stack([two[:, 0], np.full(40, constant), two[:, 1]])
    gold = rng.integers(0, 2, 40).astype(float)
    for of in (None, gold):
        found = effective_votes(with_it, gold=of)
        assert found.votes == effective_votes(two, gold=of).votes
        assert (found.n_judges, found.constant) == (3, (1,))
        weighed = effective_votes(with_it, weights=[1, 9, 2], gold=of)
        assert weighed.votes == effective_votes(two, weights=[1, 2], gold=of).votes
    assert effective_votes(with_it[:, :2]).votes.value == pytest.approx(1)
    assert effective_votes(with_it, weights=[0, 1, 0]).votes is None
