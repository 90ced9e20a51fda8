"""A board's report as HTML: records and frames in, escaped text out.

Nothing is read here but the packaged templates beside this file, and nothing is judged. Every part
of the page is a function of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from leaderboard.card import rank_range
from leaderboard.controls import CONTROLS, MAX_GAIN, ControlResult
from leaderboard.site.figures import Scale, interval, rate_scale, scatter
from leaderboard.site.text import ends, fill, p_value, percent, points, safe_link
from leaderboard.statistics.ranking import Pairs

MAX_PAIRED = 30
"""Rows in the matrix of pairs: the best ones."""
STEPS = (0.05, 0.15, 0.30)
"""Where the shades of a difference change."""
MUST_LIE = {
    "below": "wholly below 50 %",
    "not above": "not wholly above 50 %",
    "above": "wholly above 50 %",
}
OUTCOMES = {"passed": "✓ passed", "failed": "✗ failed", "inconclusive": "? cannot tell"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The missing verdicts of a row, and what its win rate would be had all been losses, or wins."""

    model: str
    n: int
    n_verdicts: int
    why: str
    bound_low: float
    bound_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Models of one method that differ in their training seed: the method's win rate.

    With one seed the interval and the standard deviation over the seeds are NaN.
    """

    name: str
    models: str
    n_seeds: int
    mean: float
    low: float
    high: float
    seed_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a report shows of a board."""

    title: str
    name: str
    note: str
    private: bool
    references: Sequence[str]
    judges: Mapping[str, Mapping[str, str]]
    """Judge → what it says of itself."""
    n_instructions: int
    orders: str
    date: str
    version: str
    board_hash: str
    frame: pd.DataFrame
    """The rows of the table with the columns of `standings.COLUMNS`, and perhaps more."""
    headline: str
    """The column that ranks."""
    length_columns: Sequence[str]
    """Those that are length-controlled."""
    models: Sequence[str]
    pairs: Pairs
    resolution: float | None
    groups: Sequence[Group]
    controls: Sequence[ControlResult]
    controls_absent: str
    """Why there are no controls."""
    left_out: Mapping[str, str]
    missing: Sequence[Missing]
    settings: Mapping[str, str]
    hashes: Mapping[str, str]
    methods: str
    bibliography: str


def page(report: Report) -> str:
    """The whole report: one HTML document that needs no other file and no network."""
    rows = keyed(report.frame)
    html = fill(
        "page",
        report=report,
        table=leaderboard_table(rows, report.headline, report.length_columns),
        pairs=heat_map(rows, report.models, report.pairs),
        told_apart=told_apart(report.pairs),
        scatter=scatter(rows),
        groups=group_table(report.groups),
        controls=control_table(report.controls),
        failed=[control_name(c) for c in report.controls if c.outcome == "failed"],
    )
    return str(html)


