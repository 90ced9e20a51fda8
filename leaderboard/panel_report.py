"""A board's judges: what each says of the rows, how they agree, and what the ranking owes to them.

Everything is derived from the stored verdicts of the ranked rows; nothing is judged or written.
Rankings here are by win rate, whatever the board ranks by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from judges.errors import UserError
from judges.reading import printable
from judges.schema import Annotation
from leaderboard.boards import Board
from leaderboard.results import Row
from leaderboard.self_judging import excluded
from leaderboard.standings import Standings
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
from leaderboard.summary import RATE_COLUMNS, both_orders, row_items
from leaderboard.table import Format, Records, caption, emit, tex

Cells = tuple[str, list[str], list[list[str]]]
"""A table: its title, its headers and its body, as people read them."""


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


# ------------------------------------------------------------------------------------- as people read
def panel_tables(report: PanelReport, models: Sequence[str] = ()) -> list[Cells]:
    """Win rates by judge (of `models`, if any are named), the judges, and how they agree."""
    names = [judge.name for judge in report.judges]
    shown = [model for model in report.panel if not models or model in models]
    rates = [
        [model, _rate(report.panel[model]), *(_rate(j.rates.get(model)) for j in report.judges)]
        for model in shown
    ]
    tables = [
        ("win rates (%) by judge", ["model", "panel", *names], rates),
        (
            "judges",
            ["judge", "flips", "flips %", "ties apart", "first shown %"]
            + ["tau without it", "largest move"] * (len(names) > 1),
            [_judge_cells(judge) for judge in report.judges],
        ),
    ]
    if report.agreement is not None:
        tables.append(_agreement_cells(report, names))
    return tables


def _rate(rate: WinRate | None) -> str:
    if rate is None or not rate.n_instructions:
        return ""
    return f"{100 * rate.value:.1f} ± {50 * (rate.high - rate.low):.1f}"


def _judge_cells(judge: JudgeFigures) -> list[str]:
    found, without = judge.flips, judge.without
    cells = [judge.name, "", "", "", ""]
    if found is not None:
        cells[1] = f"{found.n_flipped} of {found.n_decided}"
        cells[2:] = [_percent(found.rate), str(found.n_tied), _percent(found.first_shown)]
    if without is not None:
        cells += ["" if np.isnan(without.tau) else f"{without.tau:.2f}", str(without.largest)]
    return cells


def _agreement_cells(report: PanelReport, names: Sequence[str]) -> Cells:
    """Raw agreement above the diagonal, the correlation below it."""
    cells = {(name, name): "" for name in names}
    for (a, b), found in report.pairs.items():
        cells[a, b] = "" if found is None else f"{100 * found.raw.value:.0f}"
        correlation = None if found is None else found.correlation
        cells[b, a] = "" if correlation is None else f"{correlation.value:.2f}"
    keys = [str(n) for n in range(1, len(names) + 1)]
    body = [
        [f"{key} {name}", *(cells[name, other] for other in names)]
        for key, name in zip(keys, names, strict=True)
    ]
    return "agreement (%) above the diagonal, correlation below it", ["judge", *keys], body


def _percent(found: Interval | None) -> str:
    if found is None:
        return ""
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def panel_notes(report: PanelReport) -> list[str]:
    """What the judges come to together, in a line each."""
    lines = []
    if (mean := report.agreement) is not None:
        lines.append(
            f"two judges agree on {100 * mean.value:.1f} % of the comparisons in the mean "
            f"(95 % interval {100 * mean.low:.1f} to {100 * mean.high:.1f}); ties count half"
        )
    if (found := report.effective) is not None:
        if found.votes is None:
            why = "they never vary, or cancel" if found.n else "no comparison has those of all"
            lines.append(f"effective votes: not known, as {why}")
        else:
            lines.append(
                f"effective votes: {found.votes.value:.1f} of {found.n_judges} (95 % interval "
                f"{found.votes.low:.1f} to {found.votes.high:.1f}), from {found.n} comparisons: so "
                "many independent judges would vary as little"
            )
    moves = [_moves(report, judge) for judge in report.judges if judge.without is not None]
    lines += [line for line in moves if line]
    if moves and not any(moves):
        lines.append("no rank changes without any one judge")
    if any("*" in line for line in moves):
        lines.append("* outside of the rank interval of the whole panel")
    return lines


def _moves(report: PanelReport, judge: JudgeFigures) -> str:
    """The rows that move without a judge; empty where none does."""
    assert judge.without is not None
    moved = []
    for n, shift in enumerate(judge.without.shifts):
        if shift:
            low, high = (
                report.rank_intervals[n] if report.rank_intervals else (0, len(report.ranked))
            )
            star = "" if low <= judge.ranks_without[n] <= high else "*"
            moved.append(f"{report.ranked[n]} {report.ranks[n]} → {judge.ranks_without[n]}{star}")
    return f"without {judge.name}: {', '.join(moved)}" if moved else ""


def panel_text(board: Board, report: PanelReport, form: Format, models: Sequence[str]) -> str:
    """The tables and notes of a board's judges; LaTeX is the tables alone."""
    parts = []
    for title, headers, body in panel_tables(report, models):
        block = emit(headers, body, form, f"{caption(board)} Shown: {tex(title)}.")
        parts.append(block if form == "latex" else f"{title}\n\n{block}")
    if form != "latex":
        parts.append(printable("\n".join(panel_notes(report))))
    return "\n\n".join(filter(None, parts))


# -------------------------------------------------------------------------------------- for programs
def panel_records(report: PanelReport, models: Sequence[str] = ()) -> Records:
    """One record a figure: figure, judge, other, model, value, low, high, count, n; docs/files.md
    says what stands where."""
    records: Records = []

    def add(figure: str, of: Interval | WinRate | None = None, **cells: Any) -> None:
        ends = {} if of is None else {"value": of.value, "low": of.low, "high": of.high}
        empty = dict.fromkeys(("judge", "other", "model", "value", "low", "high", "count", "n"))
        records.append({"figure": figure, **empty, **ends, **cells})

    for judge, rates in (("", report.panel), *((j.name, j.rates) for j in report.judges)):
        for model, rate in rates.items():
            if not models or model in models:
                add("win_rate", rate, judge=judge, model=model, n=rate.n_instructions)
    for j in report.judges:
        if (found := j.flips) is not None:
            n_both = found.n_decided + found.n_tied
            add("flips", found.rate, judge=j.name, count=found.n_flipped, n=found.n_decided)
            add("ties", judge=j.name, count=found.n_tied, n=n_both)
            add("first_shown", found.first_shown, judge=j.name, n=n_both)
    for (a, b), pair in report.pairs.items():
        if pair is not None:
            add("agreement", pair.raw, judge=a, other=b, n=pair.n)
            add("correlation", pair.correlation, judge=a, other=b, n=pair.n)
    if report.agreement is not None:
        add("mean_agreement", report.agreement, n=report.agreement.n)
    if report.effective is not None:
        of = report.effective
        add("effective_votes", of.votes, count=of.n_judges, n=of.n)
    n_ranked = len(report.ranked)
    for model, rank in zip(report.ranked, report.ranks, strict=True):
        add("rank", judge="", model=model, value=rank, n=n_ranked)
    for j in report.judges:
        if j.without is not None:
            add("tau_without", judge=j.name, value=j.without.tau, n=n_ranked)
            for model, rank in zip(report.ranked, j.ranks_without, strict=True):
                add("rank_without", judge=j.name, model=model, value=rank, n=n_ranked)
    return records
