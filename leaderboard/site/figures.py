"""Drawings as SVG: one interval beside the line of 50 %, and length against win rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from leaderboard.site.labels import placed
from leaderboard.site.text import fill

MAX_NAMED = 12
"""Up to so many points are labelled with their names, more with the numbers of their rows."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps `low` to `high` onto the pixels from `start` to `end`."""

    low: float
    high: float
    start: float = 8.0
    end: float = 212.0

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def rate_scale(rates: Iterable[float], start: float = 8.0, end: float = 212.0) -> Scale:
    """The scale, in whole tenths, that holds these rates and 50 % with a little space around."""
    known = [0.5, *(rate for rate in rates if not pd.isna(rate))]
    low = max(math.floor(10 * min(known) - 0.2), 0) / 10
    return Scale(low, min(math.ceil(10 * max(known) + 0.2), 10) / 10, start, end)


def interval(
    value: float,
    low: float,
    high: float,
    scale: Scale,
    said: str,
    *,
    side: tuple[float, float] | None = None,
    hollow: bool = False,
) -> Markup:
    """One interval with its point; `said` is the same in words.

    `side` is shaded; a `hollow` point is one that is not ranked. What is missing (NaN) is not drawn.
    """
    return fill(
        "interval",
        x=None if pd.isna(value) else scale.at(value),
        x_low=None if pd.isna(low) else scale.at(low),
        x_high=None if pd.isna(high) else scale.at(high),
        even=scale.at(0.5),
        side=None if side is None else [scale.at(end) for end in side],
        width=scale.end + scale.start,
        said=said,
        hollow=hollow,
    )


def scatter(rows: pd.DataFrame) -> Markup:
    """Mean length against win rate; empty where fewer than two rows have both.

    `rows` has the columns key (what stands for a name), model, mean_characters, win_rate, low, high.
    """
    known = rows[rows["mean_characters"].notna() & rows["win_rate"].notna()]
    if len(known) < 2:
        return Markup("")
    lengths = known["mean_characters"].astype(float)
    marks = nice_ticks(lengths.min(), lengths.max())
    x = Scale(marks[0], marks[-1], 52, 744)
    y = rate_scale([*known["low"], *known["high"]], 376, 16)
    by_name = len(known) <= MAX_NAMED
    texts = [str(name)[:32] for name in known["model" if by_name else "key"]]
    at = [(x.at(n), y.at(p)) for n, p in zip(lengths, known["win_rate"], strict=True)]
    labels = placed(at, texts, (x.start, y.end, x.end, y.start))
    points = [
        row
        | {
            "x": x.at(row["mean_characters"]),
            "y": y.at(row["win_rate"]),
            "y_low": y.at(row["low"]),
            "y_high": y.at(row["high"]),
            "label": label,
        }
        for row, label in zip(known.to_dict("records"), labels, strict=True)
    ]
    rates = _multiples(y.low, y.high, 0.1 if y.high - y.low <= 0.6 else 0.2)
    return fill("scatter", points=points, x=x, y=y, lengths=marks, rates=rates, by_name=by_name)


def nice_ticks(low: float, high: float) -> list[float]:
    """About six round numbers that hold both ends: multiples of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 6.0)  # in steps of a whole character
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= span / 6)
    return _multiples(math.floor(low / step) * step, (math.floor(high / step) + 1) * step, step)


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 9) for n in range(first, last + 1)]
