"""`leaderboard compare`: two rows of a board, from their stored verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from leaderboard.boards import load_board
from leaderboard.commands.flags import shown
from leaderboard.comparison import compare


@dataclass(frozen=True)
class Compare:
    """Two rows of a board on the same instructions: which is better, and how sure is it?"""

    board: Annotated[str, tyro.conf.Positional, shown("BOARD")]
    """The board's name."""
    a: Annotated[str, tyro.conf.Positional, shown("A")]
    """A row."""
    b: Annotated[str, tyro.conf.Positional, shown("B")]
    """The row it is compared with."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""

    def run(self) -> int:
        pair = compare(self.a, self.b, board=load_board(self.board, self.results))
        said = "can be told apart" if pair.is_separable else "cannot be told apart"
        print(
            f"{pair.a} - {pair.b} on {self.board}: {100 * pair.difference:+.1f} points "
            f"(95 % interval {100 * pair.low:+.1f} to {100 * pair.high:+.1f})\n"
            f"  {pair.n} instructions: {pair.n_wins} better, {pair.n_ties} equal, "
            f"{pair.n_losses} worse\n"
            f"  p = {pair.p_value:.3g} alone, {pair.p_holm:.3g} among all pairs of the board: {said}"
        )
        return 0
