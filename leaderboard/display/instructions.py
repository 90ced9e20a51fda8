"""A board's instructions one by one: what the panel made of each row's answers to them."""

from __future__ import annotations

import textwrap

import pandas as pd

from judges.errors import UserError
from judges.reading import printable
from leaderboard.boards.board import Board
from leaderboard.display.table import Records
from leaderboard.rows.self_judging import excluded
from leaderboard.rows.standings import Standings, board_rows
from leaderboard.rows.summary import row_items


def instruction_records(board: Board, table: Standings, rows: pd.DataFrame) -> Records:
    """One record an instruction and ranked model: instruction_id, category, model, preference."""
    return [
        {
            "instruction_id": instruction.id,
            "category": instruction.category,
            "model": model,
            "preference": table.preferences[table.index(model), n],
        }
        for n, instruction in enumerate(board.instructions)
        for model in rows["model"]
        if model in table.models
    ]


def instruction_cells(
    board: Board, table: Standings, rows: pd.DataFrame
) -> tuple[list[str], list[list[str]]]:
    """The panel preference (percent) by instruction, one row an instruction, one column a model."""
    models = [name for name in rows["model"] if name in table.models]
    body = [
        [
            instruction.id,
            instruction.category,
            *(
                "" if pd.isna(p := table.preferences[table.index(m), k]) else f"{100 * p:.1f}"
                for m in models
            ),
        ]
        for k, instruction in enumerate(board.instructions)
    ]
    return ["instruction", "category", *models], body


def worst(board: Board, n: int, model: str) -> str:
    """The instructions that a model lost most clearly, with both answers.

    Raises UserError for a model that has no row, and for n below 1.
    """
    rows = {row.name: row for row in board_rows(board)}
    if model not in rows:
        raise UserError(f"no row {model!r}; the board has: {', '.join(rows) or 'none'}")
    if n < 1:
        raise UserError(f"--worst {n}: a positive number is needed")
    row = rows[model]
    items = row_items(board, row.annotations(), board.instructions, without=excluded(board, row))
    outputs = row.outputs(allow_torn=True) if row.outputs_file.is_file() else {}
    parts = []
    lost = items[items["preference"] < 0.5].sort_values("preference", kind="stable").head(n)
    for item in lost.to_dict("records"):
        instruction = board.by_id[item["instruction_id"]]
        answer = outputs[instruction.id].text if instruction.id in outputs else "(not stored)"
        reference = board.references[item["reference"]][instruction.id].text
        parts.append(
            f"── {instruction.id}  {100 * item['preference']:.1f} % against {item['reference']}\n"
            f"{_indent('asked', instruction.text)}\n{_indent(model, answer)}\n"
            f"{_indent(item['reference'], reference)}"
        )
    return "\n\n".join(parts) or f"{model} lost no instruction"


def _indent(who: str, text: str) -> str:
    return f"{who}:\n" + textwrap.indent(printable(text) or "(empty)", "    ", lambda line: True)
