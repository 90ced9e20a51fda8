"""Verdicts on judges: who can stand in for people, who cannot, what is weakest, what is refused."""

from __future__ import annotations

import dataclasses

import pytest
from labelled_pairs import (
    Said,
    humans_of,
    judge_of,
    measured,
    noisy,
    pair,
    people,
    truth,
)

from judges.calling.caller import Caller
from judges.schema import Annotation
from leaderboard.statistics.estimates import Estimate, Undefined
from leaderboard.validity.agree import Agreement, measure
from leaderboard.validity.agreement_words import (
    MIN_PAIRS,
    conclude,
    judge_words,
    overview_words,
    weakest,
)
from leaderboard.validity.humans import Humans
from leaderboard.validity.judge_figures import Settings
from leaderboard.validity.judged import Judged, with_floors

N = 200


def found_of(judge: Said, n_people: int = 3, n: int = N, **keys) -> Agreement:
    return measured(humans_of(n, people(n_people), {"judge": {"none": judge}}, **keys))


def verdict(found: Agreement, name: str = "judge") -> str:
    return conclude(found, judge_of(found, name)).verdict


def words(found: Agreement, name: str = "judge") -> str:
    return " ".join(judge_words(found, judge_of(found, name)))


# -------------------------------------------------------------------------------- the verdicts
@pytest.mark.parametrize(
    ("rate", "said", "part"),
    [
        (0.02, "stands in", "can stand in for people on these pairs"),
        (0.17, "stands in at a discount", "with the 0.2 that it is forgiven"),
        (
            0.4,
            "falls short",
            "cannot stand in for people: it agrees with the majority of 2 people",
        ),
        (0.5, "no better than a floor", "not surely more than"),
    ],
)
def test_a_judge_is_as_good_as_its_errors_are_few(rate, said, part):
    found = found_of(noisy("judge", rate), n=400)
    assert verdict(found) == said
    assert part in words(found)


def test_it_is_not_shown_where_only_the_test_fails():
    found = found_of(noisy("judge", 0.14), n=60)
    one = judge_of(found, "judge")
    assert verdict(found) == "stands in"
    failed = dataclasses.replace(one, replaces=dataclasses.replace(one.replaces, passes=False))
    assert conclude(found, failed).verdict == "not shown"


def test_more_than_epsilon_below_people_is_too_little_without_the_test_too():
    assert verdict(found_of(noisy("judge", 0.43), 2, n=1500)) == "falls short"
    found = found_of(noisy("judge", 0.12), 2)
    assert conclude(found, judge_of(found, "judge")).verdict == "withheld"
    assert "2 human annotators, and the test needs 3" in words(found)
    assert "2 annotators are too few" in " ".join(overview_words(found))


def test_nothing_is_concluded_of_few_pairs():
    found = found_of(truth, n=MIN_PAIRS - 1)
    assert verdict(found) == "withheld"
    assert "29 pairs with a verdict and enough labels are too few; it takes 30" in words(found)
    assert "29 pairs are too few for a verdict" in " ".join(overview_words(found))
    assert verdict(found_of(truth, n=MIN_PAIRS)) == "stands in"


def test_nothing_is_concluded_where_many_verdicts_are_missing():
    found = found_of(lambda n: None if n % 10 == 0 else truth(n))
    assert verdict(found) == "withheld"
    assert "10.0 % of its verdicts are missing" in words(found)
    few = found_of(lambda n: None if n % 40 == 0 else truth(n))
    assert verdict(few) == "stands in"
    assert judge_of(few, "judge").against.n_judged == N - 5


@pytest.mark.parametrize(("label", "part"), [(0.5, "a tie"), (1.0, "for output 2")])
def test_nothing_is_concluded_of_labels_that_are_all_the_same(label, part):
    humans = humans_of(N, {"a": lambda n: label, "b": lambda n: label}, {"judge": {"none": truth}})
    found = measured(humans)
    assert verdict(found) == "withheld"
    assert "all labels are the same" in words(found)
    assert f"All labels are {part}" in " ".join(overview_words(found))
    assert isinstance(found.people.kappa, Undefined)


def test_with_one_annotator_people_are_no_yardstick():
    found = found_of(truth, 1)
    assert (verdict(found), found.k) == ("withheld", 1)
    assert "there is one label a pair" in words(found)
    assert isinstance(found.people.agreement, Undefined)
    assert found.people.pairwise_kappa == {}
    # What does not read is told apart all the same.
    assert verdict(found_of(noisy("judge", 0.5), 1)) == "no better than a floor"


