"""What every command shares: notes and progress on the terminal, on standard error."""

from __future__ import annotations

import shutil
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from judges.reading import printable
from leaderboard.watch import T, Watch

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Console(Watch):
    """Notes and progress go to standard error, results to standard output.

    A terminal gets a bar, a log file a line now and then; what is done in an instant gets neither.
    """

    _bar: ClassVar[Callable[[], tqdm[Any] | None]] = lambda: None
    """The bar on the terminal, which is one for all Consoles, while it is there."""
    _last_waiting: ClassVar[float] = -SECONDS_BETWEEN_LINES

    def note(self, text: str) -> None:
        from tqdm import tqdm

        tqdm.write(printable(text), file=sys.stderr)  # above a bar, and not into it

    def waiting(self, text: str) -> None:
        bar, now = Console._bar(), time.monotonic()
        if bar is not None and not bar.disable:
            bar.set_postfix_str(printable(text))
        elif text and now - Console._last_waiting >= SECONDS_BETWEEN_LINES:
            self.note(text)
            Console._last_waiting = now

    def track(self, items: Iterable[T], total: int, what: str) -> Iterable[T]:
        if not sys.stderr.isatty():
            return self._lines(items, total, what)
        from tqdm import tqdm

        # Asked for here, as tqdm shows nothing on a terminal that does not tell its size.
        width, height = shutil.get_terminal_size()
        width = min(width, 120)
        bar = tqdm(items, what, total, file=sys.stderr, delay=0.5, ncols=width, nrows=height)
        Console._bar = weakref.ref(bar)
        return bar

    def _lines(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        begin = last = time.monotonic()
        for done, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_LINES:
                left = (now - begin) / done * (total - done)
                self.note(f"{what}: {done}/{total}, about {left:.0f} s left")
                last = now
