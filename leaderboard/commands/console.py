"""What every command shares: notes and progress on the terminal, on standard error."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial

from tqdm import tqdm

from judges.reading import printable
from leaderboard.watch import T, Watch

SECONDS_BETWEEN_LINES = 15.0


class Console(Watch):
    """Notes and progress go to standard error, results to standard output.

    A terminal gets a bar, a log file a line now and then; what is done in an instant gets neither.
    """

    def note(self, text: str) -> None:
        print(printable(text), file=sys.stderr)

    def track(self, items: Iterable[T], total: int, what: str) -> Iterable[T]:
        if not sys.stderr.isatty():
            return self._lines(items, total, what)
        # Asked for here, as tqdm shows nothing on a terminal that does not tell its size.
        width, height = shutil.get_terminal_size()
        bar = partial(tqdm, file=sys.stderr, delay=0.5, ncols=min(width, 100), nrows=height)
        return bar(items, total=total, desc=what)

    def _lines(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        begin = last = time.monotonic()
        for done, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_LINES:
                left = (now - begin) / done * (total - done)
                self.note(f"{what}: {done}/{total}, about {left:.0f} s left")
                last = now
