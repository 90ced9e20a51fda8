"""`leaderboard correlate`: does one score rank models as another does, and how sure is that?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.errors import UserError
from leaderboard.boards.board import load_board
from leaderboard.commands.flags import shown
from leaderboard.rows.results import json_text
from leaderboard.validity.correlate import correlate
from leaderboard.validity.correlation_report import overview, records, text, write_report
from leaderboard.validity.scores import find_sides, judge_pairs, pair_up


@dataclass(frozen=True)
class Correlate:
    """Does A rank models as B does? A and B are boards, or columns of files, FILE.csv:COLUMN or
    FILE.csv:COLUMN:STANDARD_ERROR; B is the reference, people say. More is better in both."""

    a: Annotated[str, tyro.conf.Positional, shown("A")]
    """A board, or a column."""
    b: Annotated[str | None, tyro.conf.Positional, shown("B")] = None
    """A board, or a column; :COLUMN is one of the same file."""
    judges: Annotated[bool, shown("")] = False
    """Between the judges of the board A, two by two, each with the win rates by its own verdicts."""
    without_extremes: Annotated[bool, shown("")] = False
    """Give the verdict without models far apart from the others: by more than two robust standard
    deviations from the median by either score. The figures with and without are always shown."""
    without: Annotated[tuple[str, ...], shown("MODEL…")] = ()
    """Give the verdict without these models."""
    models: Annotated[str | None, shown("COLUMN")] = None
    """The column with the models' names, if it is not `model` or the first that holds text."""
    out: Annotated[Path | None, shown("FOLDER")] = None
    """Write report.md, report.json and the figures there."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    format: Annotated[Literal["table", "markdown", "json"], shown("table|markdown|json")] = "table"
    """JSON is what report.json holds."""

    def run(self) -> int:
        if self.judges:
            if self.b is not None:
                raise UserError("--judges takes one board")
            pairs = judge_pairs(load_board(self.a, self.results))
            title = f"The judges of {self.a}"
        else:
            if self.b is None:
                raise UserError("name two boards or columns, A and B, or a board and --judges")
            a, b = find_sides(self.a, self.b, self.results, self.models)
            pairs = [pair_up(a, b)]
            title = f"{a.label} and {b.label}"
        found = [
            correlate(pair, without=self.without, without_far=self.without_extremes)
            for pair in pairs
        ]
        files = [] if self.out is None else write_report(found, self.out, title)
        if self.format == "json":
            print(json_text(records(found)), end="")
        else:
            blocks = [text(one, self.format) for one in found]
            if len(found) > 1:
                blocks.insert(0, overview(found, self.format))
            blocks += ["\n".join(f"written: {file}" for file in files)] if files else []
            print("\n\n".join(blocks))
        return 0
