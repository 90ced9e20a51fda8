"""A board as a table, in the formats that people paste: text, Markdown, CSV, JSON, LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from tabulate import tabulate

from judges.errors import UserError
from judges.reading import printable
from leaderboard.boards.board import Board
from leaderboard.display import markdown
from leaderboard.display.card import rank_range
from leaderboard.rows.columns import LENGTH_CONTROLLED, board_columns, column_absent
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import excluded, told
from leaderboard.rows.standings import COLUMNS, Standings, safe_cell
from leaderboard.rows.summary import RATE_COLUMNS, row_items
from leaderboard.statistics.winrate import WinRate, by_category, reference_win_rate

Format = Literal["table", "markdown", "csv", "json", "latex"]
DATA: tuple[Format, ...] = ("csv", "json")
Records = list[dict[Any, Any]]
SHOWN = ("rank", "model", "win_rate", "discrete_win_rate", "mean_characters", "judged", "status")
"""The columns of a table unless others are asked for."""

_HEADERS = {
    "win_rate": "win rate",
    "discrete_win_rate": "discrete",
    "mean_characters": "characters",
    "tie_group": "group of ties",
    "standard_error": "SE",
    "bounds": "if missing lost / won",
    "lc_joint": "lc_joint",
    "lc_alpaca_eval": "lc_alpaca_eval",
}
_NUMBERS = re.compile(r"[-+−±–.,/$%<†*\d\s\[\]…]*")
CHOICES = tuple(dict.fromkeys([*SHOWN, "judged", "bounds", *COLUMNS]))
GUARDED = "nearly all answers are the same text, so that length control may not raise the win rate"


def select(table: Standings, models: Sequence[str]) -> pd.DataFrame:
    """The rows of these models, ranks as on the whole board; all where none is named."""
    known = list(table.frame["model"])
    if unknown := [name for name in models if name not in known]:
        raise UserError(f"no row {unknown[0]!r}; the board has: {', '.join(known)}")
    return table.frame[table.frame["model"].isin(models)] if models else table.frame


def chosen_columns(columns: Sequence[str], form: Format) -> list[str]:
    """The columns to print, by their names or headings; raises UserError for one that there is
    not."""
    names = {_heading(name): name for name in CHOICES}
    chosen = [names.get(name, name) for name in columns or (COLUMNS if form in DATA else SHOWN)]
    if unknown := [name for name in chosen if name not in CHOICES]:
        raise UserError(f"no column {unknown[0]!r}; known: {', '.join(CHOICES)}")
    return chosen


def _heading(name: str) -> str:
    return _HEADERS.get(name, name.replace("_", " "))


def usual_columns(board: Board) -> list[str]:
    """What is shown unless other columns are asked for: the one that ranks comes first."""
    headline = board.settings.headline
    figures = [c for c in ("win_rate", *board_columns(board)) if c != headline]
    at = SHOWN.index("win_rate")
    return [*SHOWN[:at], headline, *figures, *SHOWN[at + 1 :]]


def absent_columns(board: Board, columns: Sequence[str]) -> str:
    """Why the board lacks a length-controlled column, one line each: lc_joint, that every board
    with one reference can have, the published recipe where verdicts were imported, and whatever
    `columns` asks for."""
    wanted = {"lc_joint", *columns} | ({"lc_alpaca_eval"} if board.is_recorded else set())
    reasons = {c: column_absent(board, c) for c in LENGTH_CONTROLLED if c in wanted}
    return "\n".join(f"no {column}: {why}" for column, why in reasons.items() if why)


def _cell(board: Board, record: pd.Series, name: str) -> str:
    if name in LENGTH_CONTROLLED and column_absent(board, name):
        return "not calibrated" if name == "lc_joint" else "absent"
    return display(record, name)


def render(
    board: Board, rows: pd.DataFrame, columns: Sequence[str], form: Format, more: Sequence[str] = ()
) -> str:
    """The rows as text. CSV and JSON hold fractions in full, the others percent as displayed.

    `more` are columns of texts that `rows` has beside those of a board, shown behind them. Raises
    UserError for a column that there is not.
    """
    if form in DATA:
        return data(row_records(rows, columns), form)
    chosen = [*chosen_columns(columns or usual_columns(board), form), *more]
    body = [[_cell(board, record, name) for name in chosen] for _, record in rows.iterrows()]
    headers = [_heading(name) for name in chosen]
    guarded = _guarded(board, rows) if "lc_joint" in chosen else []
    kin = dict(zip(rows["model"], rows["self_judging"], strict=True)) if "model" in chosen else {}
    for cells, model in zip(body, rows["model"], strict=True):
        marked = {"lc_joint": "*" * (model in guarded), "model": " ‡" * bool(kin.get(model))}
        for column in {*marked} & {*chosen}:
            cells[chosen.index(column)] += marked[column]
    notes = {"*": f"{', '.join(guarded)}: {GUARDED}"} if guarded else {}
    if named := ", ".join(f"{model} ({judges})" for model, judges in kin.items() if judges):
        rule = told(board.settings.self_judging)
        notes["‡"] = f"a judge of its own or of its family: {named}; {rule}"
    if form == "latex":
        below = "".join(f" {tex(mark)}~{tex(note)}." for mark, note in notes.items())
        return emit(headers, body, form, caption(board) + below)
    # Without the empty line a note would be a row of a Markdown table.
    write = markdown.paragraph if form == "markdown" else printable
    said = [write(f"{mark} {note}") for mark, note in notes.items()]
    return "\n\n".join([emit(headers, body, form, ""), *said])


def _guarded(board: Board, rows: pd.DataFrame) -> list[str]:
    """The rows whose lc_joint the guard against constant answers holds down, as their summaries
    say."""
    if column_absent(board, "lc_joint"):
        return []
    summaries = {str(model): Row(board.path / model).summary() for model in rows["model"]}
    columns = {model: of["columns"] for model, of in summaries.items() if of is not None}
    return [m for m, of in columns.items() if of.get("lc_joint", {}).get("is_constant_guarded")]


def emit(headers: Sequence[str], body: Sequence[Sequence[str]], form: Format, text: str) -> str:
    """A text, Markdown or LaTeX table of formatted cells; `text` is the LaTeX caption."""
    return latex(headers, body, text) if form == "latex" else grid(headers, body, form)


def grid(headers: Sequence[str], body: Sequence[Sequence[str]], form: Format) -> str:
    """A plain or Markdown table of cells that are formatted already."""
    align = ["right" if numeric else "left" for numeric in _numeric(headers, body)]
    write = markdown.cell if form == "markdown" else printable
    headers = [write(header) for header in headers]
    body = [[write(cell).replace("\n", " ") for cell in row] for row in body]
    style = "github" if form == "markdown" else "simple"
    return tabulate(body, headers, tablefmt=style, colalign=align, disable_numparse=True)


def _numeric(headers: Sequence[str], body: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns hold numbers only."""
    columns = list(zip(*body, strict=True)) or [()] * len(headers)
    return [all(_NUMBERS.fullmatch(cell) for cell in column) for column in columns]


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
        return _rate(value, record["low"], record["high"])
    if name in LENGTH_CONTROLLED:
        return _rate(value, record[f"{name}_low"], record[f"{name}_high"])
    if name.rpartition("_")[0] in LENGTH_CONTROLLED or name in (
        "standard_error",
        "low",
        "high",
        "discrete_win_rate",
        "bound_low",
        "bound_high",
    ):
        return f"{100 * value:.1f}"
    return f"{value:.0f}" if isinstance(value, int | float) else str(value)


