"""The figures of an agreement report, as PNG and SVG; one without data is a sentence instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard.statistics.estimates import Estimate, Figure
from leaderboard.statistics.preference_calibration import Calibration
from leaderboard.validity.agree import Agreement
from leaderboard.validity.agreement_table import (
    MANY_JUDGES,
    compared,
    compared_words,
    judges_of,
    name_of,
)
from leaderboard.validity.agreement_words import by_agreement, held_against
from leaderboard.validity.judge_figures import OfJudge
from leaderboard.validity.report_folder import BLUE, GREEN, GREY, ORANGE, draw, name_points, plain

MOST = 40
"""Judges in a figure, the best; the tables have all."""
NAMED = 25
"""Points with a name, the best, if there is room."""
CATEGORIES = 20
"""Categories in a figure, those with most pairs."""
_MARKS = ("o", "s", "^", "D", "v", "P")
_COLOURS = (BLUE, "#E69F00", GREEN, "#CC79A7", "#222222", "#56B4E9")
"""Of judges; people have the one that is left."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure as Markdown, and its files: none where there is nothing to draw."""

    markdown: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Plot:
    name: str
    says: str
    size: tuple[float, float]
    plot: Callable[[Any], None]


def draw_all(found: Agreement, folder: Path) -> list[Drawn]:
    """Every figure that there are data for."""
    drawn = []
    for made in (
        _agreement(found), _bias_variance(found), _price(found), _calibration(found),
        _categories(found),
    ):  # fmt: skip
        if isinstance(made, str):
            drawn.append(Drawn(made))
            continue
        files = tuple(folder / f"{made.name}.{kind}" for kind in ("png", "svg"))
        draw(files, made.size, made.plot)
        drawn.append(Drawn(f"![{made.says}]({made.name}.svg)", files))
    return drawn


# ------------------------------------------------------------------------------------- agreement
def _agreement(found: Agreement) -> _Plot | str:
    known = [o for o in by_agreement(found.judges) if isinstance(o.against.judge, Estimate)]
    judges = [one for one in known if not one.is_floor][:MOST]
    if not judges and not known:
        return "No figure of agreement: no judge has a verdict on pairs with enough labels."
    shown = [*judges, *(one for one in known if one.is_floor)]
    size = (8.0, 2.0 + 0.24 * (len(shown) + 4))
    says = "Agreement of judges, people and floors, with intervals"
    return _Plot("agreement", says, size, partial(_plot_agreement, found, shown))


def _plot_agreement(found: Agreement, shown: Sequence[OfJudge], figure: Any) -> None:
    axis = figure.subplots()
    constant = found.floors.constant
    said = ("output 1", "a tie", "output 2")
    rows: list[tuple[str, Figure, str, str]] = [
        (name_of(o), o.against.judge, GREY if o.is_floor else BLUE, "s" if o.is_floor else "o")
        for o in shown
    ]
    rows += [
        (f"always {what} °", of, GREY, "s")
        for what, of in zip(said, constant.values(), strict=True)
    ]
    rows.append(("a coin °", found.floors.random, GREY, "s"))
    for at, (_, of, colour, mark) in enumerate(rows):
        if isinstance(of, Estimate):
            _interval(axis, of, at, colour, mark)
    people = found.people.agreement
    if isinstance(people, Estimate):
        axis.axvspan(100 * people.low, 100 * people.high, color=ORANGE, alpha=0.25, zorder=0)
        axis.axvline(100 * people.value, color=ORANGE, linewidth=1.4, zorder=1, label="people")
        figure.legend(loc="outside lower right", frameon=False, fontsize=9)
    axis.set_yticks(range(len(rows)), [plain(name)[:48] for name, *_ in rows], fontsize=9)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(-2, 102)
    axis.set_xlabel(f"agreement with {held_against(found)}, %   (° does not read)")
    more = len(judges_of(found)) - sum(not one.is_floor for one in shown)
    alone = max(found.labels_per_pair, default=0) == 1
    whom = "the labels" if alone else f"people, k = {found.k}"
    title = f"Agreement with {whom}, 95 % intervals"
    _finish(axis, title + (f"; {more} more judges in the table" if more else ""))


def _interval(axis: Any, of: Estimate, at: float, colour: str, mark: str) -> None:
    axis.plot([100 * of.low, 100 * of.high], [at, at], color=colour, linewidth=1.6, zorder=2)
    axis.scatter(100 * of.value, at, s=26, color=colour, marker=mark, zorder=3)


