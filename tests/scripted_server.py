"""A server in this process whose behaviour a test writes, and a loop whose time does not pass.

On the loop of `Jumping` nobody waits: when nothing is left to do but to wait, the clock jumps to
the moment that is waited for.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from judges.backends.base import CallFailed, Completion, Request, Sampling, ServerFacts
from judges.schema import Message

Said = str | Completion | Exception
"""A reply's text, a whole reply, or what goes wrong."""


def request(name: object, text: str | None = None, **sampling: object) -> Request:
    """A request that is like no other, unless it is given another's text."""
    content = f"Say {name}" if text is None else text
    return Request(
        id=str(name), messages=(Message("user", content),), sampling=Sampling(**sampling)
    )


def busy(after: float | None = None) -> CallFailed:
    return CallFailed("too many requests (429)", retry=True, after=after, slow_down=True)


def broken(after: float | None = None) -> CallFailed:
    return CallFailed("server error (500)", retry=True, after=after)


@dataclass
class Server:
    """A RemoteLLM. `behave` is given the request, how often it was asked before, and how many calls
    are under way with it; a call takes `latency` seconds."""

    behave: Callable[[Request, int, int], Said] = lambda request, before, in_flight: (
        f"to {request.id}"
    )
    latency: float | Callable[[Request], float] = 0.2
    asked: Counter[str] = field(default_factory=Counter)
    log: list[tuple[float, str, int]] = field(default_factory=list)
    """When, what, and how many calls were under way with it."""
    in_flight: int = 0
    cancelled: int = 0
    is_closed: bool = False

    async def complete(self, request: Request) -> Completion:
        self.in_flight += 1
        before = self.asked[request.id]
        self.asked[request.id] += 1
        self.log.append((asyncio.get_running_loop().time(), request.id, self.in_flight))
        try:
            said = self.behave(request, before, self.in_flight)
            latency = self.latency(request) if callable(self.latency) else self.latency
            await asyncio.sleep(latency)
            if isinstance(said, Exception):
                raise said
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if isinstance(said, Completion):
            return said
        return Completion(text=said, input_tokens=100, output_tokens=10, served="model-1")

    async def describe(self) -> ServerFacts:
        return ServerFacts(served="model-1")

    async def close(self) -> None:
        self.is_closed = True

    @property
    def most_in_flight(self) -> int:
        return max(in_flight for _, _, in_flight in self.log)


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait for a time, only for what other threads do."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        found = super().select(0)
        if not found and timeout > 0:
            self.now += timeout
        return found


class Jumping(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now