def test_a_file_says_how_pairs_were_drawn_or_it_is_said_that_it_does_not():
    assert "were drawn at random" in " ".join(overview_words(found_of(truth, sampled="random")))
    assert "is 'by hand'" in " ".join(overview_words(found_of(truth, sampled="by hand")))
    assert "is not said" in " ".join(overview_words(found_of(truth)))


# -------------------------------------------------------------------------------- the weakest
def weakest_of(**orders: Said) -> str:
    found = measured(humans_of(N, people(3), {"judge": orders}))
    weak = weakest(found, judge_of(found, "judge"))
    return "" if weak is None else weak.words


def test_a_judge_that_likes_the_first_answer_is_told_so():
    flips = {n for n in range(N) if n % 5 == 0}
    said = weakest_of(
        original=lambda n: 0.0 if n in flips else truth(n),
        swapped=lambda n: 1.0 if n in flips else truth(n),
    )
    assert said.startswith("it prefers the answer shown first in 60.0 % where people do in 50.0 %")


def test_a_judge_that_flips_at_random_is_told_so():
    first, second = noisy("first", 0.12), noisy("second", 0.12)
    assert weakest_of(original=first, swapped=second).startswith("its verdict changes with the ord")


def test_a_judge_that_likes_length_is_told_so():
    def longer(n: int) -> float:
        return float(n % 2) if n % 4 < 2 else truth(n)

    assert "it prefers the longer answer in" in weakest_of(none=longer)


def test_a_judge_that_says_tie_is_told_so():
    said = weakest_of(none=noisy("judge", 0.02, ties=0.2))
    assert said.startswith("it says tie in ")
    assert said.endswith(" % where people do in 0.0 %")


def test_probabilities_that_are_off_are_told():
    # Right, and not sure enough of it: people share what it gives 77 % in nine of ten pairs.
    said = weakest_of(none=lambda n: 0.23 + 0.54 * truth(n))
    assert said.startswith("its probabilities are off by 1")


def test_the_worst_category_is_told():
    pairs = [pair(n, longer=1 + n % 2, category="easy" if n % 4 else "hard") for n in range(400)]
    humans = humans_of(
        400, people(3), {"judge": {"none": lambda n: truth(n) if n % 4 else 0.0}}, pairs=pairs
    )
    found = measured(humans)
    weak = weakest(found, judge_of(found, "judge"))
    assert weak is not None
    assert weak.words.startswith("in hard it agrees in ")


def test_of_a_good_judge_nothing_is_named():
    found = found_of(truth, 3)
    assert "Of its other figures none stands out." in words(found)


# ----------------------------------------------------------------------------------- the figures
def test_a_pair_that_was_never_shown_is_not_wrong():
    humans = humans_of(N, people(3), {"judge": {"original": truth, "swapped": truth}})
    half = dataclasses.replace(
        humans, recorded=tuple(v for v in humans.recorded if int(v.comparison_id[1:]) < 100)
    )
    one = judge_of(measured(half, unparsed="wrong"), "judge")
    assert (one.n_pairs, one.classes.n_items) == (100, 100)
    assert isinstance(one.orders.both, Estimate)
    assert one.orders.both.n == 100
    tie = judge_of(measured(half, unparsed="tie"), "judge")
    assert tie.classes.matrix[1] == (0, 0, 0)


def test_with_one_of_its_two_verdicts_missing_a_pair_is_not_judged():
    orders = {"original": truth, "swapped": lambda n: None if n < 5 else truth(n)}
    one = judge_of(measured(humans_of(N, people(3), {"judge": orders})), "judge")
    assert (one.n_pairs, one.n_missing, one.against.n_judged) == (N, 5, N - 5)
    assert isinstance(one.orders.original, Estimate)
    assert one.orders.original.n == N


def test_floors_have_their_place_and_the_best_is_named():
    found = found_of(truth)
    one = judge_of(found, "judge")
    assert {o.name for o in found.judges if o.is_floor} == {
        "heuristic/longest", "heuristic/shortest",
    }  # fmt: skip
    assert isinstance(one.over_floor, Estimate)
    assert 0.3 < one.over_floor.value < 0.5
    assert isinstance(judge_of(found, "heuristic/longest").over_floor, Undefined)


def test_floors_judge_pairs_with_the_same_answers_too():
    pairs = [pair(n, longer=1 + n % 2) for n in range(N)]
    pairs[0] = dataclasses.replace(pairs[0], output_1="same", output_2="same")
    found = measured(humans_of(N, people(3), {"judge": {"none": truth}}, pairs=pairs))
    for name in ("judge", "heuristic/longest", "heuristic/shortest"):
        assert judge_of(found, name).against.n_used == N


