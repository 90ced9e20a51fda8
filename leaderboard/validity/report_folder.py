"""The folder that a report is written to, and what its figures share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from judges.errors import UserError
from judges.reading import printable
from judges.records import write_atomic
from leaderboard.rows.results import json_text

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
"""Okabe and Ito's colours, which no common colour blindness takes for each other."""
_FAR = 16
_PLACES = (
    (7, 5, "left", "bottom"), (-7, 5, "right", "bottom"), (7, -5, "left", "top"),
    (-7, -5, "right", "top"), (0, 9, "center", "bottom"), (0, -9, "center", "top"),
    (_FAR, 14, "left", "bottom"), (-_FAR, 14, "right", "bottom"), (_FAR, -14, "left", "top"),
    (-_FAR, -14, "right", "top"),
)  # fmt: skip
"""Where a name may stand, in points from its point; the far ones have a line to it."""
_OWN = re.compile(
    r"(agreement|bias-variance|price|calibration|categories|scatter(-\d+)?)\.(png|svg)"
    r"|report\.(md|json)"
)
"""The names of all files of a report."""


def check_folder(folder: Path) -> None:
    """Raises UserError where a file stands in its place."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder")


def make_folder(folder: Path) -> None:
    """Makes the folder, without what an earlier report left there: its figures need not be drawn
    anew, and would stand beside the new ones. Other files stay. Raises UserError as `check_folder`.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "report.json").is_file():
        for file in folder.iterdir():
            if _OWN.fullmatch(file.name) and file.is_file():
                file.unlink()


def write_texts(folder: Path, markdown: str, record: Mapping[str, Any]) -> list[Path]:
    """Writes report.md and report.json, and returns them."""
    files = [folder / "report.md", folder / "report.json"]
    write_atomic(files[0], markdown + "\n")
    write_atomic(files[1], json_text(record))
    return files


def draw(files: Sequence[Path], size: tuple[float, float], plot: Callable[[Any], None]) -> None:
    """A figure of this size in inches, in the format of each file's name; the same file whenever it
    is drawn of the same. `plot` is given the figure."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "report", "font.size": 10, "svg.fonttype": "path"}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        plot(figure)
        for file in files:
            of_day = {"Date": None} if file.suffix == ".svg" else None
            figure.savefig(file, dpi=150, metadata=of_day)


def plain(text: str) -> str:
    """A stranger's text that Matplotlib takes for no formula."""
    return printable(text).replace("$", r"\$")


def name_points(
    axis: Any, x: ArrayLike, y: ArrayLike, names: Sequence[str], order: Sequence[int]
) -> None:
    """Names at points where there is room for them, in this order; others are left out. All that
    else is drawn has to be there."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    axis.figure.canvas.draw()  # where the points are is known only then
    renderer = axis.figure.canvas.get_renderer()
    x, y = np.asarray(x), np.asarray(y)
    points = axis.transData.transform(np.column_stack([x, y]))
    taken = [Bbox.from_extents(px - 5, py - 5, px + 5, py + 5) for px, py in points]
    frame = axis.get_window_extent()
    for n in order:
        for dx, dy, across, up in _PLACES:
            label = axis.annotate(
                plain(names[n])[:32], (x[n], y[n]), (dx, dy), textcoords="offset points",
                ha=across, va=up, fontsize=8, color="#333333", zorder=4,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkB": 4}
                if abs(dx) == _FAR
                else None,
            )  # fmt: skip
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer).padded(1)  # without the line
            is_inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
            if is_inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()
