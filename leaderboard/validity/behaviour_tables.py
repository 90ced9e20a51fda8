"""The tables of what judges do beside agreeing: bias, likings, calibration, categories, price."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from leaderboard.statistics.bias_variance import BiasVariance
from leaderboard.statistics.estimates import Estimate
from leaderboard.statistics.preference_calibration import Calibration
from leaderboard.validity.agree import Agreement
from leaderboard.validity.agreement_table import (
    MANY_JUDGES,
    UNPARSED,
    Table,
    compared,
    compared_words,
    judges_of,
    name_of,
)
from leaderboard.validity.agreement_words import PREFERS, by_agreement, percent
from leaderboard.validity.judge_figures import RULES, OfJudge


def bias_variance(found: Agreement) -> Table:
    """By the three rules, at the same k for judges and people."""
    return _biases(
        found,
        "Bias and variance",
        f"Bias: how far the centre of a judge's verdicts lies from that of k = {found.k} people; "
        "variance: how far one verdict lies from the centre of its others. zero_one counts what "
        "differs from the mode, absolute takes the distance, squared the squared distance from the "
        "mean. In percent; n are pairs.",
        found.people.bias_variance,
        lambda one: one.bias_variance,
    )


def as_alpaca_eval(found: Agreement) -> Table:
    """The same with its quirks."""
    return _biases(
        found,
        "Bias and variance, as AlpacaEval counts",
        "To stand beside its published figures, and nothing else: a judge is held against all labels "
        "of a pair, a person against the others, so that the judge's task is the easier one; of two "
        "modes the greater counts always.",
        found.people.alpaca_eval,
        lambda one: one.alpaca_eval,
    )


def _biases(
    found: Agreement,
    title: str,
    about: str,
    people: Mapping[str, BiasVariance],
    of: Callable[[OfJudge], Mapping[str, BiasVariance]],
) -> Table:
    heads = [f"{rule} {what}" for rule in RULES for what in ("bias", "variance")]
    table = Table(title, about, ["judge", *heads, "n"])
    rows = [("people", people), *((name_of(one), of(one)) for one in by_agreement(found.judges))]
    for name, by_rule in rows:
        figures = [f for rule in RULES for f in (by_rule[rule].bias, by_rule[rule].variance)]
        known = [figure for figure in figures if isinstance(figure, Estimate)]
        if known:
            table.body.append([name, *map(table.rate, figures), str(known[0].n)])
    return table


_MORE = {
    "length": " (more than 30 characters)",
    "lists": " (any, where the other has none)",
    "markdown": " (any, where the other has none)",
}
"""What is more, where it has to be said."""


def preferences(found: Agreement) -> list[Table]:
    """Length, lists, Markdown, place, own and family, each with the human rate."""
    made = []
    for what, words in PREFERS.items():
        table = Table(
            f"Preference for {words}",
            "How often it is preferred, a tie counting half, on the pairs of which one answer has "
            f"more of it{_MORE.get(what, '')}, by the judge and by people on the same pairs.",
            ["judge", "judge, %", "people, %", "difference", "n"],
        )
        for one in by_agreement(found.judges):
            of = one.prefers.get(what)
            if of is not None and isinstance(of.judge, Estimate):
                cells = [table.rate(of.judge), table.rate(of.humans), table.points(of.difference)]
                table.body.append([name_of(one), *cells, str(of.n_both)])
        made.append(table)
    return made


def repeats(found: Agreement) -> Table:
    """Of judges with several verdicts on a pair."""
    table = Table(
        "Repeatability",
        "How often two verdicts on a pair are the same, in whatever order it was shown, and how "
        "often all are.",
        ["judge", "two, %", "all, %", "n"],
    )
    for one in by_agreement(found.judges):
        of = one.repeats
        if isinstance(of.same, Estimate):
            cells = [table.rate(of.same), table.rate(of.unanimous)]
            table.body.append([name_of(one), *cells, str(of.n)])
    return table


def calibrations(found: Agreement) -> list[Table]:
    """What sums it up, and the reliability table of the best few."""
    known = [(o, o.calibration) for o in judges_of(found) if isinstance(o.calibration, Calibration)]
    whole = Table(
        "Calibration",
        "Do preferences mean what they say? The label of a pair is the share of its people who "
        "prefer output 2. Brier's score is the mean squared distance, ECE the mean distance by "
        "bins; both are better the smaller they are.",
        ["judge", "Brier", "ECE", "reliability", "resolution", "uncertainty", "n"],
    )
    made = [whole]
    for one, of in known:
        parts = [f"{value:.3f}" for value in (of.reliability, of.resolution, of.uncertainty)]
        cells = [whole.number(of.brier), whole.number(of.ece), *parts, str(of.n)]
        whole.body.append([one.name, *cells])
    for one, of in known[:MANY_JUDGES]:
        table = Table(
            f"Calibration of {one.name}",
            "Pairs by its preference for output 2, and how often people share it.",
            ["preference", "mean preference, %", "people, %", "n"],
        )
        for bin in of.bins:
            which = f"{bin.begin:.1f} to {bin.end:.1f}"
            table.body.append([which, percent(bin.preference), table.rate(bin.label), str(bin.n)])
        made.append(table)
    return made


def categories(found: Agreement) -> list[Table]:
    """Agreement, and where both orders are there the figures order by order."""
    judges = compared(found)
    names = list(dict.fromkeys(name for one in found.judges for name in one.categories))
    best = f"{which}; " if (which := compared_words(found)) else ""
    whole = Table(
        "By category",
        f"Agreement as above, in percent; {best}people on the pairs of the first of them.",
        ["category", "pairs", "people", *(one.name for one in judges)],
    )
    both = Table(
        "By category, order by order",
        f"Right in both orders, and the same in both, in percent; {best}"
        f"{UNPARSED[found.settings.unparsed]}.",
        ["category", "pairs", *(f"{one.name}: {w}" for one in judges for w in ("both", "same"))],
    )
    for name in names if judges else ():
        of = [one.categories.get(name) for one in judges]
        first = next((one for one in of if one is not None), None)
        if first is None:
            continue
        people = [] if first is None else [str(first.n), whole.rate(first.humans)]
        cells = ["" if one is None else whole.rate(one.judge) for one in of]
        whole.body.append([name, *people, *cells])
        pairs = [("", "") if o is None else (both.rate(o.orders.both), both.rate(o.orders.same))
                 for o in of]  # fmt: skip
        both.body.append([name, str(first.n), *(cell for two in pairs for cell in two)])
    made = [whole]
    if any(isinstance(one.orders.same, Estimate) for one in judges):
        made.append(both)
    return made


def prices(found: Agreement) -> Table:
    """Price and time of judges that were asked now."""
    table = Table(
        "Price and time",
        "For 1,000 pairs, in every order that they were shown in; the calls one after the other. "
        "What was stored already counts as it was paid for then.",
        ["judge", "USD per 1,000", "seconds per 1,000", "n"],
    )
    for one in judges_of(found):
        usd, seconds = one.usd_per_1000, one.seconds_per_1000
        if usd is not None or seconds is not None:
            cost = "not known" if usd is None else f"{usd:.2f}"
            time = "" if seconds is None else f"{seconds:.0f}"
            table.body.append([one.name, cost, time, str(one.n_pairs)])
    return table


def replacing(found: Agreement) -> Table:
    """May the judge replace one of the people?"""
    epsilon = found.settings.epsilon
    table = Table(
        "The alternative annotator test",
        "Each person in turn is left out: does the judge match the others at least as often as that "
        f"person, less epsilon = {epsilon:g}? It may replace one where it stands up to half of them "
        "or more. Advantage: how often it does at least as well, in percent.",
        ["judge", "may replace a person", "stands up to", "advantage", "n"],
    )
    for one in by_agreement(found.judges):
        of = one.replaces
        if of.passes is None:
            table.reasons[of.reason] = None
            said, up = "not concluded", ""
        else:
            up = f"{sum(human.stands_up for human in of.humans)} of {len(of.humans)}"
            said = "yes" if of.passes else "no"
        if isinstance(of.advantage, Estimate):
            row = [name_of(one), said, up, table.rate(of.advantage), str(of.advantage.n)]
            table.body.append(row)
    return table
