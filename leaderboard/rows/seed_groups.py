"""Training methods on a board: rows that share a group differ in their training seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from judges.reading import printable
from leaderboard.rows.standings import Standings
from leaderboard.statistics.training_seeds import group_difference, seed_group
from leaderboard.statistics.uncertainty import Floats, Interval

Records = list[dict[str, Any]]
HEADERS = ("group", "seeds", "win rate", "SD of seeds", "models")


def group_members(table: Standings, models: Sequence[str] = ()) -> dict[str, list[str]]:
    """Group → its ranked rows, best first; only of groups that hold one of `models`, if given."""
    ranked = table.frame[table.frame["model"].isin(table.models) & (table.frame["group"] != "")]
    members: dict[str, list[str]] = {}
    for group, model in zip(ranked["group"], ranked["model"], strict=True):
        members.setdefault(str(group), []).append(str(model))
    return {g: rows for g, rows in members.items() if not models or set(rows) & set(models)}


def seed_groups(table: Standings, models: Sequence[str] = ()) -> Records:
    """One record a group, best first: group, models, the figures of `SeedGroup`, and how much
    better it is than the next group of several seeds, with the ends of that interval.

    A group of one row has that row's win rate, and None for all that needs a second seed.
    """
    records: Records = []
    for group, rows in group_members(table, models).items():
        preferences = _preferences(table, rows)
        if len(rows) > 1:
            figures: dict[str, Any] = asdict(seed_group(preferences))
        else:
            n = int(np.count_nonzero(~np.isnan(preferences)))
            figures = {"mean": float(np.nanmean(preferences)), "seed_sd": None}
            figures |= dict.fromkeys(("standard_error", "low", "high"))
            figures |= {"n_seeds": 1, "n_instructions": n, "level": None}
        of_next = dict.fromkeys(("next_group", "difference", "difference_low", "difference_high"))
        records.append({"group": group, "models": ", ".join(rows), **figures, **of_next})
    records.sort(key=lambda record: (-record["mean"], record["group"]))
    for record, other in pairwise(r for r in records if r["n_seeds"] > 1):
        found = compare_groups(table, record["group"], other["group"])
        record |= {
            "next_group": other["group"],
            "difference": found.value,
            "difference_low": found.low,
            "difference_high": found.high,
        }
    return records


def seed_group_cells(groups: Records) -> tuple[Sequence[str], list[list[str]]]:
    """Headers and cells of the table of groups; percent with one decimal."""
    return HEADERS, [_cells(record) for record in groups]


def _cells(record: dict[str, Any]) -> list[str]:
    mean, seeds = f"{100 * record['mean']:.1f}", str(record["n_seeds"])
    if record["n_seeds"] == 1:
        return [record["group"], "1 seed: no spread known", mean, "", record["models"]]
    half = 50 * (record["high"] - record["low"])
    sd = f"{100 * record['seed_sd']:.1f}"
    return [record["group"], seeds, f"{mean} ± {half:.1f}", sd, record["models"]]


def compare_groups(table: Standings, a: str, b: str) -> Interval:
    """How much better group a is than group b, paired by instruction; both of two rows or more."""
    members = group_members(table)
    return group_difference(*(_preferences(table, members[group]) for group in (a, b)))


def group_differences(groups: Records, unit: str = "points") -> list[str]:
    """Each group of several seeds against the next one in the list, in words."""
    return [
        printable(
            f"{r['group']} - {r['next_group']}: {100 * r['difference']:+.1f} {unit} (95 % interval "
            f"{100 * r['difference_low']:+.1f} to {100 * r['difference_high']:+.1f})"
        )
        for r in groups
        if r["next_group"] is not None
    ]


def _preferences(table: Standings, rows: Sequence[str]) -> Floats:
    chosen: Floats = table.preferences[[table.index(row) for row in rows]]
    return chosen