def _rate(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} ± {50 * (high - low):.1f}"


def _ends(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


# ------------------------------------------------------------------------------------ for programs
def row_records(rows: pd.DataFrame, columns: Sequence[str]) -> Records:
    """The rows with their figures in full; raises UserError for a column that there is not."""
    parts = {"judged": ["n_judged", "n_items"], "bounds": ["bound_low", "bound_high"]}
    names = [part for name in chosen_columns(columns, "json") for part in parts.get(name, [name])]
    return rows[list(dict.fromkeys(names))].to_dict("records")


def category_records(board: Board, rows: pd.DataFrame) -> Records:
    """One record a category and model: category, model, n_items, n_judged, win_rate, low, high."""
    rates = _category_rates(board, rows)
    return [
        {
            "category": category,
            "model": model,
            "n_items": rate.n_items,
            "n_judged": rate.n_judged,
            "win_rate": rate.value,
            "low": rate.low,
            "high": rate.high,
        }
        for category in _categories(board)
        for model, of in rates.items()
        for rate in [of[category]]
    ]


def data(records: Records, form: Format) -> str:
    """Records as JSON or CSV; what is missing is null, or an empty cell."""
    whole = [
        {key: None if not isinstance(v, str) and pd.isna(v) else v for key, v in record.items()}
        for record in records
    ]
    if form == "json":
        return json.dumps(whole, indent=2, ensure_ascii=False, default=lambda number: number.item())
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(whole[0]) if whole else [], lineterminator="\n")
    writer.writeheader()
    for record in whole:
        safe = {k: safe_cell(v) if isinstance(v, str) else v for k, v in record.items()}
        writer.writerow(safe)
    return buffer.getvalue().rstrip("\n")


