"""The tables of how far judges, people and floors agree; each says what it estimates."""

from __future__ import annotations

from leaderboard.statistics.estimates import Estimate, Figure
from leaderboard.validity.agree import Agreement
from leaderboard.validity.agreement_table import (
    MANY_JUDGES,
    MANY_PEOPLE,
    UNPARSED,
    Table,
    different_pairs,
    judges_of,
    name_of,
)
from leaderboard.validity.agreement_words import (
    SHORT,
    by_agreement,
    conclude,
    floor_name,
    held_against,
    percent,
    weakest,
)


def verdicts(found: Agreement, most: int | None = None) -> Table:
    """Verdict and weakest figure of every judge, or of the best."""
    table = Table(
        "Can they stand in for people?",
        "The rules are at the end of the report."
        + (f"\n{told}" if (told := different_pairs(found)) else ""),
        ["judge", "verdict", "agreement, %", "weakest figure"],
    )
    for one in judges_of(found)[:most]:
        conclusion, weak = conclude(found, one), weakest(found, one)
        why = f": {conclusion.reason}" if conclusion.reason else ""
        table.body.append(
            [one.name, SHORT[conclusion.verdict] + why, table.rate(one.against.judge),
             "none stands out" if weak is None else weak.words]
        )  # fmt: skip
    return table


def side_by_side(found: Agreement, most: int) -> Table:
    """Agreement of the best in short, for a terminal; of floors always."""
    table = Table(
        "Agreement",
        f"One annotator against {held_against(found)} (k = {found.k}), people on the same pairs; "
        "95 % intervals.\n° does not read; judged: on how many of the labelled pairs it has a verdict."
        + (f"\n{told}" if (told := different_pairs(found)) else ""),
        ["judge", "agreement, %", "people, %", "difference", "kappa", "judged"],
    )
    shown = {one.name for one in judges_of(found)[:most]}
    for one in by_agreement([o for o in found.judges if o.is_floor or o.name in shown]):
        table.body.append(
            [name_of(one), table.rate(one.against.judge), table.rate(one.against.humans),
             table.points(one.against.difference), table.number(one.kappa["none"]),
             f"{one.against.n_judged}/{one.against.n_items}"]
        )  # fmt: skip
    for name, figure in _constants(found):
        table.body.append([name, table.rate(figure), "", "", "", ""])
    return table


def _constants(found: Agreement) -> list[tuple[str, Figure]]:
    said = zip(("output 1", "a tie", "output 2"), found.floors.constant.values(), strict=True)
    return [*((f"always {what} °", of) for what, of in said), ("a coin °", found.floors.random)]


def agreement(found: Agreement) -> Table:
    """Judges, people and floors side by side at the same k."""
    table = Table(
        "Agreement",
        f"How often one annotator says what {held_against(found)} {_says(found)} (k = {found.k}; "
        "tied modes share the credit). Judge and people are compared on the same pairs. A judge's "
        "verdict is the mean over the orders that it was shown, so that one that flips has said "
        "tie; half credit gives half a point where one of the two sides is a tie; as it is, a "
        "preference is 1 less its distance from the mode; judged: on how many of the labelled pairs it "
        "has a verdict." + (f" {told}" if (told := different_pairs(found)) else ""),
        ["judge", "agreement, %", "people, %", "difference", "half credit, %", "as it is, %",
         "more than the best floor", "judged", "n"],
    )  # fmt: skip
    if isinstance(found.people.agreement, Estimate):
        n = found.people.agreement.n
        own = table.rate(found.people.agreement)
        table.body.append(["people", own, own, "", "", "", "", "", str(n)])
    for one in by_agreement(found.judges):
        over = "" if one.is_floor else f"{table.points(one.over_floor)} ({floor_name(one.floor)})"
        table.body.append(
            [name_of(one), table.rate(one.against.judge), table.rate(one.against.humans),
             table.points(one.against.difference), table.rate(one.half_credit),
             table.rate(one.against.as_is), over,
             f"{one.against.n_judged}/{one.against.n_items}", str(one.against.n_used)]
        )  # fmt: skip
    for name, figure in _constants(found):
        blank = [""] * 6
        table.body.append([name, table.rate(figure), *blank, str(figure.n)])
    return table


def _says(found: Agreement) -> str:
    return "says" if found.k > 1 or max(found.labels_per_pair, default=0) > 1 else "is"


