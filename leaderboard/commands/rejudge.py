"""`leaderboard rejudge`: a board's stored answers under another panel."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from judges.reading import printable
from leaderboard.boards.board import load_board
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.curation.create import Recipe
from leaderboard.display.dry_run import describe_dry_run
from leaderboard.display.table import grid
from leaderboard.judging.estimate import spent
from leaderboard.judging.judging import open_caller
from leaderboard.rejudging import Crosswalk, rejudge, rejudge_estimates


@dataclass(frozen=True)
class Rejudge:
    """Judge all rows of a board by another panel, on a new board, and print both side by side."""

    board: Annotated[str, tyro.conf.Positional, shown("BOARD")]
    """The board whose answers are judged anew; it stays as it is."""
    panel: Annotated[str | None, shown("PANEL|JUDGE")] = None
    """The new panel: a packaged one, a panel file, or one judge. Without it and --judge the board's
    own judges are asked again, to see them as they are today."""
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
    dry_run: Annotated[bool, shown("")] = False
    """Print the calls that this run would make, and their cost, and ask nothing."""

    def run(self) -> int:
        recipe = Recipe(
            name=self.name or f"{self.board}-rejudged",
            source=self.board,
            judges=self.judge,
            panel=self.panel,
            judge_models=self.judge_model,
        )
        old = load_board(self.board, self.results)
        with open_caller(old, self.max_cost, watch=Console()) as caller:
            if self.dry_run:
                print(describe_dry_run(rejudge_estimates(recipe, self.results, caller)))
                return 0
            try:
                done = rejudge(recipe, self.results, watch=Console(), caller=caller)
            finally:
                if caller.n_calls:
                    print(spent(caller), file=sys.stderr)
        if done.crosswalk is not None:
            print(f"old: {old.name}, judged by {old.panel.called}")
            print(f"new: {done.board.name}, judged by {done.board.panel.called}")
            print(describe_crosswalk(done.crosswalk))
        for name, reason in done.left_out.items():
            print(printable(f"not compared: {name}: {reason}"))
        return done.exit_code


def _change(row: Mapping[Hashable, Any]) -> str:
    return f"{100 * row['change']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"


def describe_crosswalk(found: Crosswalk) -> str:
    """The rows by their new win rates beside the old ones, and how alike the two rankings are."""
    body = [
        [
            row["model"] + " (reference)" * row["is_reference"],
            f"{row['old_rank']} → {row['new_rank']}",
            f"{100 * row['old']:.1f}",
            f"{100 * row['new']:.1f}",
            "by definition" if row["is_reference"] else _change(row),
        ]
        for row in found.frame.to_dict("records")
    ]
    lines = [grid(["model", "rank", "old win rate", "new", "change"], body, "table")]
    if (rank := found.correlation) is None:
        lines.append("rank correlation: none, it takes three models, not all of them equal")
    else:
        lines.append(
            f"rank correlation (Spearman): {rank.spearman:.2f} [{rank.low:.2f}, {rank.high:.2f}] "
            f"over {rank.n_models} models; the interval is over instructions, for these models"
        )
    return "\n".join(lines)
