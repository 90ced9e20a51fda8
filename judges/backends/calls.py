"""Runs requests on servers, many at a time: on one event loop, on a thread of its own.

Whoever wants completions opens a `Calls`, sends requests into it and takes out what has come;
nothing else crosses the threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from queue import Empty, SimpleQueue
from typing import Literal, Protocol

from judges.backends.base import CallFailed, Completion, Failure, RemoteLLM, Reply, is_empty
from judges.backends.limiter import backoff
from judges.backends.loop import Runner
from judges.backends.runner import Call

TIMED_OUT = "no reply in time"
CUT_OFF = "the run ended before the reply"
EMPTY = "the reply was empty"
NOT_ASKED = "not asked, as the server failed"
_GROUP_S = 0.005
"""How long completions are gathered before they are stored together."""
_LOOK_S, _SILENT_S = 1.0, 10.0
"""How often a consumer that waits looks for what is wrong, and after how long silence is."""


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


class Calls:
    """The calls of one consumer to one model; leaving it, as a context manager, ends them as
    `Runner.leave` does: nothing more is sent, and what is under way is waited for.

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
        most_retries: int | None = None,
    ) -> None:
        """With `most_retries` a call is made again no oftener, however it fails."""
        self.runner = runner
        self.most_retries = most_retries
        self.llm = llm
        self.limiter = runner.limiter(server)
        self.gate: Gate = gate or Open()
        self.keep = keep
        self.window = 2 * runner.limits.max_in_flight
        self.inside = 0
        self._out: SimpleQueue[list[Call] | BaseException] = SimpleQueue()
        self._looked = time.monotonic()
        self._shown = ""
        # What follows belongs to the loop.
        self._pending: deque[Call] = deque()
        self._waiting: dict[Call, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived: list[Call] = []
        self._writing: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._stopped: Failure | None = None
        self._error: BaseException | None = None
        self._heard = 0.0
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
                come = self._next(block=wait and not taken)
                if isinstance(come, BaseException):
                    self._out.put(come)
                    if not taken:
                        raise come
                    break
                taken += come
        self.inside -= len(taken)
        return taken

    def _next(self, *, block: bool) -> list[Call] | BaseException:
        while True:
            if time.monotonic() - self._looked >= _LOOK_S:
                self._show(self.runner.run(self._trouble()))
                self._looked = time.monotonic()
            try:
                return self._out.get(block, timeout=_LOOK_S)
            except Empty:
                if not block:
                    raise

    def _show(self, trouble: str) -> None:
        if trouble != self._shown:
            self.runner.show(trouble)
        self._shown = trouble

    def close(self) -> None:
        """End the calls, and store what came of them."""
        if self in self.runner.streams:
            self.runner.leave([self])
            self._show("")

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:  # the calls of others end with these, and not behind them
            self.runner.leave(list(self.runner.streams))
        self.close()

    # --------------------------------------------------------------------------------- on the loop
    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        """The calls that were sent and have not ended."""
        return self._tasks

    async def stored(self) -> None:
        """All that has come is in the hands of `keep`."""
        while self._writing is not None:
            await self._writing

    async def _trouble(self) -> str:
        """Why replies fail to come, in a few words; nothing where they come."""
        again = [*self._waiting, *(call for call in self._pending if call.failed)]
        if again:
            reasons = Counter(call.failed for call in again).most_common()
            others = " and other reasons" if len(reasons) > 1 else ""
            furthest = max(again, key=lambda call: call.retries)
            due = min((timer.when() for timer in self._waiting.values()), default=0.0)
            wait = max(due - self.runner.loop.time(), self.limiter.wait_s)
            return (
                f"{len(again):,} to be tried again: {reasons[0][0]}{others}; try "
                f"{furthest.retries + 1} of {furthest.most_tries}"
                + (f" in {wait:.0f} s" if wait >= 1 else "")
            )
        silent = self.runner.loop.time() - self._heard
        if self._tasks and silent >= _SILENT_S:
            return (
                f"{len(self._tasks):,} under way, and no reply for {silent:.0f} s; a call is given "
                f"up after {self.runner.limits.timeout_s:.0f} s"
            )
        return ""

    def _receive(self, calls: Sequence[Call]) -> None:
        if self._error is not None:
            return
        self._pending.extend(calls)
        if self._stopped is not None:
            self.stop(self._stopped)
        self.pump()

    def pump(self) -> None:
        """Send what the server and the gate let through."""
        while self._pending and self.limiter.may_send():
            admitted = self.gate.admit(self._pending[0])
            if isinstance(admitted, Failure):
                self.stop(admitted)
            if admitted != "send":
                return
            call = self._pending.popleft()
            if not self._tasks:
                self._heard = self.runner.loop.time()
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
        except (TimeoutError, asyncio.CancelledError) as error:
            # The model may be writing still, and nobody will tell what it cost.
            is_late = isinstance(error, TimeoutError)
            failed = CallFailed(TIMED_OUT if is_late else CUT_OFF, retry=is_late)
            paid = Completion(text="")
        except CallFailed as error:
            failed, paid = error, error.paid
        finally:
            self._heard = self.runner.loop.time()
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
        limits, limiter, retries = self.runner.limits, self.limiter, self._retries(failed)
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
                for left in self._drop(Failure(NOT_ASKED)):
                    self._finish(left, Failure(left.failed or NOT_ASKED))
            return
        wait = backoff(call.retries)
        if failed.after is not None:
            wait = max(wait, failed.after + random.random() / 4)
        call.retries += 1
        call.failed, call.most_tries = failed.reason, retries + 1
        self._waiting[call] = self.runner.loop.call_later(wait, self._requeue, call)

    def _retries(self, failed: CallFailed) -> int:
        """How often a call that failed so is made again, at most."""
        retries = self.runner.limits.retries
        if failed.slow_down:
            retries *= 2
        elif failed.reason in (TIMED_OUT, EMPTY):
            retries = min(retries, max(1, retries // 4))
        return retries if self.most_retries is None else min(retries, self.most_retries)

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

    def stop(self, reason: Failure) -> None:
        """Send nothing more: what is not under way is answered with the reason."""
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
