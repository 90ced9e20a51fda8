"""Where the labels of points go, so that none lies on another or on a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LETTER, LINE, RADIUS = 6.6, 13.0, 6.0
"""The width of a letter, the height of a line, and how far a point reaches, in pixels."""
NEAR = (
    ("start", 8.0, 4.0), ("end", -8.0, 4.0), ("middle", 0.0, -9.0), ("middle", 0.0, 18.0),
    ("start", 7.0, -6.0), ("start", 7.0, 14.0), ("end", -7.0, -6.0), ("end", -7.0, 14.0),
)  # fmt: skip
"""Anchor, and how far right and down of the point, in the order of preference."""
FAR = tuple(
    ("start" if cos > 0.3 else "end" if cos < -0.3 else "middle", far * cos, far * sin + 4.0)
    for far in (22.0, 36.0, 52.0, 70.0)
    for turn in range(16)
    for cos, sin in [(math.cos(math.pi * turn / 8), -math.sin(math.pi * turn / 8))]
)
"""The same for labels that are tied to their point by a line."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Label:
    """A text and where it is anchored; an empty text has found no room."""

    text: str
    x: float = 0.0
    y: float = 0.0
    anchor: str = "start"
    is_far: bool = False
    """Whether a line leads from it to its point."""


def placed(points: Sequence[tuple[float, float]], texts: Sequence[str], plot: Box) -> list[Label]:
    """A label for each point, one after the other in the first of its places that is free."""
    dots: list[Box] = [_around(x, y, RADIUS) for x, y in points]
    taken: list[Box] = []
    labels = []
    for number, ((x, y), text) in enumerate(zip(points, texts, strict=True)):
        label = Label("")
        others = [*dots[:number], *dots[number + 1 :], *taken]
        for place, (anchor, right, down) in enumerate(NEAR + FAR):
            box, line = _box(x + right, y + down, anchor, text), []
            if place >= len(NEAR):
                line = [_around(x + t * right, y + t * (down - 4), 1.5) for t in (0.4, 0.6, 0.8)]
            if _inside(box, plot) and not any(_overlap(a, b) for a in [box, *line] for b in others):
                at = round(x + right, 1), round(y + down, 1)
                label = Label(text, *at, anchor, place >= len(NEAR))
                taken += [box, *line]
                break
        labels.append(label)
    return labels


def _around(x: float, y: float, reach: float) -> Box:
    return x - reach, y - reach, x + reach, y + reach


def _box(x: float, y: float, anchor: str, text: str) -> Box:
    """The room of a text, with a little space at both ends."""
    width = LETTER * len(text)
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return left - 2, y - LINE + 3, left + width + 2, y + 3


def _inside(box: Box, plot: Box) -> bool:
    return plot[0] <= box[0] and plot[1] <= box[1] and box[2] <= plot[2] and box[3] <= plot[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