# --------------------------------------------------------------------------------- bias, variance
def _bias_variance(found: Agreement) -> _Plot | str:
    points = []
    for one in judges_of(found)[:MOST]:
        of = one.bias_variance["zero_one"]
        if isinstance(of.bias, Estimate) and isinstance(of.variance, Estimate):
            points.append((one.name, of.variance, of.bias))
    if not points:
        return "No figure of bias and variance: no judge has two verdicts on a pair."
    says = "Bias of judges against their variance"
    return _Plot("bias-variance", says, (7.4, 6.2), partial(_plot_bias_variance, found, points))


def _plot_bias_variance(
    found: Agreement, points: Sequence[tuple[str, Estimate, Estimate]], figure: Any
) -> None:
    axis = figure.subplots()
    x, y = [100 * v.value for _, v, _ in points], [100 * b.value for _, _, b in points]
    few = len(points) <= MANY_JUDGES
    if few:
        axis.errorbar(
            x, y, xerr=_ends([v for _, v, _ in points]), yerr=_ends([b for _, _, b in points]),
            fmt="none", ecolor="#9BBFD8", elinewidth=1.1, zorder=2,
        )  # fmt: skip
    axis.scatter(x, y, s=34, color=BLUE, zorder=3, label="judges")
    people = found.people.bias_variance["zero_one"].variance
    if isinstance(people, Estimate):
        axis.scatter(
            100 * people.value, 0, s=60, marker="D", color=ORANGE, zorder=3, clip_on=False,
            label="people (bias 0 by definition)",
        )  # fmt: skip
    axis.set_xlabel("variance: one verdict against its others, % (zero_one)")
    axis.set_ylabel("bias: centre of its verdicts against people's, %")
    axis.margins(0.12)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _finish(axis, "Bias against variance: near the corner is better")
    name_points(axis, x, y, [name for name, *_ in points], range(min(NAMED, len(points))))


def _ends(of: Sequence[Estimate]) -> Any:
    return 100 * np.array([[e.value - e.low for e in of], [e.high - e.value for e in of]])


# ------------------------------------------------------------------------------------------ price
def _price(found: Agreement) -> _Plot | str:
    points = [
        (one.name, one.usd_per_1000, one.against.judge)
        for one in judges_of(found)
        if one.usd_per_1000 is not None and isinstance(one.against.judge, Estimate)
    ]
    if not any(price for _, price, _ in points):
        return "No figure of agreement against price: no judge has one."
    says = "Agreement of judges against their price"
    return _Plot("price", says, (7.4, 5.6), partial(_plot_price, found, points))


def _plot_price(
    found: Agreement, points: Sequence[tuple[str, float, Estimate]], figure: Any
) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axis = figure.subplots()
    least = min(price for _, price, _ in points if price)
    # A free judge has no place on a logarithmic axis: it stands left of all others, and says so.
    x = [price or least / 10 for _, price, _ in points]
    y = [100 * of.value for _, _, of in points]
    axis.set_xscale("log")
    is_narrow = max(x) < 100 * least
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_narrow else (1,)))
    axis.xaxis.set_major_formatter(lambda usd, _: f"{usd:g}" if usd > least / 4 else "")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.errorbar(
        x, y, yerr=_ends([of for *_, of in points]), fmt="none", ecolor="#9BBFD8", elinewidth=1.1,
        zorder=2,
    )  # fmt: skip
    axis.scatter(x, y, s=34, color=BLUE, zorder=3, label="judges")
    people = found.people.agreement
    if isinstance(people, Estimate):
        axis.axhspan(100 * people.low, 100 * people.high, color=ORANGE, alpha=0.25, zorder=0)
        axis.axhline(100 * people.value, color=ORANGE, linewidth=1.4, zorder=1, label="people")
    axis.set_xlabel("USD for 1,000 pairs")
    axis.set_ylabel(f"agreement with {held_against(found)}, %")
    axis.margins(0.15)
    axis.set_xlim(min(x) / 2, max(x) * 2)
    if min(x) < least:
        axis.axvspan(min(x) / 2, least / 4, color="#EEEEEE", zorder=-1)
        low = axis.get_xaxis_transform()
        axis.text(min(x), 0.02, "free", transform=low, ha="center", color=GREY, zorder=1)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _finish(axis, "Agreement against price")
    name_points(axis, x, y, [name for name, *_ in points], range(min(NAMED, len(points))))


