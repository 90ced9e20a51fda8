"""Rows of a board on the same instructions: is one better, by how much, is it sure?

What is compared are preferences, that is win rates, whatever column the board ranks by.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from judges.errors import UserError
from leaderboard.boards.board import Board, load_board
from leaderboard.rows.standings import Standings, standings
from leaderboard.statistics.ranking import Pairs
from leaderboard.statistics.uncertainty import (
    ROUNDING,
    Floats,
    difference_interval,
    holm,
    sign_flip_p,
)

SIGNIFICANT = 0.05
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The paired difference of two models' win rates: a - b, in fractions.

    `p_value` is that of the sign-flip test on this difference alone, and `p_holm` the same adjusted
    for the `n_comparisons` that were made together. `is_separable` is about the board, not about
    this family: whether the win rates differ at 5 % among all pairs of its rows, over all
    instructions (`Standings.pairs`, on which ranks by win rate rest). So a small p among few
    comparisons can go with False.

    Where the board ranks by a length-controlled figure, `headline_difference` is that of this
    figure, over all instructions, and `headline_is_separable` whether the ranks tell the two apart
    (`Standings.ranking_pairs`). Both are None on other boards, and within a category.
    """

    a: str
    b: str
    category: str | None = None
    difference: float
    standard_error: float
    low: float
    high: float
    level: float
    p_value: float
    p_holm: float
    n_comparisons: int
    n: int
    n_wins: int
    n_ties: int
    n_losses: int
    is_separable: bool
    headline_difference: float | None = None
    headline_is_separable: bool | None = None

    @property
    def disagrees(self) -> bool:
        """Whether interval and test are of two minds about zero, as can be close to 5 %, or where
        few instructions differ: the interval allows for what was not seen, the test does not."""
        return are_of_two_minds(self.low, self.high, self.p_value)


def are_of_two_minds(low: float, high: float, p_value: float) -> bool:
    """Whether the interval of a difference and the test differ on whether it is zero, at 5 %."""
    return (low > 0 or high < 0) != (p_value <= SIGNIFICANT)


def compare(
    a: str, b: str, *, board: str | Board = "starter", results: str = "results"
) -> Comparison:
    """Compare two rows of a board from their stored verdicts; nothing is judged.

    Raises UserError for a name that is not ranked on the board, or two rows without a common
    judged instruction.
    """
    loaded = load_board(board, Path(results)) if isinstance(board, str) else board
    refuse_references(loaded, (a, b))
    return compare_in(standings(loaded), a, b)


def compare_in(table: Standings, a: str, b: str) -> Comparison:
    """`compare` on standings that are there already."""
    check_names(table, (a, b))
    (pair,) = compare_pairs(table, [(a, b)])
    return pair


def compare_pairs(
    table: Standings, pairs: Sequence[Pair], categories: Sequence[str] | None = None
) -> list[Comparison]:
    """The comparisons of these pairs as one family: `p_holm` is adjusted for all of them.

    With `categories`, one an instruction, every pair is compared within each; a category in which
    a pair has no judged instruction in common is left out. Raises UserError for a pair that has
    none on the whole board.
    """
    groups: list[tuple[str | None, np.ndarray]] = [
        (None, np.ones(table.preferences.shape[1], bool))
    ]
    if categories is not None:
        of = np.asarray(categories)
        groups = [(str(name), of == name) for name in np.unique(of)]
    made = []
    for category, held in groups:
        for a, b in pairs:
            i, j = table.index(a), table.index(b)
            difference = table.preferences[i, held] - table.preferences[j, held]
            difference = difference[~np.isnan(difference)]
            if len(difference):
                separable = is_told_apart(table.pairs, i, j)
                one = _comparison(a, b, category, difference, separable)
                if category is None and table.ranking_pairs is not table.pairs:
                    one = replace(
                        one,
                        headline_difference=float(table.ranking_pairs.difference[i, j]),
                        headline_is_separable=is_told_apart(table.ranking_pairs, i, j),
                    )
                made.append(one)
            elif category is None:
                raise UserError(f"{a} and {b} have no judged instruction in common")
    adjusted = holm([one.p_value for one in made])
    return [
        replace(one, p_holm=float(p), n_comparisons=len(made))
        for one, p in zip(made, adjusted, strict=True)
    ]