def among_people(found: Agreement) -> Table:
    """Each person, every two, and all."""
    table = Table(
        "People among themselves",
        "Each person against the mode of k others; Cohen's kappa of two, and of one against the "
        "mode of k others; Krippendorff's alpha of all. 1 is full agreement, 0 what chance gives.",
        ["", "agreement, %", "kappa", "alpha", "n"],
    )
    people = found.people
    if len(found.humans) <= MANY_PEOPLE:
        for name, own in zip(found.humans, people.each, strict=True):
            table.body.append([name, table.rate(own), "", "", str(own.n)])
    elif known := [own for own in people.each if isinstance(own, Estimate)]:
        values, sizes = [own.value for own in known], [own.n for own in known]
        ends = f"{percent(min(values))} to {percent(max(values))}"
        n = f"{min(sizes)} to {max(sizes)}"
        table.body.append([f"{len(known)} people, lowest to highest", ends, "", "", n])
    for name, kappa in people.pairwise_kappa.items():
        table.body.append([name, "", table.number(kappa), "", str(kappa.n)])
    table.body.append(["one and the mode", "", table.number(people.kappa), "", str(people.kappa.n)])
    for metric, alpha in people.alpha.items():
        table.body.append([f"all, {metric}", "", "", table.number(alpha), str(alpha.n)])
    return table


def with_each(found: Agreement) -> Table:
    """Judges against single people, where these are few."""
    few = len(found.humans) <= MANY_JUDGES
    names = found.humans if few and len(found.humans) > 1 else ()
    table = Table(
        "With each person",
        "How often a judge says what a person says, on the pairs that both labelled; n "
        "are the pairs that it has judged.",
        ["judge", *(f"{name}, %" for name in names), "n"],
    )
    for one in by_agreement(found.judges):
        cells = [table.rate(figure) for figure in one.each[: len(names)]]
        table.body.append([name_of(one), *cells, str(one.against.n_judged) if names else ""])
    return table


def kappas(found: Agreement) -> Table:
    """Plain and weighted."""
    table = Table(
        "Kappa",
        f"Cohen's kappa with the mode of k = {found.k}: agreement beyond chance. Weighted, a tie is "
        "half a step from either side.",
        ["judge", "plain", "linear", "quadratic", "n"],
    )
    for one in by_agreement(found.judges):
        cells = [table.number(figure) for figure in one.kappa.values()]
        table.body.append([name_of(one), *cells, str(one.kappa["none"].n)])
    return table


def classes(found: Agreement) -> Table:
    """Accuracy, precision, recall and F1."""
    table = Table(
        "As a classifier",
        "Against the mode of all labels of a pair, which is an easier task than one person has; "
        "precision, recall and F1 are plain means over output 1, tie and output 2; "
        f"{UNPARSED[found.settings.unparsed]}.",
        ["judge", "accuracy, %", "precision, %", "recall, %", "F1, %", "n"],
    )
    for one in by_agreement(found.judges):
        of = one.classes
        cells = [table.rate(f) for f in (of.accuracy, of.precision, of.recall, of.f1)]
        table.body.append([name_of(one), *cells, str(of.accuracy.n)])
    return table


def confusion(found: Agreement) -> Table:
    """One line a judge."""
    table = Table(
        "Confusion matrix",
        "Pairs by what the judge says, and within a cell by the mode of all labels: output 1 / tie "
        "/ output 2. Tied modes share a pair.",
        ["judge", "says output 1", "says tie", "says output 2", "missing"],
    )
    for one in by_agreement(found.judges):
        rows = [" / ".join(f"{count:.4g}" for count in row) for row in one.classes.matrix]
        table.body.append([name_of(one), *rows])
    return table


def orders(found: Agreement) -> Table:
    """Of judges with verdicts in both orders."""
    table = Table(
        "Order by order",
        "How often the verdict is the mode of all labels, in the order of the file, in the other "
        "one, on average, and in both at once; and how often it is the same in both; "
        f"{UNPARSED[found.settings.unparsed]}.",
        ["judge", "as given, %", "swapped, %", "average, %", "both, %", "same, %", "n"],
    )
    for one in by_agreement(found.judges):
        of = one.orders
        figures = (of.original, of.swapped, of.average, of.both, of.same)
        if isinstance(of.same, Estimate):
            table.body.append([name_of(one), *map(table.rate, figures), str(of.same.n)])
    return table
