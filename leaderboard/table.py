"""A board as a table, in the formats that people paste: text, Markdown, CSV, JSON, LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from tabulate import tabulate

from judges.errors import UserError
from leaderboard.boards import Board
from leaderboard.card import rank_range
from leaderboard.results import RATE_COLUMNS, Row, row_items
from leaderboard.standings import COLUMNS, Standings, safe_cell
from leaderboard.winrate import by_category

Format = Literal["table", "markdown", "csv", "json", "latex"]
SHOWN = ("rank", "model", "win_rate", "discrete_win_rate", "mean_characters", "judged", "status")
"""The columns of a table unless others are asked for."""

_HEADERS = {
    "rank": "rank",
    "model": "model",
    "win_rate": "win rate",
    "discrete_win_rate": "discrete",
    "mean_characters": "length",
    "judged": "judged",
    "tie_group": "group of ties",
    "standard_error": "SE",
    "bounds": "if missing lost / won",
}
CHOICES = tuple(dict.fromkeys([*SHOWN, "judged", "bounds", *COLUMNS]))


def select(table: Standings, models: Sequence[str]) -> pd.DataFrame:
    """The rows of these models, ranks as on the whole board; all where none is named."""
    known = list(table.frame["model"])
    if unknown := [name for name in models if name not in known]:
        raise UserError(f"no row {unknown[0]!r}; the board has: {', '.join(known)}")
    return table.frame[table.frame["model"].isin(models)] if models else table.frame


def render(board: Board, rows: pd.DataFrame, columns: Sequence[str], form: Format) -> str:
    """The rows as text. CSV and JSON hold fractions in full, the others percent as displayed.

    Raises UserError for a column that there is not.
    """
    chosen = list(columns or (SHOWN if form not in ("csv", "json") else COLUMNS))
    if unknown := [name for name in chosen if name not in CHOICES]:
        raise UserError(f"no column {unknown[0]!r}; known: {', '.join(CHOICES)}")
    if form in ("csv", "json"):
        return _data(rows, chosen, form)
    body = [[display(record, name) for name in chosen] for _, record in rows.iterrows()]
    headers = [_HEADERS.get(name, name.replace("_", " ")) for name in chosen]
    return emit(headers, body, form, caption(board))


def emit(headers: Sequence[str], body: Sequence[Sequence[str]], form: Format, text: str) -> str:
    """A table of formatted cells in any format; `text` is the LaTeX caption."""
    if form == "latex":
        return latex(headers, body, text)
    if form == "csv":
        return _csv(headers, [dict(zip(headers, row, strict=True)) for row in body])
    if form == "json":
        records = [dict(zip(headers, row, strict=True)) for row in body]
        return json.dumps(records, indent=2, ensure_ascii=False)
    return grid(headers, body, form)


def grid(headers: Sequence[str], body: Sequence[Sequence[str]], form: Format) -> str:
    """A plain or Markdown table of cells that are formatted already."""
    numeric = re.compile(r"[-+−±–.,/$%\d\s\[\]…]*")
    columns = list(zip(*body, strict=True)) or [()] * len(headers)
    align = ["right" if all(numeric.fullmatch(c) for c in column) else "left" for column in columns]
    if form == "markdown":
        body = [[cell.replace("|", "\\|") for cell in row] for row in body]
    style = "github" if form == "markdown" else "simple"
    return tabulate(body, headers, tablefmt=style, colalign=align, disable_numparse=True)


def display(record: pd.Series, name: str) -> str:
    """One cell as people read it: percent and one decimal, empty where there is nothing."""
    if name == "rank":
        return rank_range(record["rank_low"], record["rank_high"])
    if name == "judged":
        return f"{record['n_judged']}/{record['n_items']}"
    if name == "bounds":
        return f"{100 * record['bound_low']:.1f} / {100 * record['bound_high']:.1f}"
    value = record[name]
    if isinstance(value, str | bool):
        return str(value)
    if pd.isna(value):
        return ""
    if name == "win_rate":
        return f"{100 * value:.1f} ± {100 * (record['high'] - record['low']) / 2:.1f}"
    if name in ("standard_error", "low", "high", "discrete_win_rate", "bound_low", "bound_high"):
        return f"{100 * value:.1f}"
    return f"{value:.0f}" if isinstance(value, int | float) else str(value)


def _data(rows: pd.DataFrame, columns: Sequence[str], form: Format) -> str:
    frame = rows.assign(
        judged=rows["n_judged"].astype(str) + "/" + rows["n_items"].astype(str),
        bounds=rows["bound_low"].astype(str) + "/" + rows["bound_high"].astype(str),
    )[list(columns)]
    records = [
        {key: None if not isinstance(v, str) and pd.isna(v) else v for key, v in record.items()}
        for record in frame.to_dict("records")
    ]
    if form == "json":
        return json.dumps(records, indent=2, ensure_ascii=False, default=_plain)
    return _csv(columns, records)


def _plain(value: Any) -> Any:
    return value.item()


def _csv(columns: Sequence[str], records: Sequence[dict[Any, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        cells = (record[column] for column in columns)
        writer.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return buffer.getvalue().rstrip("\n")


# -------------------------------------------------------------------------------------- for papers
def caption(board: Board) -> str:
    """Who judged what, in which orders: what a reader must know of the numbers."""
    return (
        f"Win rates (\\%) on {_tex(board.title)} against "
        f"{_tex(', '.join(board.settings.references))}, with half-widths of 95\\,\\% intervals. Judges: {_tex(', '.join(board.panel.names))}; "
        f"$n = {len(board.instructions)}$ instructions; orders: {board.settings.orders}."
    )


def latex(headers: Sequence[str], body: Sequence[Sequence[str]], text: str) -> str:
    """A booktabs table."""
    lines = ["\\begin{table}[t]", "\\centering", f"\\caption{{{text}}}"]
    lines.append(f"\\begin{{tabular}}{{{'l' * len(headers)}}}")
    lines += ["\\toprule", " & ".join(map(_tex, headers)) + " \\\\", "\\midrule"]
    lines += [" & ".join(map(_tex, row)) + " \\\\" for row in body]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}"])


_TEX = {
    "\\": "\\textbackslash{}", "±": "$\\pm$", "–": "--", "−": "$-$", "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}", **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)


# --------------------------------------------------------------------------- categories and items
def category_cells(board: Board, rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Win rate ± half-width by category, one row a category, one column a model."""
    names = sorted({i.category or "(none)" for i in board.instructions})
    columns = []
    for model in rows["model"]:
        if model in board.settings.references:
            columns.append(["50.0"] * len(names))
            continue
        items = row_items(board, Row(board.path / model).annotations(), board.instructions)
        rates = by_category(items[[*RATE_COLUMNS, "category"]])
        columns.append(
            [
                f"{100 * rates[n].value:.1f} ± {50 * (rates[n].high - rates[n].low):.1f}"
                if rates[n].n_judged
                else ""
                for n in names
            ]
        )
    counts = pd.Series([i.category or "(none)" for i in board.instructions]).value_counts()
    body = [[n, str(counts[n]), *(c[k] for c in columns)] for k, n in enumerate(names)]
    return ["category", "n", *rows["model"]], body


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
    """The instructions that a model lost most clearly, with both answers."""
    row = Row(board.path / model)
    if not row.annotations_file.is_file():
        raise UserError(f"no row {model!r} on board {board.name}")
    items = row_items(board, row.annotations(), board.instructions)
    outputs = row.outputs(allow_torn=True) if row.outputs_file.is_file() else {}
    parts = []
    lost = items.dropna(subset="preference").sort_values("preference", kind="stable").head(n)
    for item in lost.to_dict("records"):
        instruction = board.by_id[item["instruction_id"]]
        answer = outputs[instruction.id].text if instruction.id in outputs else "(not stored)"
        reference = board.references[item["reference"]][instruction.id].text
        parts.append(
            f"── {instruction.id}  {100 * item['preference']:.1f} % against {item['reference']}\n"
            f"{_indent('asked', instruction.text)}\n{_indent(model, answer)}\n"
            f"{_indent(item['reference'], reference)}"
        )
    return "\n\n".join(parts) or f"{model} has no judged instruction"


def _indent(who: str, text: str) -> str:
    # Answers are strangers' text: no control character of theirs reaches the terminal.
    clean = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text) or "(empty)"
    return f"{who}:\n" + "\n".join(f"    {line}" for line in clean.splitlines())


def published_block(path: Path, form: Format) -> str | None:
    """The rows that were published elsewhere: shown as they were, never ranked among ours."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        header, *body = list(csv.reader(file))
    shown = [[_rounded(cell) for cell in row] for row in body]
    return grid([name.replace("_", " ") for name in header], shown, form)


def _rounded(cell: str) -> str:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return cell if number.is_integer() else f"{number:.1f}"
