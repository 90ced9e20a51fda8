"""`leaderboard judges`: which judges there are, what they need and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from judges.errors import UserError
from judges.panel_files import SLOT
from judges.reading import printable
from judges.registry import wanted_panel
from leaderboard.boards.board import Board, load_board
from leaderboard.commands.flags import shown
from leaderboard.display.judge_agreement import with_agreement
from leaderboard.display.judge_table import (
    JudgeLine,
    board_lines,
    line_record,
    overview,
    panel_lines,
    together,
)
from leaderboard.display.table import DATA, Format, data, emit, tex
from leaderboard.judging.controls import unjudged_controls


@dataclass(frozen=True)
class Judges:
    """Which judges are there, what do they need, and what do they cost?

    Without a panel or a board: every kind of judge, and every panel that comes along. Nothing is
    asked of a model or a server.
    """

    panel: Annotated[str | None, shown("PANEL|JUDGE")] = None
    """The judges of this panel: a packaged one, a panel file, or one judge like
    pairwise/openai/NAME."""
    board: Annotated[str | None, shown("BOARD")] = None
    """The judges of this board."""
    judge_model: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("[SLOT=]MODEL")] = ()
    """With --panel: a model for what it leaves open; repeatable."""
    format: Annotated[Format, shown("table|markdown|csv|json|latex")] = "table"
    """CSV and JSON leave empty what is not known."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in, and the reports of `agree` in agreement/."""

    def run(self) -> int:
        if self.panel and self.board:
            raise UserError("give --panel or --board, not both")
        if self.judge_model and not self.panel:
            raise UserError("--judge-model goes with --panel")
        if not self.panel and not self.board:
            print(_overview(self.format))
            return 0
        if self.board:
            board = load_board(self.board, self.results)
            lines, assign = board_lines(board), board.panel.assign
            of = f"as long as the references of {self.board}"
            on_top = _on_top(board)
        else:
            assert self.panel is not None
            lines = panel_lines(self.panel, self.judge_model)
            assign = wanted_panel(self.panel)[0].get("assign", "all")
            on_top = "a board's controls and its checks for drift come on top"
            of = "of 240 characters asked and 1,800 answered, in both orders"
        lines = with_agreement(lines, self.results)
        if self.format in DATA:
            print(data([line_record(line) for line in lines], self.format))
        else:
            price = together(lines, assign)
            print(describe(lines, self.format, of, price, on_top))
        return 0


def describe(
    lines: Sequence[JudgeLine], form: Format, of: str, price: float | None, on_top: str
) -> str:
    """The judges as a table; `of` says for which comparisons the prices are, `price` is that of the
    panel, and `on_top` what is judged beside a model's answers."""
    headers = [
        "judge", "model", "all there", "$ per 1,000", "log-probs", "context", "ends", "agreement",
    ]  # fmt: skip
    body = [
        [
            line.judge,
            line.model + " (floating)" * bool(line.is_alias),
            "yes" if not line.missing else f"no: {', '.join(_missing(line))}",
            "unknown" if line.usd_per_1000 is None else f"{line.usd_per_1000:.2f}",
            _yes(line.logprobs) if line.model else "",
            _context(line),
            "" if line.shutdown is None else line.shutdown.isoformat(),
            "not measured" if line.agreement is None else f"{100 * line.agreement:.1f}",
        ]
        for line in lines
    ]
    told = "is not known" if price is None else f"costs about ${price:.2f}"
    note = f"$ per 1,000 comparisons {of}, where a judge sees all of them; the panel {told}"
    elsewhere = [
        f"price of {line.judge} not known: served at {line.host}, not at the provider"
        for line in lines
        if line.host and line.usd_per_1000 is None
    ]
    if form == "latex":
        return emit(headers, body, form, tex(f"{note}."))
    return f"{emit(headers, body, form, '')}\n\n" + printable("\n".join([note, on_top, *elsewhere]))


def _missing(line: JudgeLine) -> Sequence[str]:
    """What is not there; of a model that is left open, the flag that names it."""
    return line.needs if SLOT.fullmatch(line.model) else line.missing


def _on_top(board: Board) -> str:
    """The comparisons that a board asks for beside those of its rows."""
    if board.is_recorded:
        return "its verdicts are recorded: nothing comes on top"
    n = sum(len(comparisons) for _, comparisons in unjudged_controls(board))
    return (
        f"the controls that are left come on top, once ({n} comparisons), and the check for drift "
        f"before a new row ({board.settings.drift})"
    )


def _overview(form: Format) -> str:
    records = overview()
    if form in DATA:
        return data(records, form)
    rows = [
        [r["what"], r["name"], r["is"], f"no: {r['missing']}" if r["missing"] else "yes"]
        for r in records
    ]
    kinds = [[r["name"], r["is"], r["needs"]] for r in records if r["what"] == "kind"]
    models, panels = ([row[1:] for row in rows if row[0] == what] for what in ("model", "panel"))
    parts = [
        emit(["kind", "written as", "needs"], kinds, form, "Kinds of judges."),
        emit(["model", "is", "all there"], models, form, "How models are written."),
        emit(["panel", "is", "all there"], panels, form, "Panels that come with Herdbook."),
    ]
    if form == "table":
        parts.append(
            "The judges of a panel or a board, with prices: leaderboard judges --panel NAME, "
            "--board NAME"
        )
    return "\n\n".join(parts)


def _context(line: JudgeLine) -> str:
    if line.context is None:
        return "unknown" if line.model else ""
    return f"{line.context:,}"


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]
