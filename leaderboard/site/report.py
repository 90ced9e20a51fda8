"""A board as one HTML file: gathers what there is to know of it, and hands it to `site.render`.

The same files of a board make the same bytes. No text of an instruction or an answer is in it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from judges.errors import UserError
from judges.records import write_atomic
from leaderboard import __version__
from leaderboard.boards.board import Board
from leaderboard.comparing.head_to_head import (
    Duel,
    answers_of,
    board_strengths,
    duels_of,
    stored_items,
    stored_pairs,
)
from leaderboard.comparing.planning import board_resolution
from leaderboard.display.panel_report import panel_report
from leaderboard.display.panel_tables import Cells, panel_notes, panel_tables
from leaderboard.display.table import category_records, read_published
from leaderboard.judging.controls import control_results, describe_controls
from leaderboard.rows.results import Row
from leaderboard.rows.seed_groups import seed_groups
from leaderboard.rows.self_judging import told
from leaderboard.rows.standings import Standings, standings
from leaderboard.site.methods import (
    bibliography,
    board_hash,
    length_columns,
    methods_paragraph,
)
from leaderboard.site.render import Group, Missing, Report, page
from leaderboard.statistics.bradley_terry import BradleyTerry

SUFFIXES = (".html", ".htm")
NAME = "report.html"
"""The report in its board's folder."""
MARK = '<meta name="generator" content="Herdbook '
"""What tells a report of ours, which can be written anew, from any other file."""
ORDERS = {"both": "both", "random": "one, at random", "fixed": "the reference first"}
LONGEST = 200
"""Characters of a setting or a reason that are shown."""


def board_report(board: Board) -> str:
    """The report of a board as HTML, from what is stored. Nothing is judged or written."""
    table = standings(board)
    controls = control_results(board)
    settings = board.settings
    duels, strengths = meetings(board, table)
    judge_tables, judge_notes = judges_compared(board, table)
    return page(
        Report(
            title=board.title,
            name=board.name,
            note=settings.note,
            private=is_private(board),
            references=settings.references,
            judges={j.name: _shown(j.identity()) for j in board.panel.judges},
            n_instructions=len(board.instructions),
            orders=_orders(board),
            date=last_change(board),
            version=__version__,
            board_hash=board_hash(board),
            frame=table.frame,
            headline=settings.headline,
            length_columns=length_columns(table.frame),
            models=table.models,
            pairs=table.ranking_pairs,
            resolution=board_resolution(table),
            guarded=constant_rows(board, table),
            self_judging=told(settings.self_judging),
            categories=[] if is_private(board) else category_records(board, table.frame),
            duels=duels,
            strengths=strengths,
            published=published_figures(board.path / "published.csv"),
            groups=training_seeds(table),
            judge_tables=judge_tables,
            judge_notes=judge_notes,
            controls=controls,
            controls_absent="" if controls else describe_controls(board, controls),
            left_out=_left_out(board, table),
            missing=missing_verdicts(board, table),
            settings=_shown(
                {
                    "title": settings.title,
                    "references": ", ".join(settings.references),
                    "headline": settings.headline,
                    "orders": settings.orders,
                    "aggregate of the votes": board.panel.aggregate,
                    "min_votes": settings.min_votes,
                    "self_judging": settings.self_judging,
                    "seed": settings.seed,
                    **{f"generation.{k}": v for k, v in asdict(settings.generation).items()},
                }
            ),
            hashes={**board.hashes, "all of these": board_hash(board)},
            methods=methods_paragraph(board, table, controls),
            bibliography=bibliography(board, table),
        )
    )


def write_report(board: Board, path: Path) -> None:
    """Write the report of a board to an HTML file.

    Raises UserError for a name that is no HTML file's, a folder that is not there, and a file that
    is there and is no report of ours.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {path}: the report is an HTML file; give a name that ends in .html")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UserError(f"--out {path}: this is a folder; name a file in it")
    if path.exists() and not _is_report(path):
        raise UserError(f"--out {path}: a file that is no report is there; choose another name")
    write_atomic(path, board_report(board))


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(2000)


def _left_out(board: Board, table: Standings) -> dict[str, str]:
    """Why rows are in no table; on a private board not in the words of a complaint, which can quote
    the row's files."""
    known = ("partial:", "answers only", "judged on a board")
    return {
        name: _without_paths(why, board)
        if why.startswith(known) or not is_private(board)
        else "its files cannot be read"
        for name, why in table.left_out.items()
    }


def is_private(board: Board) -> bool:
    """Whether any of the board's instructions is private."""
    return any(instruction.visibility == "private" for instruction in board.instructions)