# ------------------------------------------------------------------------------------ calibration
def _calibration(found: Agreement) -> _Plot | str:
    known = [o for o in judges_of(found) if isinstance(o.calibration, Calibration)]
    if not known:
        return "No figure of calibration: no judge gives probabilities."
    shown = known[:MANY_JUDGES]
    wide, high = min(3, len(shown)), -(-len(shown) // 3)
    says = "How often people share a preference, by the preference"
    plot = partial(_plot_calibration, shown, wide, high)
    return _Plot("calibration", says, (1.0 + 3.6 * wide, 0.9 + 4.0 * high), plot)


def _plot_calibration(shown: Sequence[OfJudge], wide: int, high: int, figure: Any) -> None:
    axes = figure.subplots(high, wide, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, one in zip(axes, shown, strict=False):
        of = one.calibration
        assert isinstance(of, Calibration)
        axis.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--", zorder=1)
        for bin in of.bins:
            if isinstance(bin.label, Estimate):
                x = 100 * bin.preference
                axis.plot([x, x], [100 * bin.label.low, 100 * bin.label.high], color=BLUE,
                          linewidth=1.4, zorder=2)  # fmt: skip
                size = 16 + 180 * bin.n / of.n
                axis.scatter(x, 100 * bin.label.value, s=size, color=BLUE, zorder=3)
        ece = f"{of.ece.value:.3f}" if isinstance(of.ece, Estimate) else "–"
        axis.set_xlim(-4, 104)
        axis.set_ylim(-4, 104)
        axis.set_aspect("equal")
        _finish(axis, f"{plain(one.name)[:34]}\nECE {ece}, n = {of.n}")
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    figure.supxlabel("preference for output 2, %", fontsize=10)
    figure.supylabel("people who prefer output 2, %", fontsize=10)


# ------------------------------------------------------------------------------------- categories
def _categories(found: Agreement) -> _Plot | str:
    judges = [one for one in compared(found) if one.categories]
    sizes: dict[str, int] = {}
    for one in judges:
        for name, of in one.categories.items():
            if isinstance(of.judge, Estimate):
                sizes[name] = max(of.judge.n, sizes.get(name, 0))
    names = sorted(sizes, key=lambda name: -sizes[name])[:CATEGORIES]
    if len(names) < 2:
        return "No figure by category: the pairs have no categories."
    size = (8.0, 1.9 + (0.2 + 0.16 * len(judges)) * len(names))
    says = "Agreement by category"
    plot = partial(_plot_categories, found, judges, names, sizes)
    return _Plot("categories", says, size, plot)


def _plot_categories(
    found: Agreement,
    judges: Sequence[OfJudge],
    names: Sequence[str],
    sizes: dict[str, int],
    figure: Any,
) -> None:
    axis = figure.subplots()
    step = 0.72 / len(judges)
    for place, one in enumerate(judges):
        colour, mark = _COLOURS[place], _MARKS[place]
        for row, name in enumerate(names):
            of = one.categories.get(name)
            if of is not None and isinstance(of.judge, Estimate):
                at = row + (place - (len(judges) - 1) / 2) * step
                _interval(axis, of.judge, at, colour, mark)
        axis.scatter([], [], s=26, color=colour, marker=mark, label=plain(one.name)[:40])
    is_told = False
    for row, name in enumerate(names):
        people = next((o.categories[name].humans for o in judges if name in o.categories), None)
        if isinstance(people, Estimate):
            axis.plot(
                [100 * people.value] * 2, [row - 0.42, row + 0.42], color=ORANGE, linewidth=2.2,
                alpha=0.7, zorder=1, clip_on=False, label=None if is_told else "people",
            )  # fmt: skip
            is_told = True
    for row in range(1, len(names)):
        axis.axhline(row - 0.5, color="#EEEEEE", linewidth=0.8, zorder=0)
    axis.set_yticks(
        range(len(names)), [f"{plain(name)[:36]} ({sizes[name]})" for name in names], fontsize=9
    )
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(-2, 102)
    axis.set_xlabel(f"agreement with {held_against(found)}, %; in brackets the pairs")
    more = len({c for one in judges for c in one.categories}) - len(names)
    title = "Agreement by category, 95 % intervals"
    title += f"; {which}" if (which := compared_words(found)) else ""
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _finish(axis, title + (f"\n{more} smaller categories in the table" if more else ""))


# --------------------------------------------------------------------------------------------------
def _finish(axis: Any, title: str) -> None:
    axis.set_title(title, fontsize=11, loc="left")
    axis.grid(linewidth=0.4, color="#DDDDDD")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
