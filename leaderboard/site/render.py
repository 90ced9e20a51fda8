"""A board's report as HTML: records and frames in, escaped text out.

Nothing is read here but the packaged templates beside this file, and nothing is judged. Every part
of the page is a function of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from leaderboard.comparing.head_to_head import Duel
from leaderboard.display.card import rank_range
from leaderboard.judging.controls import CONTROLS, ControlResult
from leaderboard.site.figures import Scale, interval, rate_scale, scatter
from leaderboard.site.text import brackets, count, ends, fill, p_value, percent, points, safe_link
from leaderboard.statistics.bradley_terry import BradleyTerry
from leaderboard.statistics.lc_joint import MAX_GAIN
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
TABLE_AXIS = 168.0
"""Where the drawn intervals of the table end, in pixels: room for the other columns."""
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
    """Of the headline."""
    resolution: float | None
    guarded: Collection[str]
    """Rows of a constant answer, whose lc_joint is their win rate."""
    self_judging: str = ""
    """What is done with the votes of judges that are a row's model or of its family."""
    categories: Sequence[Mapping[Any, Any]]
    """One record a category and model, as from `table.category_records`."""
    duels: Sequence[Duel]
    """Rows and references that met each other."""
    strengths: BradleyTerry | None
    """By these, and by the references."""
    published: Sequence[Sequence[str]]
    """Figures of others, as formatted cells; the first line is the header."""
    groups: Sequence[Group]
    judge_tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = ()
    """What each judge says and how they agree: title, header and formatted cells of each table."""
    judge_notes: Sequence[str] = ()
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
        table=leaderboard_table(
            rows, report.headline, report.length_columns, report.guarded, report.self_judging
        ),
        headline=COLUMN_NAMES.get(report.headline, report.headline),
        categories=category_table(report.categories),
        pairs=heat_map(rows, report.models, report.pairs, report.headline),
        pairs_by=_said(report.headline),
        told_apart=told_apart(report.pairs),
        duels=duel_table(report.duels),
        ratings=rating_table(report.strengths),
        published=published_table(report.published),
        scatter=scatter(rows),
        groups=group_table(report.groups),
        judges=report.judge_tables
        and fill("judges", tables=report.judge_tables, notes=report.judge_notes),
        controls=control_table(report.controls),
        failed=[control_name(c) for c in report.controls if c.outcome == "failed"],
    )
    return str(html)