# ------------------------------------------------------------------------------------------- tables
def keyed(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with the column `key`, their number from 1: what stands for a name in the figures."""
    return frame.reset_index(drop=True).assign(key=range(1, len(frame) + 1))


def leaderboard_table(
    rows: pd.DataFrame, headline: str = "win_rate", length_columns: Sequence[str] = ()
) -> Markup:
    """The table of a board, `rows` as from `keyed`; the intervals of the headline are drawn."""
    low, high = _ends_of(headline)
    scale = rate_scale([*rows[low], *rows[high]])
    records = []
    for row in rows.to_dict("records"):
        drawn = interval(
            row[headline],
            row[low],
            row[high],
            scale,
            f"{row['model']}: {percent(row[headline])} %, 95 % interval {ends(row[low], row[high])}",
            hollow=pd.isna(row["rank"]),
        )
        lengths = [(row[name], [row[end] for end in _ends_of(name)]) for name in length_columns]
        shown = {
            "rank": rank_range(row["rank_low"], row["rank_high"]),
            "drawn": drawn,
            "link": safe_link(row["link"]),
            "lengths": lengths,
        }
        records.append(row | shown)
    return fill(
        "table",
        rows=records,
        scale=scale,
        headline=headline,
        length_columns=length_columns,
        ends=ends,
    )


def _ends_of(column: str) -> tuple[str, str]:
    """The columns that hold the interval of a figure."""
    return ("low", "high") if column == "win_rate" else (f"{column}_low", f"{column}_high")


def group_table(groups: Sequence[Group]) -> Markup:
    """The training-seed groups with their intervals drawn."""
    scale = rate_scale([rate for g in groups for rate in (g.mean, g.low, g.high)])
    drawn = [
        interval(
            group.mean,
            group.low,
            group.high,
            scale,
            f"{group.name}: {percent(group.mean)} %, 95 % interval {ends(group.low, group.high)} %",
        )
        for group in groups
    ]
    return fill("groups", groups=list(zip(groups, drawn, strict=True)), scale=scale, ends=ends)


def control_table(controls: Sequence[ControlResult]) -> Markup:
    """Where each control lies and where it must; the shaded side is where it belongs."""
    scale = Scale(0.0, 1.0)
    records = []
    for c in controls:
        name, between = control_name(c), ends(c.low, c.high)
        said = f"{name}: {percent(c.value)} %, 95 % interval {between}"
        side = (0.5, 1.0) if c.expect == "above" else (0.0, 0.5)
        outcome = OUTCOMES[c.outcome]
        if c.name == "null" and c.gain > MAX_GAIN:
            outcome += f": {points(c.gain)} points by length control"
        records.append(
            {
                "name": name,
                "value": c.value,
                "ends": between,
                "drawn": interval(c.value, c.low, c.high, scale, said, side=side),
                "must_lie": MUST_LIE[c.expect],
                "outcome": c.outcome,
                "said": outcome,
            }
        )
    unjudged = [name for name in CONTROLS if name not in {c.name for c in controls}]
    return fill("controls", controls=records, scale=scale, unjudged=unjudged)


def control_name(control: ControlResult) -> str:
    """A control and the column that it is looked at in."""
    return control.name + (f" by {control.column}" if control.column != "win_rate" else "")


def heat_map(rows: pd.DataFrame, models: Sequence[str], pairs: Pairs) -> Markup:
    """The paired differences of the best rows: those that can be told apart are shaded, the others
    in brackets. `models` name the rows and columns of `pairs`."""
    places = {model: place for place, model in enumerate(models)}
    shown = [row for row in rows.to_dict("records") if row["model"] in places][:MAX_PAIRED]
    records = []
    for row in shown:
        cells = [
            None
            if other is row
            else _pair(row, other, pairs, places[row["model"]], places[other["model"]])
            for other in shown
        ]
        records.append({"key": row["key"], "model": row["model"], "cells": cells})
    return fill("heat_map", rows=records, n_models=len(models), steps=STEPS)


def _pair(
    row: Mapping[Any, Any], other: Mapping[Any, Any], pairs: Pairs, i: int, j: int
) -> dict[str, str]:
    difference, p = float(pairs.difference[i, j]), float(pairs.holm[i, j])
    if math.isnan(difference):
        return {"text": "–", "shade": "", "said": "no judged instruction in common"}
    text = points(difference)
    told = p <= _LEVEL
    shade = sum(abs(difference) >= step for step in STEPS) + 1
    return {
        "text": text if told else f"({text})",
        "shade": f"{'up' if difference > 0 else 'down'}{shade}" if told else "",
        "said": f"{row['model']} less {other['model']}: {text} points, "
        f"{p_value(p)} after Holm, {pairs.n_common[i, j]} instructions",
    }


_LEVEL = 0.05 + 1e-12  # as in rank_intervals


def told_apart(pairs: Pairs) -> tuple[int, int]:
    """How many pairs of rows can be told apart after Holm's adjustment, and how many there are."""
    n = len(pairs.holm)
    return int((pairs.holm <= _LEVEL).sum()) // 2, n * (n - 1) // 2
