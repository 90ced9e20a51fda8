"""How a long run tells what it does, without printing: only the command line prints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class Watch:
    """Told of what happens in a run; this one keeps silent, and the command line has another."""

    def note(self, text: str) -> None:
        """A line for the user."""

    def waiting(self, text: str) -> None:
        """What keeps a run from going on; an empty text when nothing does any more."""

    def track(self, items: Iterable[T], total: int, what: str) -> Iterable[T]:
        """The items, counted while they come."""
        return items


SILENT = Watch()