# ------------------------------------------------------------------------------------------- tables
def keyed(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with the column `key`, their number from 1: it stands for a name where a figure has
    no room for names, and is no rank."""
    return frame.reset_index(drop=True).assign(key=range(1, len(frame) + 1))


COLUMN_NAMES = {"win_rate": "Win rate"}


def _said(column: str) -> str:
    """A column's name within a sentence."""
    return COLUMN_NAMES.get(column, column).replace("Win", "win")


def leaderboard_table(
    rows: pd.DataFrame,
    headline: str = "win_rate",
    length_columns: Sequence[str] = (),
    guarded: Collection[str] = (),
    self_judging: str = "",
) -> Markup:
    """The table of a board, `rows` as from `keyed`. The headline comes first, with its intervals
    drawn; the lc_joint of `guarded` rows has a mark, and so have rows with a judge of their own, whose votes
    `self_judging` tells about."""
    low, high = _ends_of(headline)
    scale = rate_scale([*rows[low], *rows[high]], end=TABLE_AXIS)
    columns = list(dict.fromkeys([headline, "win_rate", *length_columns]))
    records = []
    for row in rows.to_dict("records"):
        between = f"95 % interval {ends(row[low], row[high])}"
        if row["status"] == "reference":
            between = "by definition"
        said = f"{row['model']}: {percent(row[headline])} %, {between}"
        drawn = interval(
            row[headline], row[low], row[high], scale, said, hollow=pd.isna(row["rank"])
        )
        shown = {
            "rank": rank_range(row["rank_low"], row["rank_high"]),
            "drawn": drawn,
            "link": safe_link(row["link"]),
            "kin": kin if isinstance(kin := row.get("self_judging"), str) else "",
            "figures": [
                (percent(row[name]), brackets(*(row[end] for end in _ends_of(name))))
                if pd.notna(row[name])
                else ("–", "")
                for name in columns
            ],
        }
        records.append(row | shown)
    return fill(
        "table",
        rows=records,
        scale=scale,
        columns=columns,
        names=[COLUMN_NAMES.get(name, name) for name in columns],
        guarded=guarded,
        kin=[(one["model"], one["kin"]) for one in records if one["kin"]],
        self_judging=self_judging,
    )


def _ends_of(column: str) -> tuple[str, str]:
    """The columns that hold the interval of a figure."""
    return ("low", "high") if column == "win_rate" else (f"{column}_low", f"{column}_high")


def category_table(records: Sequence[Mapping[Any, Any]]) -> Markup:
    """Win rates by category, one row a model; empty where there are fewer than two categories."""
    sizes = {str(r["category"]): count(r["n_items"], "instruction") for r in records}
    if len(sizes) < 2:
        return Markup("")
    rows: dict[str, list[tuple[str, str]]] = {}
    for r in records:
        between = brackets(r["low"], r["high"]) if r["n_judged"] else ""
        rows.setdefault(r["model"], []).append((percent(r["win_rate"]), between))
    return fill("categories", categories=list(sizes.items()), rows=list(rows.items()))


def duel_table(duels: Sequence[Duel]) -> Markup:
    """How rows fared against each other; empty where none met."""
    rates = [(d, percent(d.rate.value), brackets(d.rate.low, d.rate.high)) for d in duels]
    return fill("duels", duels=rates) if duels else Markup("")


def rating_table(strengths: BradleyTerry | None) -> Markup:
    """The Bradley–Terry ratings, best first; empty for None."""
    if strengths is None:
        return Markup("")
    rated = sorted(
        zip(strengths.models, strengths.rating, strengths.low, strengths.high, strict=True),
        key=lambda one: (-one[1], one[0]),
    )
    return fill(
        "ratings",
        ratings=[
            (model, f"{rating:.0f}", f"[{low:.0f}, {high:.0f}]" if low < high else "")
            for model, rating, low, high in rated
        ],
        anchor=strengths.anchor,
        n_battles=count(strengths.n_battles, "verdict"),
        n_clusters=count(strengths.n_clusters, "instruction"),
    )


def published_table(lines: Sequence[Sequence[str]]) -> Markup:
    """Figures of others as they were published; empty where there are none."""
    if len(lines) < 2:
        return Markup("")
    header, *rows = lines
    numeric = [
        all(_NUMBER.fullmatch(cell) for cell in column) for column in zip(*rows, strict=True)
    ]
    return fill("published", header=header, rows=rows, numeric=numeric)


_NUMBER = re.compile(r"(-?\d[\d.]*)?")


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


def heat_map(
    rows: pd.DataFrame, models: Sequence[str], pairs: Pairs, by: str = "win_rate"
) -> Markup:
    """The differences of the best rows in the column `by`: those that can be told apart are shaded,
    the others in brackets. `models` name the rows and columns of `pairs`."""
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
    return fill("heat_map", rows=records, n_models=len(models), steps=STEPS, by=_said(by))


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
        f"{p_value(p)} after Holm, {count(int(pairs.n_common[i, j]), 'instruction')}",
    }


_LEVEL = 0.05 + 1e-12  # as in rank_intervals


def told_apart(pairs: Pairs) -> tuple[int, int]:
    """How many pairs of rows can be told apart after Holm's adjustment, and how many there are."""
    n = len(pairs.holm)
    return int((pairs.holm <= _LEVEL).sum()) // 2, n * (n - 1) // 2
