"""Human-anchored win rates for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from judges.reading import printable
from leaderboard.display.table import Format, grid
from leaderboard.statistics.uncertainty import Interval
from leaderboard.validity.anchored import LEAST, AnchoredBoard, AnchoredRow

HEADING = "win rate (PPI)"


def with_anchored(rows: pd.DataFrame, found: AnchoredBoard) -> pd.DataFrame:
    """A board's rows with the column HEADING, empty where a row has no figure."""
    cells = [
        _rate(found.rows[model].figures.rate) if model in found.rows else ""
        for model in rows["model"]
    ]
    return rows.assign(**{HEADING: cells})


def anchored_block(rows: pd.DataFrame, found: AnchoredBoard, path: Path, form: Format) -> str:
    """What the anchored win rates of these rows rest on: a table, and what to know of it."""
    shown = [found.rows[model] for model in rows["model"] if model in found.rows]
    body = [
        [
            row.model,
            f"{row.figures.n_labelled}/{row.figures.n_items}",
            _ends(row.figures.labels_only),
            _ends(row.figures.rate),
            f"{row.figures.weight:.2f}",
            "" if math.isnan(row.figures.correlation) else f"{row.figures.correlation:.2f}",
            f"{row.figures.gain:.1f}",
            "" if row.corrected is None else _ends(row.corrected),
        ]
        for row in shown
    ]
    headers = [
        "model", "labelled", "labels alone", HEADING, "lambda", "correlation", "gain",
        "Rogan–Gladen",
    ]  # fmt: skip
    title = (
        f"human labels of {path.name}, a random sample of the instructions; [95 % interval]; gain: "
        "how many times as many labels would do the same without the judges"
    )
    notes = [note for row in shown for note in _notes(row)]
    notes += [
        f"{model}: {n} labelled instructions, {LEAST} are needed"
        for model, n in found.too_few.items()
        if model in set(rows["model"])
    ]
    parts = [printable(title), *([grid(headers, body, form)] if body else [])]
    if notes:
        parts.append(printable(("\n\n" if form == "markdown" else "\n").join(notes)))
    return "\n\n".join(parts)


def _notes(row: AnchoredRow) -> list[str]:
    figures, notes = row.figures, []
    if row.corrected is None:
        notes.append(f"{row.model}: no Rogan–Gladen figure: {row.uncorrected}")
    else:
        notes.append(
            f"{row.model}: the judges see {100 * row.corrected.sensitivity:.1f} % of its labelled "
            f"wins ({row.corrected.n_wins}) and no win in {100 * row.corrected.specificity:.1f} % "
            f"of the losses ({row.corrected.n_losses})"
        )
    if row.figures.n_unjudged:
        notes.append(
            f"{row.model}: {figures.n_unjudged} labelled instructions have no preference of the "
            "judges; their labels count, and the judges' mean stands in"
        )
    if row.n_unbound:
        notes.append(
            f"{row.model}: {row.n_unbound} of {row.n_labels} labels have no digest: that they are "
            "of these answers is taken on trust"
        )
    return notes


def anchored_fields(row: AnchoredRow | None) -> dict[str, Any]:
    """What CSV and JSON hold of a row's anchored win rate, in fractions; nan: there is none."""
    if row is None:
        return dict.fromkeys(_FIELDS, math.nan)
    figures, corrected = row.figures, row.corrected
    values: Mapping[str, Any] = {
        **_interval("win_rate_ppi", figures.rate),
        **_interval("labels_only", figures.labels_only),
        "n_labelled": figures.n_labelled,
        "n_labels": row.n_labels,
        "n_annotators": row.n_annotators,
        "n_unjudged": figures.n_unjudged,
        "n_unbound": row.n_unbound,
        "lambda": figures.weight,
        "correlation": figures.correlation,
        "gain": figures.gain,
    }
    if corrected is not None:
        values = {
            **values,
            "rogan_gladen": corrected.value,
            "rogan_gladen_low": corrected.low,
            "rogan_gladen_high": corrected.high,
            "sensitivity": corrected.sensitivity,
            "specificity": corrected.specificity,
        }
    return {field: values.get(field, math.nan) for field in _FIELDS}


_FIELDS = (
    "win_rate_ppi", "win_rate_ppi_standard_error", "win_rate_ppi_low", "win_rate_ppi_high",
    "labels_only", "labels_only_standard_error", "labels_only_low", "labels_only_high",
    "n_labelled", "n_labels", "n_annotators", "n_unjudged", "n_unbound", "lambda", "correlation",
    "gain", "rogan_gladen", "rogan_gladen_low", "rogan_gladen_high", "sensitivity", "specificity",
)  # fmt: skip


def _interval(name: str, of: Interval) -> dict[str, float]:
    return {
        name: of.value,
        f"{name}_standard_error": of.standard_error,
        f"{name}_low": of.low,
        f"{name}_high": of.high,
    }


def _rate(of: Interval) -> str:
    """With the half-width, or the ends where it shows that the two sides differ: near 0 and 100 %,
    where value + half-width can be impossible."""
    value, half = 100 * of.value, 100 * of.half_width
    shown = f"{value:.1f} ± {half:.1f}"
    is_inside = value - half >= 0 and value + half <= 100
    return shown if is_inside else _ends(of)


def _ends(of: Any) -> str:
    return f"{100 * of.value:.1f} [{100 * of.low:.1f}, {100 * of.high:.1f}]"
