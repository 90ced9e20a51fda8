"""`leaderboard report`: a board as one HTML file, to send, to print or to put on a web site."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from leaderboard.boards.board import load_board
from leaderboard.commands.flags import shown


@dataclass(frozen=True)
class Report:
    """Write a board's report: one HTML file that needs no network and no other file."""

    board: Annotated[str, tyro.conf.Positional, shown("BOARD")]
    """The board's name."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    out: Annotated[Path | None, shown("FILE.html")] = None
    """The file to write, if not report.html in the board's folder; an earlier report there, of whatever
    board, is replaced."""

    def run(self) -> int:
        from leaderboard.site.report import NAME, write_report  # here: --help needs no templates

        board = load_board(self.board, self.results)
        out = self.out or board.path / NAME
        write_report(board, out)
        print(f"{out}: open it in a browser")
        return 0
