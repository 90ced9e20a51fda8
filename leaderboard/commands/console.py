"""What every command shares: notes and progress on the terminal, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tqdm import tqdm

from leaderboard.table import printable
from leaderboard.watch import T, Watch


class Console(Watch):
    """Notes and progress bars go to standard error, results to standard output.

    Without a terminal there are no bars; what happens in an instant never gets one.
    """

    def note(self, text: str) -> None:
        print(printable(text), file=sys.stderr)

    def track(self, items: Iterable[T], total: int, what: str) -> Iterable[T]:
        return tqdm(items, total=total, desc=what, disable=None, delay=0.5, file=sys.stderr)