def last_change(board: Board) -> str:
    """The day (UTC) on which the board or the verdicts of a row were last changed."""
    files = [
        board.path / "board.toml",
        *board.path.glob("*/annotations.jsonl"),
        *board.path.glob("*/model.toml"),
        *board.path.glob("controls/*/annotations.jsonl"),
    ]
    newest = max(file.stat().st_mtime for file in files if file.is_file())
    return datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%d")


def missing_verdicts(board: Board, table: Standings) -> list[Missing]:
    """The rows of the table with missing verdicts; on a private board without the reasons, in which
    a judge may have quoted what it was shown."""
    private = is_private(board)
    found = []
    for record in table.frame.to_dict("records"):
        if record["status"] == "reference" or record["n_judged"] == record["n_items"]:
            continue
        summary = Row(board.path / record["model"]).summary() or {}
        verdicts = summary.get("verdicts", {})
        why = "; ".join(f"{error}: {n}" for error, n in verdicts.get("errors", {}).items())
        found.append(
            Missing(
                model=record["model"],
                n=record["n_items"] - record["n_judged"],
                n_verdicts=record["n_items"],
                why="" if private else _cut(why or "no verdict is stored"),
                bound_low=record["bound_low"],
                bound_high=record["bound_high"],
            )
        )
    return found


def constant_rows(board: Board, table: Standings) -> Collection[str]:
    """The rows whose lc_joint is their win rate, because their answers are mostly one text."""
    found = []
    for name in table.frame.loc[table.frame["status"] != "reference", "model"]:
        summary = Row(board.path / name).summary() or {}
        if summary.get("columns", {}).get("lc_joint", {}).get("is_constant_guarded") is True:
            found.append(name)
    return found


def meetings(board: Board, table: Standings) -> tuple[Sequence[Duel], BradleyTerry | None]:
    """How rows and references fared that met each other, as it is stored, and the strengths that
    follow. Nothing is judged; verdicts of another panel or on other texts do not count."""
    known = {}
    for pair in stored_pairs(board, {*table.models, *board.settings.references}):
        try:
            answers = {name: answers_of(board, name) for name in pair}
            items = stored_items(board, pair, answers)
        except UserError:  # answers that are no longer there
            continue
        if items["preference"].notna().any():
            known[pair] = items
    try:
        strengths = board_strengths(board) if known or len(board.references) > 1 else None
    except UserError:
        strengths = None
    return duels_of(list(known), known), strengths


def published_figures(path: Path) -> list[list[str]]:
    """The cells of published.csv, the header first: numbers with one decimal, texts cut.

    Raises UserError where the file is no CSV in UTF-8.
    """
    header, *body = read_published(path) or [[]]
    named = [_cut(name.replace("_", " ")) for name in header]
    return [named, *([_figure(cell) for cell in row] for row in body)] if named else []


def _figure(cell: str) -> str:
    """A cell with at most one decimal, where it is a number."""
    try:
        return _cut(cell) if "." not in cell else f"{float(cell):.1f}"
    except ValueError:
        return _cut(cell)


def judges_compared(board: Board, table: Standings) -> tuple[list[Cells], list[str]]:
    """The tables of a board's judges and what they come to; empty where a single judge sees no order,
    or nothing is ranked."""
    judges = board.panel.judges
    ranked = set(table.models) - set(board.settings.references)
    if not ranked or (len(judges) == 1 and not judges[0].sees_order):
        return [], []
    found = panel_report(board, table)
    return panel_tables(found), panel_notes(found)


def training_seeds(table: Standings) -> list[Group]:
    """The groups of rows that differ in their training seed, best first."""
    return [
        Group(
            name=group["group"],
            models=group["models"],
            n_seeds=group["n_seeds"],
            mean=group["mean"],
            **{key: _known(group[key]) for key in ("low", "high", "seed_sd")},
        )
        for group in seed_groups(table)
    ]


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _orders(board: Board) -> str:
    if any(judge.sees_order for judge in board.panel.judges):
        return ORDERS[board.settings.orders]
    return "not recorded" if board.is_recorded else "none is seen"


def _shown(table: Mapping[str, Any]) -> dict[str, str]:
    """Settings as texts; those that are not given are left out, and a long one is cut."""
    return {key: _cut(str(value)) for key, value in table.items() if value not in (None, "")}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def _without_paths(why: str, board: Board) -> str:
    """A reason without the folder that the boards lie in: a report travels."""
    return _cut(
        why.replace(f"{board.path.parent}/", "").replace(f"{board.path.resolve().parent}/", "")
    )
