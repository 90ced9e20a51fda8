"""The verdict in plain words: can a judge stand in for people here, and what is weakest about it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from leaderboard.rows.summary import MIN_COVERAGE
from leaderboard.statistics.alternative_annotator import MIN_ANNOTATORS, MIN_ITEMS
from leaderboard.statistics.estimates import Estimate, Figure
from leaderboard.statistics.preference_calibration import Calibration
from leaderboard.validity.agree import Agreement
from leaderboard.validity.judge_figures import OfJudge

Verdict = Literal[
    "stands in", "stands in at a discount", "not shown", "falls short", "no better than a floor",
    "withheld",
]  # fmt: skip

MIN_PAIRS = MIN_ITEMS
"""Pairs with a verdict and enough labels, below which nothing is concluded."""
MIN_TO_NAME = 20
"""Pairs of a category or a liking, below which it is not named as the weakest figure."""
TOLERANCES = {
    "missing": 0.02,
    "flips": 0.1,
    "preference": 0.05,
    "ties": 0.05,
    "calibration": 0.1,
    "category": 0.1,
}
"""What is nothing to name: shares of pairs. The weakest figure is the one that exceeds its own by the
largest factor; a convention of ours, so that unlike figures can be held against each other."""
SHORT: dict[Verdict, str] = {
    "stands in": "can stand in",
    "stands in at a discount": "can stand in, at a discount",
    "not shown": "not shown",
    "falls short": "falls short",
    "no better than a floor": "no better than a floor",
    "withheld": "withheld",
}
PREFERS = {
    "length": "the longer answer",
    "lists": "the answer with a list",
    "markdown": "the answer with Markdown",
    "shown first": "the answer shown first",
    "its own": "the answer of its own model",
    "its family's": "the answer of its own family",
}

RULES = f"""The first of these that holds decides about a judge:

