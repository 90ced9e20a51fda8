"""Runs requests on servers, many at a time: on one event loop, on a thread of its own.

Whoever wants completions opens a `Calls`, sends requests into it and takes out what has come;
nothing else crosses the threads.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import random
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol, TypeVar

from judges.backends.base import CallFailed, Completion, Failure, RemoteLLM, Reply
from judges.backends.limiter import Limiter, Limits, backoff
from judges.backends.runner import Call

T = TypeVar("T")

TIMED_OUT = "no reply in time"
EMPTY = "the reply was empty"
_GROUP_S = 0.005
"""How long completions are gathered before they are stored together."""


class Gate(Protocol):
    """Asked before each call and told when it has ended, both on the event loop."""

    def admit(self, call: Call) -> Literal["send", "wait"] | Failure:
        """What waits is asked about again when some call has ended. A failure is final: this
        request and all that are not under way are answered with it."""
        ...

    def ended(self, call: Call, completion: Completion | None) -> Completion | None:
        """An admitted call has ended; gives what is charged for as it is to be handed on."""
        ...


class Open:
    """The gate that lets everything through."""

    def admit(self, call: Call) -> Literal["send", "wait"] | Failure:
        """Always `send`."""
        return "send"

    def ended(self, call: Call, completion: Completion | None) -> Completion | None:
        """The completion as it is."""
        return completion


class Runner:
    """An event loop on a thread of its own, and what is known of the servers that are called."""

    def __init__(
        self,
        limits: Limits,
        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        self.limits = limits
        self.loop = (new_loop or asyncio.new_event_loop)()
        self.writer = ThreadPoolExecutor(1, "herdbook-writer")
        self.streams: set[Calls] = set()
        self._limiters: dict[Hashable, Limiter] = {}
        self._thread = threading.Thread(target=self._run, name="herdbook-calls", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # else what is left open would wait for a thread that is gone

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

    def close(self) -> None:
        """Cancel what is under way, store what has come, and end the thread."""
        atexit.unregister(self.close)
        if not self._thread.is_alive():
            return
        for stream in list(self.streams):
            stream.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.writer.shutdown()


class Calls:
    """The calls of one consumer to one model; leaving it, as a context manager, cancels the rest.

    Each request that is sent comes out as one Call, in any order, after `keep` was given it on a
    thread of its own. At most `window` are inside at once, so that a slow consumer holds back the
    sending. A UserError of a call, and any fault, comes out of `take`, behind all that was under
    way when it came.
    """

    def __init__(
        self,
        runner: Runner,
        llm: RemoteLLM,
        server: Hashable,
        *,
        gate: Gate | None = None,
        keep: Callable[[list[Call]], None] | None = None,
    ) -> None:
        self.runner = runner
        self.llm = llm
        self.limiter = runner.limiter(server)
        self.gate: Gate = gate or Open()
        self.keep = keep
        self.window = 2 * runner.limits.max_in_flight
        self.inside = 0
        self._out: SimpleQueue[list[Call] | BaseException] = SimpleQueue()
        # What follows belongs to the loop.
        self._pending: deque[Call] = deque()
        self._waiting: dict[Call, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived: list[Call] = []
        self._writing: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._stopped: Failure | None = None
        self._error: BaseException | None = None
        runner.streams.add(self)

    # ------------------------------------------------------------------- on the consumer's thread
    @property
    def room(self) -> int:
        """How many more requests may be sent before some are taken out."""
        return self.window - self.inside

    def send(self, calls: Sequence[Call]) -> None:
        """Have these requests answered, as soon as the server bears it."""
        self.inside += len(calls)
        self.runner.loop.call_soon_threadsafe(self._receive, calls)

    def take(self, *, wait: bool) -> list[Call]:
        """All that has come; with `wait` at least one."""
        taken: list[Call] = []
        with contextlib.suppress(Empty):
            while True:
                come = self._out.get(block=wait and not taken)
                if isinstance(come, BaseException):
                    self._out.put(come)
                    if not taken:
                        raise come
                    break
                taken += come
        self.inside -= len(taken)
        return taken

    def close(self) -> None:
        """Cancel what is under way, and store what has come."""
        if self in self.runner.streams:
            self.runner.run(self._close())

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --------------------------------------------------------------------------------- on the loop
    async def _close(self) -> None:
        self.runner.streams.discard(self)
        self._drop(Failure("cancelled"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._writing is not None:
            await self._writing
        self.runner.pump()

    def _receive(self, calls: Sequence[Call]) -> None:
        if self._error is not None:
            return
        self._pending.extend(calls)
        if self._stopped is not None:
            self._stop(self._stopped)
        self.pump()

    def pump(self) -> None:
        """Send what the server and the gate let through."""
        while self._pending and self.limiter.may_send():
            admitted = self.gate.admit(self._pending[0])
            if isinstance(admitted, Failure):
                self._stop(admitted)
            if admitted != "send":
                return
            call = self._pending.popleft()
            task = self.runner.loop.create_task(self._call(call, self.limiter.begin()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        if self._pending and self._alarm is None and self.limiter.wait_s > 0:
            self._alarm = self.runner.loop.call_later(self.limiter.wait_s, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self.pump()

    async def _call(self, call: Call, cuts: int) -> None:
        """One attempt, of which limiter and gate are told however it ends."""
        paid: Completion | None = None
        failed: CallFailed | None = None
        try:
            async with asyncio.timeout(self.runner.limits.timeout_s):
                paid = await self.llm.complete(call.request)
        except TimeoutError:
            # The model may be writing still, and nobody will tell what it cost.
            failed, paid = CallFailed(TIMED_OUT, retry=True), Completion(text="")
        except CallFailed as error:
            failed, paid = error, error.paid
        finally:
            paid = self.gate.ended(call, paid)
            if paid is None and failed is None:
                self.limiter.cancelled()
        if paid is not None:
            call.paid.append(paid)
            if failed is None and is_empty(paid):
                failed = CallFailed(EMPTY, retry=True)
        if failed is not None:
            self._again(call, failed, cuts)
        elif paid is not None:
            self.limiter.succeeded()
            self._finish(call, paid)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        self._tell_error()
        self.runner.pump()

    def _again(self, call: Call, failed: CallFailed, cuts: int) -> None:
        """Make the call again later, or give the request up, and with it perhaps the server."""
        limits, limiter = self.runner.limits, self.limiter
        retries = limits.retries
        if failed.slow_down:
            retries *= 2
        elif failed.reason in (TIMED_OUT, EMPTY):
            retries = min(retries, max(1, retries // 4))
        is_soon = failed.after is None or failed.after <= limits.longest_wait_s
        if failed.retry:
            limiter.failed(
                cuts,
                slow_down=failed.slow_down,
                after=failed.after if is_soon and failed.slow_down else None,
                patience=retries if is_soon else 0,
            )
        else:
            limiter.cancelled()
        is_last = call.retries >= retries or not is_soon or not failed.retry
        if is_last and failed.retry and is_soon and not (self._waiting or self._pending):
            limiter.exhausted(retries)
        if is_last or limiter.is_given_up or self._stopped is not None:
            self._finish(call, Failure(failed.reason))
            if limiter.is_given_up:
                self._stop(Failure(failed.reason))
            return
        wait = backoff(call.retries)
        if failed.after is not None:
            wait = max(wait, failed.after + random.random() / 4)
        call.retries += 1
        self._waiting[call] = self.runner.loop.call_later(wait, self._requeue, call)

    def _requeue(self, call: Call) -> None:
        del self._waiting[call]
        self._pending.appendleft(call)
        self.pump()

    def _drop(self, reason: Failure) -> list[Call]:
        """Send nothing more. Gives the calls that were not under way."""
        self._stopped = self._stopped or reason
        for timer in (*self._waiting.values(), *filter(None, [self._alarm])):
            timer.cancel()
        left = [*self._waiting, *self._pending]
        for call in left:
            call.retries = max(0, call.retries - 1)  # the last of them is not made
        self._waiting.clear()
        self._pending.clear()
        return left

    def _stop(self, reason: Failure) -> None:
        for call in self._drop(reason):
            self._finish(call, reason)

    def _fail(self, error: BaseException) -> None:
        self._drop(Failure("stopped"))
        self._error = self._error or error

    def _tell_error(self) -> None:
        """Hand the error out once everything that was under way has been handed out."""
        if self._error is not None and not self._tasks and self._writing is None:
            self._out.put(self._error)

    def _finish(self, call: Call, reply: Reply) -> None:
        call.reply = reply
        self._arrived.append(call)
        if self._writing is None:
            self._writing = self.runner.loop.create_task(self._write())

    async def _write(self) -> None:
        """Store what has come, and hand it out after that."""
        try:
            while self._arrived:
                await asyncio.sleep(_GROUP_S)
                group, self._arrived = self._arrived, []
                if self.keep is not None:
                    await self.runner.loop.run_in_executor(self.runner.writer, self.keep, group)
                self._out.put(group)
        except Exception as error:  # noqa: BLE001  (it is raised where the results are awaited)
            self._fail(error)
        finally:
            self._writing = None
            self._tell_error()


def is_empty(completion: Completion) -> bool:
    """Whether a server that said all was well sent nothing at all. A model that ends its turn at
    once has written a token for it."""
    return not (
        completion.text
        or completion.reasoning
        or completion.output_tokens
        or completion.finish_reason != "stop"
    )