def test_bias_is_on_the_pairs_that_agreement_is_on():
    orders = {"original": truth, "swapped": lambda n: None if n % 30 == 0 else truth(n)}
    one = judge_of(measured(humans_of(N, people(3), {"judge": orders})), "judge")
    of = one.bias_variance["zero_one"]
    assert one.against.n_used < N
    assert of.bias.n == of.agreement.n == of.variance.n == one.against.n_used
    assert isinstance(of.agreement, Estimate)
    assert isinstance(one.against.judge, Estimate)
    assert of.agreement.value == pytest.approx(one.against.judge.value)


def test_a_crowd_has_figures_though_not_all_choices_can_be_gone_through():
    crowd = measured(humans_of(40, people(40), {"judge": {"none": truth}}), k=9)
    one = judge_of(crowd, "judge")
    assert isinstance(one.against.difference, Estimate)
    bias = one.bias_variance["zero_one"].agreement
    assert isinstance(bias, Undefined)
    assert "too many choices" in bias.reason
    assert isinstance(crowd.people.bias_variance["absolute"].variance, Undefined)


def test_with_more_others_than_there_are_labels_nothing_can_be_measured():
    found = measured(humans_of(N, people(2), {"judge": {"none": truth}}), k=5)
    assert verdict(found) == "withheld"
    assert "labels enough for k = 5" in " ".join(overview_words(found))


def test_prices_are_for_a_thousand_pairs_that_were_asked_about():
    humans = humans_of(40, people(3))
    verdicts = [
        Annotation(
            comparison_id=at.id, annotator="paid", order=order, preference=1.0, cost_usd=cost,
            n_calls=1,
        )
        for at in humans.comparisons[:20]
        for order, cost in (("original", 0.001), ("swapped", 0.002))
    ]  # fmt: skip
    unknown = [dataclasses.replace(v, annotator="unknown", cost_usd=None) for v in verdicts]
    judged = Judged(verdicts=(*verdicts, *unknown), seconds={"paid": 4.0})
    found = measure(humans, with_floors(humans, judged, Caller()), Settings())
    paid = judge_of(found, "paid")
    assert paid.usd_per_1000 == pytest.approx(3.0)
    assert paid.seconds_per_1000 == pytest.approx(200.0)
    assert judge_of(found, "unknown").usd_per_1000 is None
    assert judge_of(found, "heuristic/longest").usd_per_1000 == 0


def test_own_and_family_answers_are_found_by_the_judges_model():
    pairs = [
        dataclasses.replace(
            pair(n, longer=1 + n % 2), generator_2="gpt-4o-mini", generator_1="bloom-7b"
        )
        for n in range(N)
    ]
    humans = humans_of(N, people(3), {"gpt-4o-mini": {"none": lambda n: 1.0}}, pairs=pairs)
    prefers = judge_of(measured(humans), "gpt-4o-mini").prefers
    assert isinstance(prefers["its own"].judge, Estimate)
    assert prefers["its own"].judge.value == prefers["its family's"].judge.value == 1


def numbers(of: Estimate) -> tuple[float, ...]:
    return of.value, of.low, of.high, of.n


def test_swapping_the_outputs_changes_no_figure():
    humans = humans_of(
        N, people(3), {"judge": {"original": noisy("a", 0.2), "swapped": noisy("b", 0.2)}}
    )
    turned = Humans(
        humans.source,
        tuple(
            dataclasses.replace(
                at, output_1=at.output_2, output_2=at.output_1,
                generator_1=at.generator_2, generator_2=at.generator_1,
            )
            for at in humans.comparisons
        ),
        tuple(dataclasses.replace(v, preference=1 - v.preference) for v in humans.labels),
        tuple(
            dataclasses.replace(
                v, preference=1 - v.preference,
                order="swapped" if v.order == "original" else "original",
            )
            for v in humans.recorded
        ),
    )  # fmt: skip
    one, other = (judge_of(measured(of), "judge") for of in (humans, turned))
    for name in ("judge", "humans", "difference", "as_is"):
        assert numbers(getattr(one.against, name)) == pytest.approx(
            numbers(getattr(other.against, name))
        )
    assert numbers(one.kappa["none"]) == pytest.approx(numbers(other.kappa["none"]))
    assert numbers(one.prefers["length"].judge) == pytest.approx(
        numbers(other.prefers["length"].judge)
    )
    assert numbers(one.prefers["shown first"].judge) == pytest.approx(
        numbers(other.prefers["shown first"].judge)
    )
    assert numbers(one.bias_variance["squared"].bias) == pytest.approx(
        numbers(other.bias_variance["squared"].bias)
    )
    assert numbers(one.orders.original) == pytest.approx(numbers(other.orders.swapped))
