"""`leaderboard cost`: what models were paid for, from the record that every run keeps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.errors import UserError
from leaderboard.boards.catalogue import board_names, packaged_boards
from leaderboard.commands.flags import shown
from leaderboard.display.table import DATA, Format, data, emit, tex


@dataclass(frozen=True)
class Cost:
    """What did models cost? Calls, tokens and dollars, as they were when the calls were made."""

    board: Annotated[str | None, tyro.conf.Positional, shown("BOARD")] = None
    """A board's name; else all that you have spent."""
    by: Annotated[
        Literal["board", "judge", "model", "purpose", "week"] | None,
        shown("board|judge|model|purpose|week"),
    ] = None
    """What to add up by, if not by judge on a board, and by board otherwise."""
    since: Annotated[str | None, shown("DATE|7d")] = None
    """Only calls since this date, or in the last days (7d) or weeks (2w); in UTC."""
    results: Annotated[Path | None, shown("FOLDER")] = None
    """Only boards in this folder."""
    format: Annotated[Format, shown("table|markdown|csv|json|latex")] = "table"

    def run(self) -> int:
        from judges.storage.database import open_database  # here: --help needs no database
        from judges.storage.ledger import Ledger
        from leaderboard.display.spending import (
            since_time,
            spending_cells,
            spending_records,
            unknown_prices,
        )

        ledger = Ledger(open_database())
        if self.board is not None:
            groups = [s.group for s in ledger.spending("board")]
            self._check_board(self.board, [group for group in groups if group[:1] != "("])
        by = self.by or ("board" if self.board is None else "judge")
        spending = ledger.spending(
            by,
            board=self.board,
            folder=None if self.results is None else str(self.results.resolve()),
            since=None if self.since is None else since_time(self.since),
        )
        if self.format in DATA:
            print(data(spending_records(spending, by), self.format))
            return 0
        if not spending:
            print(f"no calls of models are on record{self._where()}: nothing was spent")
            return 0
        caption = tex(f"Calls of models{self._where()} and what they cost, in US dollars.")
        print(emit(*spending_cells(spending, by), self.format, caption))
        if note := unknown_prices(spending):
            print(note, file=sys.stderr)
        return 0

    def _check_board(self, board: str, on_record: Sequence[str]) -> None:
        """Raises UserError for a board that neither is there nor ever cost anything."""
        results = self.results or Path("results")
        known = sorted({*board_names(results), *on_record})
        if board not in {*known, *packaged_boards()}:
            raise UserError(
                f"no board {board!r} in {results}, nor on record; known: {', '.join(known) or 'none'}"
            )

    def _where(self) -> str:
        on = "" if self.board is None else f" on {self.board}"
        within = "" if self.results is None else f" in {self.results}"
        return on + within + ("" if self.since is None else f" since {self.since}")