1. Withheld: fewer than {MIN_PAIRS} pairs have its verdict and enough labels, less than \
{100 * MIN_COVERAGE:.0f} % of its verdicts are read, or all labels are the same.
2. No better than a floor: with half credit for ties it is not surely more right than the best of \
those that do not read.
3. Withheld: there is one label a pair, so that people's agreement is not known.
4. Can stand in: it passes the alternative annotator test; at a discount, if it surely agrees less \
than a person does.
5. Withheld: the test does not conclude, and the judge does not surely agree less than a person by \
more than epsilon.
6. Falls short: it surely agrees less than a person does.
7. Not shown: it only fails the test."""
"""What `conclude` does, in words, for the report."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is concluded of a judge, or why nothing is."""

    verdict: Verdict
    reason: str = ""
    """Why it is withheld."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """A figure that is worse than it should be: in words, and how often beyond its tolerance."""

    words: str
    size: float


# --------------------------------------------------------------------------------------- verdict
def conclude(found: Agreement, one: OfJudge) -> Conclusion:
    """Whether a judge can stand in for people on these pairs.

    The steps are those of `RULES`, in that order: what is no better than a floor cannot stand in,
    whether or not people's agreement is known.
    """
    against = one.against
    if against.n_used < MIN_PAIRS:
        return Conclusion(
            "withheld",
            f"{_n(against.n_used, 'pair')} with a verdict and enough labels are too few; it takes "
            f"{MIN_PAIRS}",
        )
    if 1 - one.n_missing / one.n_verdicts < MIN_COVERAGE:
        share = one.n_missing / one.n_verdicts
        return Conclusion("withheld", f"{percent(share)} % of its verdicts are missing")
    if max(found.shares.values()) == 1:
        return Conclusion("withheld", "all labels are the same")
    if isinstance(one.over_floor, Estimate) and one.over_floor.low <= 0:
        return Conclusion("no better than a floor")
    if not isinstance(against.humans, Estimate):
        return Conclusion("withheld", "there is one label a pair")
    assert isinstance(against.difference, Estimate)
    test = one.replaces
    if test.passes:
        is_less = against.difference.high < 0
        return Conclusion("stands in at a discount" if is_less else "stands in")
    if test.passes is None and against.difference.high >= -test.epsilon:
        return Conclusion("withheld", test.reason)
    return Conclusion("falls short" if against.difference.high < 0 else "not shown")


def judge_words(found: Agreement, one: OfJudge) -> list[str]:
    """The verdict on a judge, and its weakest figure: a sentence or two each."""
    conclusion, test = conclude(found, one), one.replaces
    own, people = _often(one.against.judge), _often(one.against.humans)
    whom = held_against(found)
    agrees = f"it agrees with {whom} in {own}, a person in {people}"
    at_n = f"stands up to {sum(h.stands_up for h in test.humans)} of {len(test.humans)} people"
    said = {
        "stands in": f"can stand in for people on these pairs: {agrees}, and it {at_n}",
        "stands in at a discount": f"can stand in for people where its price counts: {agrees}; that "
        f"is less, but it {at_n} with the {test.epsilon:g} that it is forgiven",
        "not shown": f"is not shown to be able to stand in for people: {agrees}, but it {at_n}",
        "falls short": f"cannot stand in for people: {agrees}"
        + (f", and it {at_n}" if test.passes is not None else ""),
        "no better than a floor": f"cannot stand in for people: it agrees with {whom} in {own}",
        "withheld": f"nothing is concluded, as {conclusion.reason}; it agrees with {whom} in {own}",
    }[conclusion.verdict]
    colon = ":" if conclusion.verdict == "withheld" else ""
    return [f"{one.name}{colon} {said}.", weakest_words(found, one)]


def weakest_words(found: Agreement, one: OfJudge) -> str:
    """The sentence that names the weakest figure."""
    weak = weakest(found, one)
    if weak is None:
        return "Of its other figures none stands out."
    return f"Its weakest figure: {weak.words}."


def floor_words(one: OfJudge) -> str:
    """The best floor and what it reaches on the pairs that the judge has judged."""
    assert isinstance(one.half_credit, Estimate)
    assert isinstance(one.over_floor, Estimate)
    return f"{floor_name(one.floor)} ({percent(one.half_credit.value - one.over_floor.value)} %)"


def floor_name(name: str) -> str:
    """A floor as it stands in a sentence."""
    rule = name.removeprefix("heuristic/")
    return f"the {rule} answer" if rule != name else name.replace("always", "always saying")


def held_against(found: Agreement) -> str:
    """Whom one annotator is held against, in words."""
    if found.k > 1:
        return f"the majority of {found.k} people"
    return "the label" if set(found.labels_per_pair) == {1} else "one other person"


# --------------------------------------------------------------------------------------- weakest
def weakest(found: Agreement, one: OfJudge) -> Weakness | None:
    """The figure that exceeds its tolerance most, by figures that are surely off; None where all
    are within theirs."""
    if isinstance(one.over_floor, Estimate) and one.over_floor.low <= 0:
        assert isinstance(one.half_credit, Estimate)
        own = f"{percent(one.half_credit.value)} %"
        words = (
            f"with half credit for ties it agrees in {own}, not surely more than {floor_words(one)}"
        )
        return Weakness(words, float("inf"))
    over = [weak for weak in _weaknesses(found, one) if weak.size > 1]
    return max(over, key=lambda weak: weak.size, default=None)


def _weaknesses(found: Agreement, one: OfJudge) -> Iterator[Weakness]:
    if one.n_verdicts:
        share = one.n_missing / one.n_verdicts
        words = f"{percent(share)} % of its verdicts are missing"
        yield Weakness(words, share / TOLERANCES["missing"])
    same = one.orders.same
    if isinstance(same, Estimate):
        words = f"its verdict changes with the order of the answers in {percent(1 - same.value)} %"
        yield Weakness(words, (1 - same.value) / TOLERANCES["flips"])
    for what, share_of in one.prefers.items():
        gap, own, people = share_of.difference, share_of.judge, share_of.humans
        if all(isinstance(figure, Estimate) for figure in (gap, own, people)):
            assert isinstance(gap, Estimate)
            assert isinstance(own, Estimate)
            assert isinstance(people, Estimate)
            if gap.n >= MIN_TO_NAME and not gap.low <= 0 <= gap.high:
                words = (
                    f"it prefers {PREFERS[what]} in {percent(own.value)} % where "
                    f"{_people(found)} do in {percent(people.value)} % ({_n(gap.n, 'pair')})"
                )
                yield Weakness(words, abs(gap.value) / TOLERANCES["preference"])
    yield from _on_ties(found, one)
    if isinstance(one.calibration, Calibration) and isinstance(one.calibration.ece, Estimate):
        ece = one.calibration.ece.value
        words = f"its probabilities are off by {100 * ece:.1f} points on average"
        yield Weakness(words, ece / TOLERANCES["calibration"])
    yield from _on_categories(found, one)


def _on_ties(found: Agreement, one: OfJudge) -> Iterator[Weakness]:
    counts = [list(row) for row in one.classes.matrix[:3]]
    n = sum(map(sum, counts))
    if not n:
        return
    own, people = sum(counts[1]) / n, sum(row[1] for row in counts) / n
    # A judge that flips with the order has said a tie; the flips are named then.
    if own > people and isinstance(one.orders.same, Estimate):
        return
    words = f"it says tie in {percent(own)} % where {_people(found)} do in {percent(people)} %"
    yield Weakness(words, abs(own - people) / TOLERANCES["ties"])


def _on_categories(found: Agreement, one: OfJudge) -> Iterator[Weakness]:
    whole, people = one.against.judge, found.people.agreement
    for category, of in one.categories.items():
        own, theirs = of.judge, of.humans
        if not isinstance(own, Estimate) or not isinstance(whole, Estimate):
            continue
        if own.n < MIN_TO_NAME or own.high >= whole.value:
            continue
        words = f"in {category} it agrees in {percent(own.value)} % only"
        harder = 0.0  # for people
        if isinstance(people, Estimate) and isinstance(theirs, Estimate):
            words += f", a person in {percent(theirs.value)} %"
            harder = max(0.0, people.value - theirs.value)
        gap = whole.value - own.value - harder
        yield Weakness(f"{words} ({_n(own.n, 'pair')})", gap / TOLERANCES["category"])


# ----------------------------------------------------------------------------------- of all judges
def by_agreement(judges: Sequence[OfJudge]) -> list[OfJudge]:
    """Those that agree most first."""
    return sorted(
        judges, key=lambda one: -getattr(one.against.judge, "value", -1.0)
    )  # judges without a figure last


def overview_words(found: Agreement) -> list[str]:
    """What is known of the people and of the data, and how many judges can stand in."""
    judges = [one for one in found.judges if not one.is_floor]
    told = [_people_words(found)]
    if len(judges) > 1:
        counts = Counter(conclude(found, one).verdict for one in judges)
        kinds = "; ".join(f"{SHORT[verdict]}: {n}" for verdict, n in counts.most_common())
        told.append(f"Of {len(judges)} judges: {kinds}.")
    if not judges:
        told.append("No judge has verdicts here: name one with --panel.")
    return [*told, *limits(found)]


def _people_words(found: Agreement) -> str:
    numbers = sorted(found.labels_per_pair)
    labels = " or ".join(map(str, numbers))
    if len(numbers) > 3:
        labels = f"{numbers[0]} to {numbers[-1]}"
    many = max(found.labels_per_pair, default=0) > 1
    who = f"{_n(len(found.humans), 'annotator')}, {labels} {'labels' if many else 'label'} a pair"
    begin = f"{_n(found.n_pairs, 'pair')}, {who}"
    if not isinstance(found.people.agreement, Estimate):
        return f"{begin}."
    return (
        f"{begin}. A person agrees with {held_against(found)} in {_often(found.people.agreement)}."
    )


def limits(found: Agreement) -> list[str]:
    """What these data do not let anybody conclude, a sentence each."""
    told = []
    said = {name: share for name, share in found.shares.items() if share}
    if len(said) == 1:
        which = {"tie": "a tie", "output_1": "for output 1", "output_2": "for output 2"}
        told.append(
            f"All labels are {which[next(iter(said))]}: judges cannot be told apart by them."
        )
    if not isinstance(found.floors.random, Estimate):
        told.append(f"No pair has labels enough for k = {found.k}: nothing can be measured.")
    if max(found.labels_per_pair, default=0) == 1:
        told.append(
            "There is one label a pair: whether a judge is as good as a person cannot be told, "
            "as people's agreement with each other is not known."
        )
    elif len(found.humans) < MIN_ANNOTATORS:
        told.append(
            f"{len(found.humans)} annotators are too few for the alternative annotator test; it "
            f"takes {MIN_ANNOTATORS}."
        )
    if found.n_pairs < MIN_PAIRS:
        told.append(f"{_n(found.n_pairs, 'pair')} are too few for a verdict; it takes {MIN_PAIRS}.")
    return [*told, _sampled_words(found)]


def _sampled_words(found: Agreement) -> str:
    if found.sampled == "random":
        return "The pairs were drawn at random, so that the figures hold for what they are from."
    how = "is not said" if found.sampled is None else f"is {found.sampled!r}"
    return (
        f"How the pairs were drawn {how}: the figures are about pairs like these, and no statement "
        "about others."
    )


# --------------------------------------------------------------------------------------------------
def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f}"


def _people(found: Agreement) -> str:
    """What to call those who labelled: of gold labels there is no saying that they are people."""
    return "people" if max(found.labels_per_pair, default=0) > 1 else "the labels"


def _often(figure: Figure) -> str:
    if not isinstance(figure, Estimate):
        return "an unknown share"
    return f"{percent(figure.value)} % [{percent(figure.low)}, {percent(figure.high)}]"


def _n(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"
