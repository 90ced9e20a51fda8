"""The event loop that all calls to servers are made on, and how they are ended."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from judges.backends.base import Failure, RemoteLLM
from judges.backends.limiter import Limiter, Limits

if TYPE_CHECKING:
    from judges.backends.calls import Calls

T = TypeVar("T")

_PATIENCE_S = 30.0
"""How long calls under way are waited for when a run ends, at most."""


class Runner:
    """An event loop on a thread of its own, and what is known of the servers that are called."""

    def __init__(
        self,
        limits: Limits,
        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
        *,
        tell: Callable[[str], None] = lambda text: None,
        show: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`tell` is given lines for the user; `show` what keeps replies from coming, whenever that
        changes, and an empty text when nothing does. Both are called on the consumers' thread."""
        self.limits = limits
        self.tell = tell
        self.show = show
        self.loop = (new_loop or asyncio.new_event_loop)()
        self.writer = ThreadPoolExecutor(1, "herdbook-writer")
        self.streams: set[Calls] = set()
        self._patience_s = min(limits.timeout_s, _PATIENCE_S)
        self._limiters: dict[Hashable, Limiter] = {}
        self._thread = threading.Thread(target=self._run, name="herdbook-calls", daemon=True)
        self._thread.start()
        # Else what is left open would wait for a thread that is gone.
        atexit.register(self._abandon)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    def limiter(self, server: Hashable) -> Limiter:
        """The one limiter of this server."""
        if server not in self._limiters:
            self._limiters[server] = Limiter(self.limits, self.loop.time)
        return self._limiters[server]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def pump(self) -> None:
        """Send what may be sent now; called on the loop whenever that may have changed."""
        for stream in list(self.streams):
            stream.pump()

    # ---------------------------------------------------------------------------------- at the end
    def leave(self, streams: Sequence[Calls]) -> None:
        """Send nothing more of these, wait for what is under way, as it is paid for, store what
        comes, and cut off what does not come in half a minute. An interrupt on the way cuts
        everything off at once."""
        try:
            n = self.run(_stopped(streams))
            if n and self._patience_s:
                self.tell(
                    f"waiting for {n:,} {'reply that is' if n == 1 else 'replies that are'} on "
                    f"their way, {self._patience_s:.0f} s at most; a second Ctrl-C leaves at once"
                )
                self.run(_ended(streams, self._patience_s))
        except BaseException:
            self._patience_s = 0.0
            raise
        finally:
            if n_cut := self.run(_cut_off(streams)):
                self.tell(
                    f"{n_cut:,} {'call was' if n_cut == 1 else 'calls were'} sent and not answered:"
                    " the server may charge for that, and the ledger knows no cost"
                )
            self.loop.call_soon_threadsafe(self.pump)

    def close(self, clients: Iterable[RemoteLLM] = ()) -> None:
        """End all calls as `leave` does, then the clients, and the thread."""
        atexit.unregister(self._abandon)
        if not self._thread.is_alive():
            return
        try:
            self.leave(list(self.streams))
        finally:
            for client in clients:
                self.run(client.close())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.writer.shutdown()

    def _abandon(self) -> None:
        """Close it without waiting for replies."""
        self._patience_s = 0.0
        self.close()


async def _stopped(streams: Sequence[Calls]) -> int:
    """How many calls are under way, now that no more are sent."""
    for stream in streams:
        stream.runner.streams.discard(stream)
        stream.stop(Failure("cancelled"))
    return sum(len(stream.under_way) for stream in streams)


async def _ended(streams: Sequence[Calls], seconds: float) -> None:
    if tasks := [task for stream in streams for task in stream.under_way]:
        await asyncio.wait(tasks, timeout=seconds)


async def _cut_off(streams: Sequence[Calls]) -> int:
    """How many calls had to be cut off; what has come is stored then."""
    tasks = [task for stream in streams for task in stream.under_way]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for stream in streams:
        await stream.stored()
    return len(tasks)