# -------------------------------------------------------------------------------------- for papers
def caption(board: Board) -> str:
    """Who judged what, in which orders: what a reader must know of the numbers."""
    references = tex(" and ".join(board.settings.references))
    sees_order = any(judge.sees_order for judge in board.panel.judges)
    orders = f"; orders: {board.settings.orders}" if sees_order else ""
    return (
        f"Win rates (\\%) on {tex(board.title)} against {references}, "
        "with 95\\,\\% intervals; $\\pm$: half their width. "
        f"Judges: {tex(board.panel.called)}; "
        f"$n = {len(board.instructions)}$ instructions{orders}."
    )


def latex(
    headers: Sequence[str], body: Sequence[Sequence[str]], text: str, bold: Collection[int] = ()
) -> str:
    """A booktabs table; `bold` are the numbers of the rows in bold type."""
    align = "".join("r" if numeric else "l" for numeric in _numeric(headers, body))
    lines = ["\\begin{table}[t]", "\\centering", f"\\caption{{{text}}}"]
    lines += [f"\\begin{{tabular}}{{{align}}}", "\\toprule"]
    lines += [" & ".join(map(tex, headers)) + " \\\\", "\\midrule"]
    cells = [[tex(cell) for cell in row] for row in body]
    for n in bold:
        cells[n] = [f"\\textbf{{{cell}}}" for cell in cells[n]]
    lines += [" & ".join(row) + " \\\\" for row in cells]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}"])


_TEX = {
    "\\": "\\textbackslash{}", "±": "$\\pm$", "–": "--", "−": "$-$", "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
    "[": "{[}", "]": "{]}", "†": "\\dag{}", "‡": "\\ddag{}", "\n": " ",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}  # fmt: skip


def tex(text: str) -> str:
    """A text that LaTeX prints as it stands, wherever in a table it does."""
    return "".join(_TEX.get(character, character) for character in printable(text))


# ------------------------------------------------------------------- categories, published rows
def _categories(board: Board) -> list[str]:
    return sorted({i.category or "(none)" for i in board.instructions})


def _category_rates(board: Board, rows: pd.DataFrame) -> dict[str, dict[str, WinRate]]:
    """Model → category → win rate."""
    counts = Counter(i.category or "(none)" for i in board.instructions)
    rates = {}
    for model in rows["model"]:
        if model in board.settings.references:
            rates[model] = {name: reference_win_rate(count) for name, count in counts.items()}
            continue
        row = Row(board.path / model)
        items = row_items(
            board, row.annotations(), board.instructions, without=excluded(board, row)
        )
        rates[model] = by_category(items[[*RATE_COLUMNS, "category"]])
    return rates


def category_cells(board: Board, rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Win rate and the ends of its interval by category, one row a category, one column a model.

    With a category's few instructions an interval is seldom as wide below as above.
    """
    rates = _category_rates(board, rows)
    counts = Counter(i.category or "(none)" for i in board.instructions)
    body = []
    for name in _categories(board):
        found = [of[name] for of in rates.values()]
        cells = [_ends(r.value, r.low, r.high) if r.n_judged else "" for r in found]
        body.append([name, str(counts[name]), *cells])
    return ["category", "n", *rates], body


def read_published(path: Path) -> list[list[str]]:
    """The cells of a published.csv, the header first, every row as long as it; none without a file.

    Raises UserError where the file is no CSV in UTF-8.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [row for row in csv.reader(file) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV file ({error})") from None
    width = len(lines[0]) if lines else 0
    return [(row + [""] * width)[:width] for row in lines]


def published_block(path: Path, form: Format, models: Collection[str] = ()) -> str | None:
    """The rows that were published elsewhere, of these models if any are named: shown as they were,
    never ranked among ours. Raises UserError as `read_published`."""
    rows = read_published(path)
    body = [list(map(_rounded, row)) for row in rows[1:] if not models or row[0] in models]
    if not body:
        return None
    # Headers on several lines keep a wide table narrow; Markdown has no such thing.
    headers = [name.replace("_", " " if form == "markdown" else "\n") for name in rows[0]]
    return grid(headers, body, form)


def _rounded(cell: str) -> str:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return f"{number:.0f}" if number.is_integer() and "." not in cell else f"{number:.1f}"
