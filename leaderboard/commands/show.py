"""`leaderboard show`: boards as tables, from what is stored; nothing is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro

from judges.errors import UserError
from judges.reading import printable
from leaderboard.boards.board import Board, load_board
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.display.instructions import instruction_cells, instruction_records, worst
from leaderboard.display.panel_report import panel_report
from leaderboard.display.panel_tables import panel_records, panel_text
from leaderboard.display.table import (
    DATA,
    Format,
    Records,
    absent_columns,
    caption,
    category_cells,
    category_records,
    data,
    emit,
    published_block,
    render,
    row_records,
    select,
)
from leaderboard.judging.controls import control_results, describe_controls
from leaderboard.rows.seed_groups import (
    group_differences,
    group_members,
    seed_group_cells,
    seed_groups,
)
from leaderboard.rows.standings import Standings, standings
from leaderboard.site.methods import methods_text
from leaderboard.validity.anchored import anchor
from leaderboard.validity.anchored_table import (
    HEADING,
    anchored_block,
    anchored_fields,
    with_anchored,
)

BY_POSITION = (
    "its length-controlled figures can differ from lc_alpaca_eval: the published ones take the "
    "difficulties by position (board import --by-position does)"
)


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
    judges: Annotated[bool, shown("")] = False
    """What each judge says of the rows, its flips, how the judges agree, how many votes they are
    worth, and the ranking without each."""
    columns: Annotated[tuple[str, ...], shown("COLUMN…")] = ()
    """The columns to print, by their names or headings; an unknown one lists them all."""
    models: Annotated[tuple[str, ...], shown("MODEL…")] = ()
    """The rows to print; their ranks stay those on the whole board."""
    worst: Annotated[tuple[str, ...], shown("N MODEL")] = ()
    """The N instructions that the model lost most clearly, with the answers."""
    humans: Annotated[Path | None, shown("FILE")] = None
    """Labels by people of a random sample of the instructions: adds the win rate that they and the
    judges make together, and what it rests on."""
    methods: Annotated[bool, shown("")] = False
    """The paragraph for a paper's methods section, and what to cite, in place of the table."""

    def run(self) -> int:
        if not self.boards:
            raise UserError("name a board; `leaderboard board list` shows them")
        if sum(map(bool, (self.by, self.per, self.worst, self.judges))) > 1:
            raise UserError("give one of --by, --per, --worst and --judges")
        if self.columns and (self.by or self.per or self.worst or self.judges):
            raise UserError("--columns does not go with --by, --per, --worst or --judges")
        if self.humans and (self.by or self.per or self.worst or self.judges):
            raise UserError("--humans does not go with --by, --per, --worst or --judges")
        if self.humans and len(self.boards) > 1:
            raise UserError("--humans: labels are of the rows of one board; name one")
        others = (self.by, self.per, self.worst, self.columns, self.models, self.judges)
        if self.methods and (any(others) or self.humans or self.format != "table"):
            raise UserError("--methods goes with no other option but --results")
        if self.worst and not (len(self.worst) == 2 and self.worst[0].isdecimal()):
            given = " ".join(self.worst)
            raise UserError(f"--worst {given}: a positive number and the name of a row are needed")
        boards = [load_board(name, self.results) for name in self.boards]
        if self.worst:
            n, model = self.worst
            parts = [worst(board, int(n), model) for board in boards]
        elif self.methods:
            parts = [
                methods_text(board, standings(board), control_results(board)) for board in boards
            ]
        else:
            tables = [(board, standings(board)) for board in boards]
            if self.by == "group":
                tables = self._grouped(tables)
            if self.format in DATA:
                records = [record for one in tables for record in self.records(*one)]
                parts = [data(records, self.format)]
            else:
                parts = [self.text(*one) for one in tables]
        print("\n\n".join(parts))
        return 0

    def _grouped(self, tables: Sequence[tuple[Board, Standings]]) -> list[tuple[Board, Standings]]:
        """The boards that have groups; raises UserError where none has."""
        found, without = [], []
        for board, table in tables:
            select(table, self.models)  # a row that is not there is another complaint
            if group_members(table, self.models):
                found.append((board, table))
            else:
                without.append(f"board {board.name} has no groups to show")
        why = f"{'; '.join(without)}: rows of one method share a name, given by eval --group NAME"
        if not found:
            raise UserError(why)
        if without:
            Console().note(why)
        return found

    def records(self, board: Board, table: Standings) -> Records:
        """What CSV and JSON hold; with several boards each record begins with its board."""
        rows = select(table, self.models)
        if self.by == "group":
            records = seed_groups(table, self.models)
        elif self.by is not None:
            records = category_records(board, rows)
        elif self.per is not None:
            records = instruction_records(board, table, rows)
        elif self.judges:
            records = panel_records(panel_report(board, table), self.models)
        else:
            records = row_records(rows, self.columns)
            if self.humans:
                of = anchor(board, table, self.humans).rows
                added = [anchored_fields(of.get(model)) for model in rows["model"]]
                records = [one | more for one, more in zip(records, added, strict=True)]
        several = len(self.boards) > 1
        return [{"board": board.name, **record} for record in records] if several else records

    def text(self, board: Board, table: Standings) -> str:
        rows = select(table, self.models)
        if self.by or self.per or self.judges:
            text = self._by(board, table, rows)
            several = len(self.boards) > 1 and self.format != "latex"
            return f"{printable(board.title)} ({board.name})\n\n{text}" if several else text
        anchored = None if self.humans is None else anchor(board, table, self.humans)
        if anchored is None:
            text = render(board, rows, self.columns, self.format)
        else:
            rows = with_anchored(rows, anchored)
            text = render(board, rows, self.columns, self.format, [HEADING])
        if self.format == "latex":
            return text
        parts = [heading(board), text]
        if anchored is not None and self.humans is not None:
            parts.append(anchored_block(rows, anchored, self.humans, self.format))
        parts.append(describe_controls(board, control_results(board)))
        if absent := absent_columns(board, self.columns):
            parts.append(absent)
        if table.left_out:
            left = [printable(f"  {name} ({why})") for name, why in table.left_out.items()]
            parts.append("\n".join(["not in the table:", *left]))
        if groups := seed_groups(table, self.models):
            parts.append(seeds(board, groups, self.format))
        published = published_block(board.path / "published.csv", self.format, self.models)
        if published is not None and not self.columns:
            parts.append(f"published elsewhere, not ranked among the rows above:\n\n{published}")
            if board.lc_alpaca_eval is not None and board.lc_alpaca_eval.alignment != "position":
                parts.append(BY_POSITION)
        return "\n\n".join(parts)

    def _by(self, board: Board, table: Standings, rows: pd.DataFrame) -> str:
        if self.by == "group":
            return seeds(board, seed_groups(table, self.models), self.format)
        if self.judges:
            return panel_text(board, panel_report(board, table), self.format, self.models)
        cells = category_cells(board, rows) if self.by else instruction_cells(board, table, rows)
        return emit(*cells, self.format, caption(board))


def seeds(board: Board, groups: Records, form: Format) -> str:
    """The table of groups, what it shows, and how neighbouring groups compare; LaTeX is the table
    alone."""
    block = emit(*seed_group_cells(groups), form, caption(board))
    if form == "latex":
        return block
    by, unit = ("", "points")
    if board.settings.headline != "win_rate":
        by, unit = ", by win rate", "points of win rate"
    title = (
        f"training seeds{by}: rows of one group; ± half-width over other seeds and instructions "
        "alike"
    )
    differences = "\n".join(group_differences(groups, unit))
    return "\n\n".join(filter(None, (title, block, differences)))


def heading(board: Board) -> str:
    """The line above a table: the board, and what its numbers are."""
    title = printable(board.title)
    name = "" if title.casefold() == board.name.casefold() else f" ({board.name})"
    headline = board.settings.headline
    ranks_by = "" if headline == "win_rate" else f", ranked by {headline}"
    return (
        f"{title}{name}: win rate (%) against {' and '.join(board.settings.references)}{ranks_by}, "
        f"judged by {board.panel.called}; ± half-width of the 95 % interval"
    )
