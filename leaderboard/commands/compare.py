"""`leaderboard compare`: rows of a board, or files of answers; which is better, and how sure?"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.calling.caller import Caller
from judges.errors import UserError
from leaderboard.boards.board import Board, load_board
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.comparing.comparison import compare_pairs, pairs_of, refuse_references
from leaderboard.comparing.file_comparison import compare_files, find_panel
from leaderboard.comparing.head_to_head import HeadToHead, board_strengths, head_to_head
from leaderboard.display.comparison_table import (
    difference_records,
    differences_text,
    meetings_text,
    paper,
    paragraph,
    ratings_text,
)
from leaderboard.display.dry_run import describe_dry_run, meeting_estimates
from leaderboard.display.table import DATA, Format, data
from leaderboard.judging.estimate import spent
from leaderboard.judging.judging import open_caller
from leaderboard.judging.preflight import check_local
from leaderboard.rows.standings import standings
from leaderboard.user_files import SUFFIXES

_GOES_ON = "; the same command with a higher --max-cost goes on"


@dataclass(frozen=True)
class Compare:
    """Compare rows of a board on the same instructions, from their stored verdicts. With --direct
    their answers are judged against each other; with --panel those of answers files are, and no
    board is needed."""

    board: Annotated[str, tyro.conf.Positional, shown("BOARD|FILE")]
    """The board's name; with --panel an answers file."""
    names: Annotated[tuple[str, ...], tyro.conf.Positional, shown("ROW…|FILE…")]
    """Rows, all that are ranked if none is named, with --direct the references too; with --panel
    answers files."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    baseline: Annotated[str | None, shown("ROW|FILE")] = None
    """Compare all with this one only, not each with each."""
    by: Annotated[Literal["category"] | None, shown("category")] = None
    """Compare within each category."""
    direct: Annotated[bool, shown("")] = False
    """Put the rows' answers before the board's judges, pair by pair; the verdicts are stored."""
    panel: Annotated[str | None, shown("PANEL|JUDGE")] = None
    """Who judges answers files: a packaged panel, a panel file, or a judge like heuristic/longest.
    Nothing is stored."""
    judge_model: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("[SLOT=]MODEL")] = ()
    """The models of a panel that leaves them open; repeatable."""
    max_cost: Annotated[float | None, shown("USD")] = None
    """With --direct or --panel: stop when so much is spent; what was paid for is kept."""
    dry_run: Annotated[bool, shown("")] = False
    """With --direct: print the calls that this run would make, and their cost, and ask nothing."""
    strengths: Annotated[bool, shown("")] = False
    """Print the Bradley–Terry strengths alone: by all verdicts that a board has stored, or with
    --direct or --panel by those on the models named."""
    format: Annotated[Format, shown("table|markdown|csv|json|latex")] = "table"
    """Tables, Markdown and LaTeX hold points and percent, CSV and JSON fractions in full."""

    def run(self) -> Literal[0, 4]:
        with ExitStack() as stack:
            text, caller = self.text(stack)
            print(text)
            if caller is not None and (caller.n_calls or caller.stopped):
                print(spent(caller, _GOES_ON), file=sys.stderr)
            return 4 if caller is not None and caller.stopped else 0

    def text(self, stack: ExitStack) -> tuple[str, Caller | None]:
        """What is printed, and what has called models for it, if anything has; it is closed with
        the stack."""
        meets = self.direct or self.panel is not None
        if (meets or self.strengths) and self.by:
            raise UserError("--by is for verdicts against the board's references")
        if self.dry_run and not self.direct:
            raise UserError("--dry-run goes with --direct")
        if self.direct and self.panel is not None:
            raise UserError("give --direct or --panel: rows of a board, or answers files")
        if self.panel is not None:
            watch = Console()
            calling = Caller.default(
                max_cost_usd=self.max_cost, tell=watch.note, show=watch.waiting
            )
            caller = stack.enter_context(calling)
            return self.files(self.panel, caller), caller
        if Path(self.board).suffix.lower() in SUFFIXES:
            raise UserError(f"{self.board}: say who judges answers files: --panel PANEL|JUDGE")
        if self.strengths and (self.names or self.baseline) and not self.direct:
            raise UserError("--strengths takes no rows, but with --direct or --panel")
        board = load_board(self.board, self.results)
        judges = f"on {board.title}, judged by {board.panel.called}"
        if self.direct:
            caller = stack.enter_context(open_caller(board, self.max_cost, watch=Console()))
            if self.dry_run:
                asked = meeting_estimates(board, self.names, self.baseline, caller)
                return describe_dry_run(asked), caller
            found = head_to_head(board, self.names, Console(), self.baseline, caller)
            return self.meetings(found, judges), caller
        if self.strengths:
            return ratings_text(board_strengths(board), judges, self.format), None
        return self.differences(board), None

    def files(self, panel: str, caller: Caller) -> str:
        """Answers files against each other."""
        baseline = None if self.baseline is None else Path(self.baseline)
        if baseline is not None and baseline.suffix.lower() not in SUFFIXES:
            raise UserError(f"--baseline {baseline}: with --panel it is an answers file")
        files = [Path(name) for name in (self.board, *self.names)]
        judges = find_panel(panel, self.judge_model)
        check_local(judges.judges)
        found = compare_files(files, judges, Console(), baseline, caller)
        return self.meetings(found, f"judged by {panel}")

    def meetings(self, found: HeadToHead, judges: str) -> str:
        if self.strengths and found.strengths is not None:
            return ratings_text(found.strengths, judges, self.format)
        return meetings_text(found, judges, self.format)

    def differences(self, board: Board) -> str:
        """Rows by their stored verdicts against the references."""
        table = standings(board)
        named = [*self.names, *([self.baseline] if self.baseline is not None else [])]
        refuse_references(board, named)
        pairs = pairs_of(table, self.names, self.baseline)
        categories = [i.category or "(none)" for i in board.instructions] if self.by else None
        made = compare_pairs(table, pairs, categories)
        if self.format in DATA:
            return data(difference_records(made), self.format)
        if self.format == "latex":
            # Of two rows the second is what the first is compared with.
            second = self.names[1] if len(self.names) == 2 else None
            return paper(board, table, self.names, self.baseline or second, made)
        if len(made) == 1 and self.format == "table" and not self.by:
            return paragraph(board, table, made[0])
        return differences_text(board, table, made, self.format)
