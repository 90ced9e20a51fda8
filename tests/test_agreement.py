"""One annotator against the mode of k others, for judges and for people alike."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from real_labels import AUTO_J_GROUPS, auto_j, pandalm

from leaderboard.statistics.agreement import (
    against_humans,
    agreement_scores,
    each_annotator,
    floors,
    labels_per_item,
    usual_k,
    with_each_human,
)
from leaderboard.statistics.class_tables import (
    as_classes,
    human_tables,
    majority_tables,
    paired_tables,
    subset_modes,
)
from leaderboard.statistics.estimates import (
    Estimate,
    Undefined,
    Unseen,
    difference_of,
    influence_of,
    item_means,
    mean_of,
)
from leaderboard.statistics.panels import gold_figures
from leaderboard.statistics.uncertainty import mean_interval

NAN = math.nan
LABEL = st.sampled_from([0.0, 0.5, 1.0, NAN])
HUMANS = arrays.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=LABEL)


def modes(labels) -> list[float]:
    said = sorted(set(labels))
    most = max(list(labels).count(label) for label in said)
    return [label for label in said if list(labels).count(label) == most]


def credit(label: float, others, k: int) -> float:
    """The share of choices of k whose mode the label is, one by one."""
    found = [(label in modes(chosen)) / len(modes(chosen)) for chosen in combinations(others, k)]
    return float(np.mean(found))


# ------------------------------------------------------------------------------------ real figures
def test_pandalm_judges_and_people_against_two_others(shared_data):
    humans, judges = pandalm(shared_data)
    found = against_humans(judges["pandalm_7b"], humans)
    assert (found.k, found.n_items, found.n_judged, found.n_used) == (2, 999, 999, 999)
    assert found.labels_per_item == {3: 999}
    # The published accuracy is against all three: one more other, an easier task.
    all_three = mean_of(agreement_scores(majority_tables(judges["pandalm_7b"], humans, 3)))
    assert round(100 * all_three.value, 2) == 66.77
    assert found.judge.value < all_three.value
    single = [credit(judges["pandalm_7b"][i], humans[i], 2) for i in range(999)]
    assert found.judge.value == pytest.approx(np.mean(single), abs=1e-12)
    own = [np.mean([credit(row[a], np.delete(row, a), 2) for a in range(3)]) for row in humans]
    assert found.humans.value == pytest.approx(np.mean(own), abs=1e-12)
    assert found.difference.value == pytest.approx(found.judge.value - found.humans.value)
    assert found.difference.high < 0
    each = each_annotator(humans)
    assert np.mean([one.value for one in each]) == pytest.approx(found.humans.value)
    gpt = against_humans(judges["gpt_3_5_turbo"], humans)
    assert (gpt.n_items, gpt.n_judged, gpt.n_used) == (999, 974, 974)


def test_auto_j_agreement_and_consistency_by_group(shared_data):
    label, one, two, group = auto_j(shared_data)
    found = gold_figures(one, two, label)
    assert (round(100 * found.accuracy_both, 2), round(100 * found.positional_agreement, 2)) == (
        54.96,
        83.41,
    )
    published = AUTO_J_GROUPS
    assert set(group) == set(published)
    for name, (n, agreement, consistency) in published.items():
        of = group == name
        counted = gold_figures(one[of], two[of], label[of])
        both = mean_of(((one == label) & (two == label))[of].astype(float))
        assert both.n == of.sum() == n
        assert round(100 * both.value, 2) == round(100 * counted.accuracy_both, 2) == agreement
        assert round(100 * counted.positional_agreement, 2) == consistency


# ------------------------------------------------------------------------------------- by hand
def test_tied_modes_share_the_credit_and_no_coin_is_thrown():
    # Two of the others for output 1 and two for output 2.
    humans = [[0, 0, 1, 1]]
    for judge, expected in ((0.0, 0.5), (1.0, 0.5), (0.5, 0.0)):
        scored = agreement_scores(majority_tables(np.array([judge]), np.array(humans), 4))
        assert scored.tolist() == [expected]
    assert subset_modes(np.array([[1.0, 1.0, 1.0]]), 3).tolist() == [pytest.approx([1 / 3] * 3)]
    # A human against the other three: two of them say the other thing.
    assert agreement_scores(human_tables(np.array(humans), 3)).tolist() == [0]


def test_items_with_other_numbers_of_labels_are_counted():
    #          3 labels     2 labels      1 label          none              4 labels
    humans = [[0, 0, 1, NAN], [1, 1, NAN, NAN], [1] + [NAN] * 3, [NAN] * 4, [0, 0, 0, 1]]
    humans += [[0.5, 0.5, 0.5, NAN]]
    judge = [0.0, 1.0, 1.0, 1.0, 0.0, NAN]
    assert labels_per_item(humans) == {1: 1, 2: 1, 3: 2, 4: 1}
    found = against_humans(judge, humans)
    assert (found.k, found.n_items, found.n_judged, found.n_used) == (2, 5, 4, 2)
    # Three choices of two: 00, 01, 01. Six choices: 00 thrice, 01 thrice.
    assert found.judge.value == pytest.approx(((1 + 0.5 + 0.5) / 3 + (3 + 3 * 0.5) / 6) / 2)
    assert found.judge.n == found.humans.n == 2
    assert against_humans(judge, humans, k=1).n_used == 3
    none = against_humans(judge, humans, k=4)
    assert none.judge == Undefined(reason="no item has a verdict and 5 human labels")
    assert isinstance(none.difference, Undefined)
    # Of equally frequent numbers the smaller, which keeps more items.
    assert usual_k([[0, 0, NAN], [0, 0, 0]]) == 1


def test_one_label_an_item_says_nothing_of_the_humans():
    found = against_humans([0.0, 1.0, NAN], [[0.0], [0.0], [1.0]])
    assert (found.k, found.n_used, found.judge.value) == (1, 2, 0.5)
    assert found.humans == Undefined(reason="no item has a verdict and 2 human labels")
    assert isinstance(found.humans_as_is, Undefined)
    assert isinstance(each_annotator([[0.0], [1.0]])[0], Undefined)
    assert floors([[0.0], [0.0], [1.0]]).constant[0.0].value == pytest.approx(2 / 3)


def test_a_continuous_judge_is_read_with_the_tie_zone_and_scored_as_it_is():
    judge = [0.1, 0.3, 0.5, 0.75, 0.9]
    assert as_classes(judge).tolist() == [0, 0.5, 0.5, 0.5, 1]
    assert as_classes(judge, 0).tolist() == [0, 0, 0.5, 1, 1]
    found = against_humans(judge, [[1, 1]] * 5, k=1)
    assert found.judge.value == pytest.approx(1 / 5)
    assert found.as_is.value == pytest.approx(np.mean(judge))
    assert against_humans(judge, [[1, 1]] * 5, k=1, tie_zone=0).judge.value == pytest.approx(2 / 5)
    tied = against_humans([0.5], [[0.5, 1.0]], k=1)
    assert (tied.humans.value, tied.humans_as_is.value) == (0, 0.5)
    assert (tied.judge.value, tied.as_is.value) == (0.5, 0.75)


def test_with_each_human():
    found = with_each_human([0, 1, 1, NAN], [[0, 1], [1, NAN], [0, NAN], [1, 1]])
    assert (found[0].n, found[0].value) == (3, pytest.approx(2 / 3))
    assert (found[1].n, found[1].value) == (1, 0)


def test_floors_are_expectations():
    humans = [[1, 1, 1], [1, 1, 0], [0, 0, 0.5], [1, NAN, NAN]]
    found = floors(humans)
    assert found.k == 2
    by_item = [1, (1 + 0.5 + 0.5) / 3, 0]
    assert found.constant[1.0].value == pytest.approx(np.mean(by_item))
    assert found.best_constant == 1.0
    assert found.random.value == pytest.approx((1 / 2 + 1 / 2 + (1 / 3 + 1 / 3) / 2) / 3)
    always = against_humans([1.0] * 4, humans)
    assert always.judge == found.constant[1.0]
    empty = floors([[NAN, NAN]])
    assert isinstance(empty.random, Undefined)
    assert empty.best_constant == 0.0


@given(HUMANS, st.data())
def test_agreement_properties(humans, data):
    judge = data.draw(arrays.arrays(np.float64, len(humans), elements=LABEL))
    k = data.draw(st.integers(1, 4))
    found = against_humans(judge, humans, k=k)
    # Which output is called 2 does not matter.
    mirrored = against_humans(1 - judge, 1 - humans, k=k)
    for name in ("judge", "humans", "as_is", "humans_as_is"):
        one, other = getattr(found, name), getattr(mirrored, name)
        if isinstance(one, Estimate):
            ends = (other.value, other.low, other.high)
            assert (one.value, one.low, one.high) == pytest.approx(ends)
            assert 0 <= one.low <= one.value <= one.high <= 1
            assert one.n == found.n_used
        else:
            assert one == other
    # Counted one by one.
    scores = agreement_scores(human_tables(humans, k))
    for row, score in zip(humans, scores, strict=True):
        labels = row[~np.isnan(row)]
        if len(labels) <= k:
            assert math.isnan(score)
        else:
            own = [credit(labels[a], np.delete(labels, a), k) for a in range(len(labels))]
            assert score == pytest.approx(np.mean(own))


# ----------------------------------------------------------------------------- means and influence
def test_means_by_item():
    scores, items = [1.0, 0.0, 1.0, NAN], ["a", "a", "b", "c"]
    assert item_means(scores, items).tolist() == [0.5, 1.0]
    found = mean_of(scores, items)
    expected = mean_interval([0.5, 1.0])
    assert (found.value, found.low, found.high, found.n) == (
        expected.value,
        expected.low,
        expected.high,
        2,
    )
    assert difference_of(scores, [0.0, 0.0, 0.0, 1.0], items).value == pytest.approx(0.75)
    assert mean_of([NAN]) == Undefined(reason="no item has a verdict")
    assert difference_of([NAN], [1.0]) == Undefined(reason="no item has both")


def test_the_influence_on_a_mean_is_the_distance_from_it():
    parts = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    found = influence_of(parts, lambda sums: sums[:, 0] / sums[:, 1])
    assert found == pytest.approx([2 / 3, -1 / 3, -1 / 3])


def test_what_was_not_drawn_adds_to_the_variance():
    parts = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])

    def mean(sums):
        return sums[:, 0] / sums[:, 1]

    plain = influence_of(parts, mean)
    # One more 1 makes the mean 2 / 5: a pull of 5 * (2 / 5 - 1 / 4), of which one was seen.
    wider = influence_of(parts, mean, Unseen(np.array([[1.0, 1.0]]), np.array([1.0])))
    assert wider.var() == pytest.approx(plain.var() + 0.75**2 / 4 / 2)
    assert np.corrcoef(plain, wider)[0, 1] == pytest.approx(1)


# --------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: against_humans([0.5], [[0.3]]), "0, 0.5"),
        (lambda: against_humans([0.5], [0.0]), "items, annotators"),
        (lambda: against_humans([0.5], np.empty((1, 0))), "annotators >= 1"),
        (lambda: against_humans([1.5], [[0.0]]), "in \\[0, 1\\]"),
        (lambda: against_humans([0.5, 0.5], [[0.0]]), "2 verdicts and 1 labelled"),
        (lambda: against_humans([0.5], [[0.0]], k=0), "at least 1"),
        (lambda: against_humans([0.5], [[0.0]], tie_zone=0.5), "tie zone"),
        (lambda: against_humans([0.5], [[0.0]], level=1.0), "level"),
        (lambda: paired_tables(np.zeros(1), np.zeros(2)), "differ"),
        (lambda: mean_of([[0.0]]), "one dimension"),
        (lambda: mean_of([2.0]), "not in"),
        (lambda: mean_of([0.0], ["a", "b"]), "items must have"),
        (lambda: difference_of([0.0], [0.0, 1.0]), "differ"),
    ],
)
def test_what_cannot_be_is_refused(run, words):
    with pytest.raises(ValueError, match=words):
        run()
