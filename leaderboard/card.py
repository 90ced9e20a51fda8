"""What `eval` says at its end: one row in plain words, with how far it can be believed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from judges.reading import printable
from leaderboard.boards import Board
from leaderboard.comparison import compare_in
from leaderboard.controls import ControlResult, describe_controls
from leaderboard.standings import Standings
from leaderboard.statistics.uncertainty import smallest_detectable


def card(
    board: Board, summary: dict[str, Any], table: Standings, controls: Sequence[ControlResult]
) -> str:
    """The card of one row; percent and points with one decimal."""
    rate, answers = summary["win_rate"], summary["answers"]
    name = summary["model"]
    judges = ", ".join(board.panel.names)
    lines = [f"{name} on {board.name} ({len(board.instructions)} instructions, judged by {judges})"]
    lines.append(_win_rate(board, rate))
    if summary["is_partial"]:
        lines.append(
            f"  partial: {answers['n']} of {len(board.instructions)} instructions; not ranked. "
            "The full run takes up what is here."
        )
    elif not summary["is_publishable"]:
        lines.append("  not publishable and not ranked: more than 5 % of the verdicts are missing")
    else:
        lines += _neighbours(table, name)
    lines.append(_judged(summary))
    length = answers["mean_characters"]
    lines.append(
        f"  answers: {answers['n']}, of them {answers['n_empty']} empty and "
        f"{answers['n_length_stopped']} stopped at the length limit"
        + (f"; {length:.0f} characters on average" if length is not None else "")
    )
    unfinished = answers["n_empty"] + answers["n_length_stopped"]
    if unfinished > 0.05 * answers["n"]:
        lines.append(
            "    many are empty or cut off: is the chat template right, max_tokens enough?"
        )
    lines.append("  " + describe_controls(board, controls).replace("\n", "\n  "))
    lines.append(f"  cost: ${summary['cost_usd']:.2f}")
    if (smallest := board_resolution(table)) is not None:
        lines.append(
            f"  the smallest difference that this board can show: {100 * smallest:.1f} points\n"
            "    (two models on the same instructions, 80 % power)"
        )
    if board.settings.note:
        lines.append(_folded(f"note: {board.settings.note}"))
    return printable("\n".join(lines))


def _folded(text: str) -> str:
    """One entry of the card, on as many lines as it needs."""
    return textwrap.fill(
        text, 88, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def _win_rate(board: Board, rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return "  win rate: none, no verdict is there"
    half = (rate["high"] - rate["low"]) / 2
    return (
        f"  win rate: {100 * rate['value']:.1f} ± {100 * half:.1f} % against "
        f"{' and '.join(board.settings.references)} "
        f"({100 * rate['level']:.0f} % interval {100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
    )


def _neighbours(table: Standings, name: str) -> list[str]:
    frame = table.frame[table.frame["model"] == name].iloc[0]
    rank = rank_range(frame["rank_low"], frame["rank_high"])
    is_sure = frame["rank_low"] == frame["rank_high"]
    lines = [
        f"  rank: {rank} of {len(table.models)}"
        + ("" if is_sure else ", as far as the data can tell")
    ]
    pairs = [compare_in(table, name, other) for other in table.models if other != name]
    tied = sorted((p for p in pairs if not p.is_separable), key=lambda p: abs(p.difference))
    if pairs and not tied:
        lines.append("  it can be told from every other row")
    for pair in tied[:3]:
        # One interval can leave zero out that all the pairs' tests together do not.
        too_many = f"; too little among {len(table.models)} rows" * (pair.low * pair.high > 0)
        lines.append(
            f"  cannot be told from {pair.b}: {100 * pair.difference:+.1f} points (95 % interval "
            f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}{too_many})"
        )
    if len(tied) > 3:
        lines.append(f"  nor from {len(tied) - 3} more")
    return lines


def _judged(summary: dict[str, Any]) -> str:
    rate, verdicts = summary["win_rate"], summary["verdicts"]
    line = f"  judged: {rate['n_judged']}/{rate['n_items']}"
    if verdicts["n_missing"]:
        why = "; ".join(f"{error}: {count}" for error, count in verdicts["errors"].items())
        line += (
            f"; missing verdicts: {verdicts['n_missing']} ({why})\n"
            "    had they all been losses or all wins: "
            f"{100 * rate['bound_low']:.1f} to {100 * rate['bound_high']:.1f} %"
        )
    return line


def rank_range(low: float, high: float) -> str:
    """A rank interval as it is shown: 2, or 2–4; empty for an unranked row."""
    if pd.isna(low):
        return ""
    return f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}"


def board_resolution(table: Standings) -> float | None:
    """The smallest paired difference that the board shows with 80 % power, from the median
    standard deviation of its pairs' differences; a single row is held against an even one. None
    where no two differ."""
    deviations, counts = [], []
    rows = [*table.preferences] if len(table.models) != 1 else [table.preferences[0], 0.5]
    for i in range(len(rows)):
        for j in range(i):
            difference = rows[i] - rows[j]
            difference = difference[~np.isnan(difference)]
            if len(difference) > 1 and np.ptp(difference) > 1e-9:
                deviations.append(difference.std(ddof=1))
                counts.append(len(difference))
    if not deviations:
        return None
    return smallest_detectable(float(np.median(deviations)), int(np.median(counts)))
