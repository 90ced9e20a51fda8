"""A board's judges: what each says of the rows, how they agree, and what the ranking owes to them.

Everything is derived from the stored verdicts of the ranked rows; nothing is judged or written.
Rankings here are by win rate, whatever the board ranks by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from judges.errors import UserError
from judges.schema import Annotation
from leaderboard.boards.board import Board
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import excluded
from leaderboard.rows.standings import Standings
from leaderboard.rows.summary import RATE_COLUMNS, both_orders, row_items
from leaderboard.statistics.dawid_skene import MIN_JUDGES, DawidSkene, dawid_skene
from leaderboard.statistics.estimates import Undefined
from leaderboard.statistics.panels import (
    Agreement,
    EffectiveVotes,
    Flips,
    LeftOut,
    agreement,
    effective_votes,
    flips,
    left_out,
    panel_agreement,
)
from leaderboard.statistics.ranking import ranks
from leaderboard.statistics.uncertainty import Floats, Interval
from leaderboard.statistics.winrate import WinRate, win_rate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgeFigures:
    """One judge over all rows of a board."""

    name: str
    rates: dict[str, WinRate]
    """Row → its win rate if this judge were the whole panel; without rows that it did not judge."""
    flips: Flips | None
    """None for a judge that was not shown both orders."""
    without: LeftOut | None
    """What becomes of the ranking without it, by `PanelReport.ranked`; None for the only judge."""
    ranks_without: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PanelReport:
    """The judges of a board, and what they come to together."""

    judges: tuple[JudgeFigures, ...]
    panel: dict[str, WinRate]
    """Row → its win rate, best first."""
    ranked: tuple[str, ...]
    """The rows, and the reference where there is one only: what is ranked without a judge."""
    ranks: tuple[int, ...]
    rank_intervals: tuple[tuple[int, int], ...] | None
    """By `ranked`; None on a board that does not rank by win rate."""
    pairs: dict[tuple[str, str], Agreement | None]
    agreement: Interval | None
    """Of two judges, the mean over all pairs of them."""
    effective: EffectiveVotes | None
    """None for a single judge."""
    learnt: DawidSkene | Undefined | None
    """How reliable the votes alone make the judges; None for fewer than three, and where
    one is drawn for each item, as no two vote on the same."""
    is_drawn: bool
    """Whether one judge judges an item, drawn for each instruction."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is read of a row."""

    name: str
    verdicts: list[Annotation]
    excluded: frozenset[str]
    items: pd.DataFrame


def panel_report(board: Board, table: Standings) -> PanelReport:
    """The figures of a board's judges, from the verdicts of its ranked rows.

    Raises UserError where no row is ranked.
    """
    names, references = board.panel.names, board.settings.references
    rows = [_stored(board, name) for name in _ranked_rows(table, references)]
    if not rows:
        raise UserError(f"board {board.name} has no ranked rows: nothing is known of its judges")
    ranked = _ranked_rows(table, references[1:] if len(references) == 1 else references)
    panel = {row.name: win_rate(row.items[RATE_COLUMNS]) for row in rows}
    full = _values(ranked, panel)
    votes, clusters = _votes(rows, names)
    several, weights = len(names) > 1, board.panel.weights or None
    is_drawn = board.panel.is_drawn
    judges = []
    for judge in names:
        without = ranks_without = None
        if several:
            values = _values(ranked, {row.name: _rate_without(board, row, judge) for row in rows})
            without, ranks_without = left_out(full, values), ranks(values)
        judges.append(
            JudgeFigures(
                name=judge,
                rates=_rates_alone(rows, judge),
                flips=_flips(board, rows, judge),
                without=without,
                ranks_without=() if ranks_without is None else tuple(ranks_without.tolist()),
            )
        )
    return PanelReport(
        judges=tuple(judges),
        panel=panel,
        ranked=ranked,
        ranks=tuple(ranks(full).tolist()),
        rank_intervals=_rank_intervals(board, table, ranked),
        pairs={
            (a, b): agreement(votes[:, i], votes[:, j], clusters)
            for (i, a), (j, b) in combinations(enumerate(names), 2)
        },
        agreement=panel_agreement(votes, clusters) if several else None,
        effective=effective_votes(votes, clusters, weights=weights) if several else None,
        learnt=dawid_skene(votes) if len(names) >= MIN_JUDGES and not is_drawn else None,
        is_drawn=is_drawn,
    )


def _ranked_rows(table: Standings, but: Sequence[str]) -> tuple[str, ...]:
    """The ranked rows, best first."""
    known = set(table.models) - set(but)
    return tuple(str(name) for name in table.frame["model"] if name in known)


def _stored(board: Board, name: str) -> _Stored:
    row = Row(board.path / name)
    verdicts, without = row.annotations(), excluded(board, row)
    items = row_items(board, verdicts, board.instructions, without=without)
    return _Stored(name, verdicts, without, items)


def _values(models: Sequence[str], rates: dict[str, WinRate]) -> Floats:
    """The win rates of rows; the reference has 0.5."""
    return np.array([rates[model].value if model in rates else 0.5 for model in models])


def _votes(rows: Sequence[_Stored], names: Sequence[str]) -> tuple[Floats, Sequence[str]]:
    """The votes on all comparisons of all rows, and the instruction of each."""
    frame = pd.concat([row.items for row in rows])
    return frame[list(names)].to_numpy(float), frame["instruction_id"].to_list()


def _rates_alone(rows: Sequence[_Stored], judge: str) -> dict[str, WinRate]:
    rates = {}
    for row in rows:
        vote = row.items[judge]
        if vote.notna().any():
            bounds = {"low": vote.fillna(0.0), "high": vote.fillna(1.0)}
            rates[row.name] = win_rate(row.items.assign(preference=vote, **bounds)[RATE_COLUMNS])
    return rates


def _rate_without(board: Board, row: _Stored, judge: str) -> WinRate:
    others = row.excluded | {judge}
    items = row_items(board, row.verdicts, board.instructions, without=others)
    return win_rate(items[RATE_COLUMNS])


def _flips(board: Board, rows: Sequence[_Stored], judge: str) -> Flips | None:
    """Over all rows in which its votes count, clustered by instruction."""
    place = {c: i for c, i, _ in board.comparison_ids(board.instructions)}
    pairs = [
        (place[comparison], *preferences)
        for row in rows
        if judge not in row.excluded
        for comparison, preferences in both_orders(row.verdicts).get(judge, {}).items()
        if comparison in place
    ]
    if not pairs:
        return None
    clusters, original, swapped = zip(*pairs, strict=True)
    return flips(original, swapped, clusters)


def _rank_intervals(
    board: Board, table: Standings, ranked: Sequence[str]
) -> tuple[tuple[int, int], ...] | None:
    if board.settings.headline != "win_rate":
        return None
    frame = table.frame.set_index("model")
    ends = frame.loc[list(ranked), ["rank_low", "rank_high"]].to_numpy(int)
    return tuple((int(low), int(high)) for low, high in ends)
