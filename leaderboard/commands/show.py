"""`leaderboard show`: boards as tables, from what is stored; nothing is judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.errors import UserError
from judges.reading import printable
from leaderboard.boards import Board, load_board
from leaderboard.commands.flags import shown
from leaderboard.controls import control_results, describe_controls
from leaderboard.methods import methods_text
from leaderboard.seed_groups import group_differences, seed_group_cells, seed_groups
from leaderboard.standings import Standings, standings
from leaderboard.table import (
    DATA,
    Format,
    Records,
    absent_columns,
    caption,
    category_cells,
    category_records,
    data,
    emit,
    instruction_cells,
    instruction_records,
    published_block,
    render,
    row_records,
    select,
    worst,
)

SEEDS = "training seeds: rows of one group; ± half-width over other seeds and instructions alike"


@dataclass(frozen=True)
class Show:
    """Print the table of one or several boards."""

    boards: Annotated[tuple[str, ...], tyro.conf.Positional, shown("BOARD…")]
    """Names of boards."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    format: Annotated[Format, shown("table|markdown|csv|json|latex")] = "table"
    """Tables, Markdown and LaTeX hold percent as displayed, CSV and JSON fractions in full."""
    by: Annotated[Literal["category", "group"] | None, shown("category|group")] = None
    """Win rates by category, one column a model; or of the groups of rows that differ in their
    training seed."""
    per: Annotated[Literal["instruction"] | None, shown("instruction")] = None
    """The panel's preference by instruction, one column a model."""
    columns: Annotated[tuple[str, ...], shown("COLUMN…")] = ()
    """The columns to print; an unknown one lists them all."""
    models: Annotated[tuple[str, ...], shown("MODEL…")] = ()
    """The rows to print; their ranks stay those on the whole board."""
    worst: Annotated[tuple[int, str] | None, shown("N MODEL")] = None
    """The N instructions that the model lost most clearly, with the answers."""
    methods: Annotated[bool, shown("")] = False
    """The paragraph for a paper's methods section, and what to cite, in place of the table."""

    def run(self) -> int:
        if not self.boards:
            raise UserError("name a board; `leaderboard board list` shows them")
        if sum(option is not None for option in (self.by, self.per, self.worst)) > 1:
            raise UserError("give one of --by, --per and --worst")
        if self.columns and (self.by or self.per or self.worst):
            raise UserError("--columns does not go with --by, --per or --worst")
        others = (self.by, self.per, self.worst, self.columns, self.models)
        if self.methods and (any(others) or self.format != "table"):
            raise UserError("--methods goes with no other option but --results")
        boards = [load_board(name, self.results) for name in self.boards]
        if self.methods:
            shown = [
                methods_text(board, standings(board), control_results(board)) for board in boards
            ]
        elif self.worst is not None:
            shown = [worst(board, *self.worst) for board in boards]
        elif self.format in DATA:
            shown = [
                data([record for board in boards for record in self.records(board)], self.format)
            ]
        else:
            shown = [self.text(board) for board in boards]
        print("\n\n".join(shown))
        return 0

    def records(self, board: Board) -> Records:
        """What CSV and JSON hold; with several boards each record begins with its board."""
        table = standings(board)
        rows = select(table, self.models)
        if self.by == "group":
            records = self.groups(board, table)
        elif self.by is not None:
            records = category_records(board, rows)
        elif self.per is not None:
            records = instruction_records(board, table, rows)
        else:
            records = row_records(rows, self.columns)
        several = len(self.boards) > 1
        return [{"board": board.name, **record} for record in records] if several else records

    def text(self, board: Board) -> str:
        table = standings(board)
        rows = select(table, self.models)
        if self.by == "group":
            cells = seed_group_cells(self.groups(board, table))
            return emit(*cells, self.format, caption(board))
        if self.by is not None:
            return emit(*category_cells(board, rows), self.format, caption(board))
        if self.per is not None:
            return emit(*instruction_cells(board, table, rows), self.format, caption(board))
        text = render(board, rows, self.columns, self.format)
        if self.format == "latex":
            return text
        parts = [heading(board), text, describe_controls(board, control_results(board))]
        if absent := absent_columns(board, self.columns):
            parts.append(absent)
        if table.left_out:
            left = [printable(f"  {name} ({why})") for name, why in table.left_out.items()]
            parts.append("\n".join(["not in the table:", *left]))
        if groups := seed_groups(table, self.models):
            block = emit(*seed_group_cells(groups), self.format, "")
            parts.append("\n".join([SEEDS, "", block, *group_differences(table, groups)]))
        published = published_block(board.path / "published.csv", self.format)
        if published is not None:
            parts.append(f"published elsewhere, not ranked among the rows above:\n\n{published}")
        return "\n\n".join(parts)

    def groups(self, board: Board, table: Standings) -> Records:
        found = seed_groups(table, self.models)
        if not found:
            raise UserError(
                f"board {board.name} has no groups to show: rows of one method share a name, given "
                "by eval --group NAME"
            )
        return found


def heading(board: Board) -> str:
    """The line above a table: the board, and what its numbers are."""
    title = printable(board.title)
    name = "" if title.casefold() == board.name.casefold() else f" ({board.name})"
    headline = board.settings.headline
    ranks_by = "" if headline == "win_rate" else f", ranked by {headline}"
    return (
        f"{title}{name}: win rate (%) against {' and '.join(board.settings.references)}{ranks_by}, "
        f"judged by {', '.join(board.panel.names)}; ± half-width of the 95 % interval"
    )
