"""One table of an agreement report: headings, cells as text, and why cells are empty.

Judges stand in the order of their agreement, best first, floors marked with °. Cells hold percent
with the ends of the interval, kappa and alpha as fractions; a figure that these data do not have is
–, and the reason stands below the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from leaderboard.statistics.estimates import Figure, Undefined
from leaderboard.validity.agree import Agreement
from leaderboard.validity.agreement_words import by_agreement, floor_name
from leaderboard.validity.judge_figures import OfJudge

MANY_JUDGES = 6
"""Judges beside each other in a table or a figure; where there are more, see `compared`."""
MANY_PEOPLE = 20
"""People with a row of their own; of more, the range."""
UNPARSED = {
    "missing": "missing verdicts are left out",
    "tie": "missing verdicts count as ties",
    "wrong": "missing verdicts count as wrong order by order, and are left out of the matrix",
}


@dataclass(slots=True)
class Table:
    """Headings and cells as text; `about` is what the figures are estimates of."""

    title: str
    about: str
    heads: Sequence[str]
    body: list[list[str]] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)
    """Why cells are empty, each once."""

    def rate(self, figure: Figure) -> str:
        """A share in percent."""
        return self._cell(figure, lambda value: f"{100 * value:.1f}")

    def points(self, figure: Figure) -> str:
        """A difference of shares, in points."""
        return self._cell(figure, lambda value: f"{100 * value:+.1f}")

    def number(self, figure: Figure) -> str:
        """A coefficient."""
        return self._cell(figure, lambda value: f"{value:.3f}")

    def _cell(self, figure: Figure, write: Callable[[float], str]) -> str:
        if isinstance(figure, Undefined):
            self.reasons[figure.reason] = None
            return "–"
        return f"{write(figure.value)} [{write(figure.low)}, {write(figure.high)}]"

    @property
    def has_figures(self) -> bool:
        """Whether it has more than names in it."""
        return any(set(row[1:]) - {"–", "", "0"} for row in self.body)

    @property
    def columns(self) -> tuple[list[str], list[list[str]]]:
        """Headings and cells without the columns that are empty."""
        cells = list(zip(*self.body, strict=True))
        kept = [n for n, of in enumerate(cells) if n == 0 or set(of) - {"–", ""}]
        return [self.heads[n] for n in kept], [[row[n] for n in kept] for row in self.body]


def judges_of(found: Agreement) -> list[OfJudge]:
    """Judges and the panel, without floors; those that agree most first."""
    return by_agreement([one for one in found.judges if not one.is_floor])


def compared(found: Agreement) -> list[OfJudge]:
    """The few judges that stand beside each other: the best, or where they rest on different pairs
    those with most pairs, so that there is something to compare."""
    judges = judges_of(found)
    if not found.on_same_pairs:
        judges.sort(key=lambda one: -one.against.n_judged)
    return judges[:MANY_JUDGES]


def compared_words(found: Agreement) -> str:
    """Which of the judges these are; nothing where they are all."""
    n = len(judges_of(found))
    which = "best" if found.on_same_pairs else "with most pairs"
    return f"of {n} judges the {MANY_JUDGES} {which}" if n > MANY_JUDGES else ""


def different_pairs(found: Agreement) -> str:
    """What to keep in mind where judges rest on different pairs; nothing where they do not."""
    if found.on_same_pairs:
        return ""
    return (
        "The judges rest on different pairs (judged: on how many): their figures do not compare one "
        "with another."
    )


def name_of(one: OfJudge) -> str:
    """A judge as it stands in a table."""
    return f"{floor_name(one.name)} °" if one.is_floor else one.name
