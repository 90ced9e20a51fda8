"""`leaderboard show`: boards as tables, from what is stored; nothing is judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.errors import UserError
from leaderboard.boards import Board, load_board
from leaderboard.controls import control_results, describe_controls
from leaderboard.standings import standings
from leaderboard.table import (
    Format,
    caption,
    category_cells,
    emit,
    instruction_cells,
    published_block,
    render,
    select,
    worst,
)


@dataclass(frozen=True)
class Show:
    """Print the table of one or several boards."""

    boards: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names of boards."""
    results: Path = Path("results")
    """The folder that the boards lie in."""
    format: Format = "table"
    """Tables, Markdown and LaTeX hold percent as displayed, CSV and JSON fractions in full."""
    by: Literal["category"] | None = None
    """Win rates by category, one column a model."""
    per: Literal["instruction"] | None = None
    """The panel's preference by instruction, one column a model."""
    columns: tuple[str, ...] = ()
    """The columns to print; an unknown one lists them all."""
    models: tuple[str, ...] = ()
    """The rows to print; their ranks stay those on the whole board."""
    worst: tuple[int, str] | None = None
    """N MODEL: the N instructions that the model lost most clearly, with the answers."""

    def run(self) -> int:
        if not self.boards:
            raise UserError("name a board; `leaderboard board list` shows them")
        if sum(option is not None for option in (self.by, self.per, self.worst)) > 1:
            raise UserError("give one of --by, --per and --worst")
        shown = [self.text(load_board(name, self.results)) for name in self.boards]
        print("\n\n".join(shown))
        return 0

    def text(self, board: Board) -> str:
        if self.worst is not None:
            return worst(board, *self.worst)
        table = standings(board)
        rows = select(table, self.models)
        if self.by is not None:
            return emit(*category_cells(board, rows), self.format, caption(board))
        if self.per is not None:
            return emit(*instruction_cells(board, table, rows), self.format, caption(board))
        text = render(board, rows, self.columns, self.format)
        if self.format not in ("table", "markdown"):
            return text
        parts = [f"{board.title}: win rate (%) against {' and '.join(board.settings.references)}"]
        parts += [text, describe_controls(board, control_results(board))]
        if table.left_out:
            left = "; ".join(f"{name} ({why})" for name, why in table.left_out.items())
            parts.append(f"not in the table: {left}")
        published = published_block(board.path / "published.csv", self.format)
        if published is not None:
            parts.append(f"published elsewhere, not ranked among the rows above:\n\n{published}")
        return "\n\n".join(parts)
