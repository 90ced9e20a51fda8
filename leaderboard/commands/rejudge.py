"""`leaderboard rejudge`: a board's stored answers under another panel."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from judges.errors import UserError
from leaderboard.boards import load_board
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.create import Recipe
from leaderboard.rejudging import Crosswalk, rejudge
from leaderboard.table import grid


@dataclass(frozen=True)
class Rejudge:
    """Judge all rows of a board by another panel, on a new board, and print both side by side."""

    board: Annotated[str, tyro.conf.Positional, shown("BOARD")]
    """The board whose answers are judged anew; it stays as it is."""
    panel: Annotated[str | None, shown("NAME_OR_FILE")] = None
    """The new panel: a packaged one or a panel file."""
    judge: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("JUDGE")] = ()
    """A judge, in place of --panel; repeatable."""
    judge_model: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("[SLOT=]MODEL")] = ()
    """The models of a panel that leaves them open; repeatable."""
    name: Annotated[str | None, shown("NAME")] = None
    """The new board's name, if not BOARD-rejudged."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    max_cost: Annotated[float | None, shown("USD")] = None
    """Stop when so much is spent; what was paid for is kept."""

    def run(self) -> int:
        if not self.panel and not self.judge:
            raise UserError("say who judges now: --panel PANEL, or --judge JUDGE")
        recipe = Recipe(
            name=self.name or f"{self.board}-rejudged",
            source=self.board,
            judges=self.judge,
            panel=self.panel,
            judge_models=self.judge_model,
        )
        done = rejudge(recipe, self.results, max_cost=self.max_cost, watch=Console())
        old = load_board(self.board, self.results)
        if done.crosswalk is not None:
            judges = [", ".join(b.panel.names) for b in (old, done.board)]
            print(f"{old.name} judged by {judges[0]}; {done.board.name} by {judges[1]}")
            print(describe_crosswalk(done.crosswalk))
        if done.stopped:
            print("stopped at the budget; the same command goes on from there", file=sys.stderr)
            return 4
        return 3 if done.crosswalk is None or done.crosswalk.left_out else 0


def describe_crosswalk(found: Crosswalk) -> str:
    """The rows by their new figures beside the old ones, and how alike the two rankings are."""
    body = [
        [
            row["model"],
            f"{row['old_rank']} → {row['new_rank']}",
            f"{100 * row['old']:.1f}",
            f"{100 * row['new']:.1f}",
            f"{100 * row['change']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]",
        ]
        for row in found.frame.to_dict("records")
    ]
    lines = [grid(["model", "rank", "old", "new", "change"], body, "table")]
    if (rank := found.correlation) is None:
        lines.append("rank correlation: none, it takes three models that differ")
    else:
        lines.append(
            f"rank correlation (Spearman): {rank.spearman:.2f} [{rank.low:.2f}, {rank.high:.2f}] "
            f"over {rank.n_models} models; the interval is over instructions, for these models"
        )
    if found.left_out:
        lines.append(f"not ranked on the new board: {', '.join(found.left_out)}")
    return "\n".join(lines)
