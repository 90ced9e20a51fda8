"""The scatter plot of two scores: intervals, the pairs that swap, and the models far apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard.statistics.rank_correlation import Floats
from leaderboard.validity import report_folder
from leaderboard.validity.correlate import Correlation, Separated, Swap
from leaderboard.validity.report_folder import BLUE, GREY, ORANGE, name_points, plain
from leaderboard.validity.scores import Side

Z = 1.959964
MANY = 12
"""More swaps than these are drawn thin."""
DRAWN = 40
"""So many swaps are drawn, the most surely separated."""
NAMED = 40
"""So many models have a name, if there is room."""
_LINES: dict[Separated, tuple[str, str, str]] = {
    "both": (ORANGE, "-", "both tell them apart"),
    "A": ("#CC79A7", "--", "only A tells them apart"),
    "B": ("#E69F00", "-.", "only B tells them apart"),
    "neither": (GREY, ":", "neither tells them apart"),
    "not known": (GREY, "-", "whether told apart is not known"),
}
"""Colour, dashes and words of a swap, the most surely separated first; the colours are Okabe and Ito's, told apart without red or
green."""


def draw(found: Correlation, files: Sequence[Path]) -> None:
    """The plot, in the format of each file's name; the same file from the same scores."""

    def plot(figure: Any) -> None:
        axis = figure.subplots()
        _plot(axis, found)
        _name(axis, found)

    report_folder.draw(files, (7.4, 6.6), plot)


def surest(swaps: Sequence[Swap], n: int) -> Sequence[Swap]:
    """At most n swaps, those that are told apart most surely; of these, those that differ most."""
    if len(swaps) <= n:
        return swaps
    return sorted(swaps, key=lambda swap: list(_LINES).index(swap.separated_by))[:n]


def _plot(axis: Any, found: Correlation) -> None:
    x, x_error = _scale(found.pair.b)
    y, y_error = _scale(found.pair.a)
    place = {model: n for n, model in enumerate(found.pair.models)}
    swaps = surest(found.swaps, DRAWN)
    thin = len(swaps) > MANY
    shown = set()
    for swap in swaps:
        i, j = place[swap.better_by_a], place[swap.better_by_b]
        colour, dashes, said = _LINES[swap.separated_by]
        axis.plot(
            [x[i], x[j]],
            [y[i], y[j]],
            color=colour,
            linestyle=dashes,
            linewidth=0.7 if thin else 1.8,
            alpha=0.5 if thin else 1,
            zorder=1,
            label=None if said in shown else f"swapped: {said}",
        )
        shown.add(said)
    axis.errorbar(
        x,
        y,
        xerr=None if x_error is None else Z * x_error,
        yerr=None if y_error is None else Z * y_error,
        fmt="none",
        ecolor="#9BBFD8",
        elinewidth=1.1,
        zorder=2,
    )
    is_out = np.array([model in found.removed for model in found.pair.models])
    out = "left out" if found.is_named else "far apart from the others"
    axis.scatter(x[~is_out], y[~is_out], s=34, color=BLUE, zorder=3, label="model")
    if is_out.any():
        axis.scatter(
            x[is_out], y[is_out], s=40, marker="s", facecolor="white", edgecolor=BLUE,
            linewidth=1.6, zorder=3, label=out,
        )  # fmt: skip
    axis.set_xlabel(_axis(found.pair.b, "B, the reference"))
    axis.set_ylabel(_axis(found.pair.a, "A"))
    axis.set_title(_title(found), fontsize=11, loc="left")
    axis.grid(linewidth=0.4, color="#DDDDDD")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(0.1)
    axis.figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def _title(found: Correlation) -> str:
    """What is seen, in two or three lines."""
    lines = []
    figures = [(found.whole, "models")]
    if found.rest is not None:
        out = "those left out" if found.is_named else "those far apart"
        figures.append((found.rest, f"without {out}"))
    for one, which in figures:
        if one.coefficients is not None:
            low, high = one.intervals[one.source]
            lines.append(
                f"Spearman {one.coefficients.spearman:.3f} [{low:.2f}, {high:.2f}], "
                f"{len(one.models)} {which}"
            )
    swaps = len(found.swaps)
    lines[0] += f"; {swaps} of {found.whole.accuracy.n_pairs} pairs swap"
    if swaps > DRAWN:
        lines.append(f"{DRAWN} of the swaps are drawn")
    return "\n".join(lines)


def _axis(side: Side, which: str) -> str:
    label = plain(side.label) + (", %" if side.preferences is not None else "")
    return f"{label} ({which})" + (" ± 1.96 standard errors" if side.errors is not None else "")


def _scale(side: Side) -> tuple[Floats, Floats | None]:
    """Values and standard errors as they are shown: win rates in percent."""
    scale = 1 if side.preferences is None else 100
    errors = None if side.errors is None else np.nan_to_num(side.errors) * scale
    return side.values * scale, errors


def _name(axis: Any, found: Correlation) -> None:
    """The models' names where there is room for them: those in swaps and far apart first."""
    x, _ = _scale(found.pair.b)
    y, _ = _scale(found.pair.a)
    drawn = surest(found.swaps, DRAWN)
    swapped = {name for swap in drawn for name in (swap.better_by_a, swap.better_by_b)}
    names = found.pair.models
    told = [(name not in found.removed, name not in swapped) for name in names]
    first = sorted(range(len(names)), key=lambda n: told[n])
    name_points(axis, x, y, names, first[:NAMED])