def is_told_apart(pairs: Pairs, i: int, j: int) -> bool:
    """Whether two models differ at 5 % among all pairs."""
    return bool(pairs.holm[i, j] <= SIGNIFICANT + ROUNDING)


def _comparison(
    a: str, b: str, category: str | None, difference: Floats, is_separable: bool
) -> Comparison:
    """One comparison that is a family of its own."""
    difference = without_rounding(difference)
    interval = difference_interval(difference)
    p_value = flip_p(difference)
    return Comparison(
        a=a,
        b=b,
        category=category,
        difference=interval.value,
        standard_error=interval.standard_error,
        low=interval.low,
        high=interval.high,
        level=interval.level,
        p_value=p_value,
        p_holm=p_value,
        n_comparisons=1,
        n=interval.n,
        n_wins=int((difference > 0).sum()),
        n_ties=int((difference == 0).sum()),
        n_losses=int((difference < 0).sum()),
        is_separable=is_separable,
    )


def without_rounding(difference: Floats) -> Floats:
    """Means of the same votes can differ in the last bit, which is no difference."""
    return np.where(np.abs(difference) <= ROUNDING, 0.0, difference)


def flip_p(difference: Floats) -> float:
    """The p-value of the sign-flip test, above 0.

    No finite sample makes a p of 0; that of thousands of like signs is just too small to store.
    """
    return max(sign_flip_p(difference), sys.float_info.min)


def pairs_of(table: Standings, names: Sequence[str], baseline: str | None = None) -> list[Pair]:
    """The pairs to compare, in the order of the table: each row with the baseline, or each with
    every row below it. Two names stay as they are given; none stand for all ranked rows.

    Raises UserError for a name that is not ranked, is doubled, or has nothing to be compared with.
    """
    check_names(table, names)
    if baseline is not None:
        check_names(table, [baseline])
    ordered = [m for m in table.frame["model"] if m in (names or table.models)]
    pairs = pairs_among(names if len(names) == 2 else ordered, baseline)
    if len(table.models) < 2:
        alone = f"{_ranked(table)} alone" if table.models else "no row"
        raise UserError(
            f"there is nothing to compare yet: the board ranks {alone}; `leaderboard eval` adds "
            "rows"
        )
    if len(names) == 1 and baseline is None:
        raise UserError(f"name a second row to compare {names[0]} with; or none, for all pairs")
    if not pairs:
        held = names[0] if names else baseline or (ordered[0] if ordered else "no row")
        raise UserError(
            f"{held} is compared with nothing else; the ranked rows are: {_ranked(table)}"
        )
    return pairs


def pairs_among(names: Sequence[str], baseline: str | None = None) -> list[Pair]:
    """Each with the baseline, or each with every one behind it."""
    if baseline is not None:
        return [(name, baseline) for name in names if name != baseline]
    return list(combinations(names, 2))


def refuse_references(board: Board, names: Sequence[str]) -> None:
    """Raises UserError for a reference of several, which are no rows of the table."""
    references = board.settings.references
    if len(references) > 1 and (named := [name for name in names if name in references]):
        raise UserError(
            f"{named[0]!r} is one of the references that all rows are judged against together, "
            "not a row; with --direct rows are compared with it alone"
        )


def check_names(table: Standings, names: Sequence[str]) -> None:
    """Raises UserError for a name that is doubled or is not that of a ranked row."""
    for n, name in enumerate(names):
        if name in names[:n]:
            raise UserError(f"{name} is compared with itself")
        if name in table.models:
            continue
        if name in table.left_out:
            raise UserError(
                f"the row {name!r} is not in the table ({table.left_out[name]}); the ranked rows "
                f"are: {_ranked(table)}"
            )
        if name in set(table.frame["model"]):
            raise UserError(
                f"the row {name!r} is not ranked: too many verdicts are missing, or the figure that "
                f"the board ranks by is; the ranked rows are: {_ranked(table)}"
            )
        raise UserError(f"no row {name!r}; the board has: {_ranked(table)}")


def _ranked(table: Standings) -> str:
    return ", ".join(sorted(table.models)) or "none"
