"""Has requests answered by providers' batch services, and takes each result once.

A request stands in one batch at most, by its key in the cache, and leaves it in one step with the
completion's way into the cache: whatever was killed, and whoever else asks for the same, what is
under way is waited for and not sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from judges.backends.base import (
    CallFailed,
    Completion,
    Failure,
    RemoteLLM,
    Reply,
    Request,
    is_empty,
)
from judges.backends.batches import NO_RESULT, Progress, batch_service
from judges.backends.calls import EMPTY
from judges.backends.remote import NotThere
from judges.backends.runner import Call
from judges.backends.spec import ModelSpec
from judges.calling.budget import Budget, BudgetGate
from judges.calling.handover import ASK_S, Handover, Pace, Work, read
from judges.calling.stores import Stores, Task
from judges.errors import UserError
from judges.storage.ledger import Batch

Singly = Callable[[ModelSpec, Sequence[Request], Task], Iterator[tuple[Request, Reply]]]

_CHUNK = 1024
"""Requests that are looked up in the cache together."""
_GROUP = 256
"""Results that are stored together."""
_KEPT_DAYS = 29
"""Providers keep results so long at least."""


class Batches:
    """The batches that one Caller hands over and waits for."""

    def __init__(
        self,
        stores: Stores,
        budget: Budget,
        pace: Pace,
        tell: Callable[[str], None],
        *,
        remote: Callable[[ModelSpec], RemoteLLM],
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        singly: Singly | None,
    ) -> None:
        """`tell` is told how far the batches are; `remote` gives a model's client, and `run` runs
        something on the loop of all calls. With `singly` nothing is handed over: it answers what
        stands in no batch, by single calls."""
        if stores.batch_store is None:
            raise ValueError("batches need a batch_store")
        self._stores = stores
        self._store = stores.batch_store
        self._budget = budget
        self._pace = pace
        self._tell = tell
        self._remote = remote
        self._singly = singly
        self._told: dict[str, str] = {}
        self._handover = Handover(self._store, stores.stored, run, pace, tell)

    def submit(self, wanted: Iterable[tuple[ModelSpec, Task, Sequence[Request]]]) -> None:
        """Hand over what is neither in the cache nor in a batch; all of it, or, where the budget
        does not hold what it can cost, nothing."""
        works = []
        for spec, task, requests in wanted:
            by_key = dict(zip(self._stores.keys(spec, requests), requests, strict=True))
            found = self._stores.stored(list(by_key))
            left = {key: of for key, of in by_key.items() if key not in found}
            if left:
                works.append(self._work(spec, task, left))
        self._handover.submit(works)

    def complete(
        self, spec: ModelSpec, requests: Iterator[Request], task: Task
    ) -> Iterator[tuple[Request, Reply]]:
        """As `Caller.complete`. Where nothing is handed over, those requests alone are
        waited for that are in a batch already."""
        asked: dict[str, list[Request]] = {}
        while chunk := list(islice(requests, _CHUNK)):
            keys = self._stores.keys(spec, chunk)
            found = self._stores.look_up(keys)
            for key, request in zip(keys, chunk, strict=True):
                if key in found:
                    yield request, found[key]
                else:
                    asked.setdefault(key, []).append(request)
        if self._singly is not None:
            held = self._store.holding(list(asked))
            single = [of for key in asked if key not in held for of in asked[key]]
            yield from self._singly(spec, single, task)
            asked = {key: equal for key, equal in asked.items() if key in held}
        if not asked:
            return
        single = []
        work = self._work(spec, task, {key: equal[0] for key, equal in asked.items()})
        for key, reply in self._wait(work):
            if reply is None:
                single += asked[key]
                continue
            for request in asked[key]:
                yield request, reply
        if self._singly is not None:
            yield from self._singly(spec, single, task)

    def _work(self, spec: ModelSpec, task: Task, requests: Mapping[str, Request]) -> Work:
        def keep(calls: Sequence[Call]) -> None:
            self._stores.keep(spec, task, calls, batch=True)

        gate = BudgetGate(self._budget, spec, self._stores.prices, batch=True)
        return Work(spec, batch_service(self._remote(spec)), gate, requests, keep)

    def _wait(self, work: Work) -> Iterator[tuple[str, Reply | None]]:
        """What came of each request, by key, once it is stored.

        Those that are in no batch are handed over, or come with None where nothing is. An interrupt leaves the batches to their providers. Raises UserError for what no
        retry can mend, behind all that was completed.
        """
        waiting, wait = dict(work.requests), self._pace.first_s
        submit = self._singly is None
        try:
            while waiting:
                held = self._store.holding(list(waiting))
                free = [key for key in waiting if key not in held]
                known = self._stores.look_up(free)
                for key in free if not submit else known:
                    del waiting[key]
                    self._handover.settle(work, [key], [])
                    yield key, known.get(key)
                if left := {key: waiting[key] for key in free if key in waiting}:
                    self._handover.submit([replace(work, requests=left)])
                    continue
                before = len(waiting)
                for id in dict.fromkeys(held.values()):
                    wanted = [key for key in waiting if held.get(key) == id]
                    for key, reply in self._advance(id, work, wanted):
                        del waiting[key]
                        yield key, reply
                if len(waiting) == before:
                    self._pace.sleep(wait)
                    wait = min(1.5 * wait, self._pace.longest_s)
        except KeyboardInterrupt:
            self._tell("the provider goes on with the batch; the same command takes its results")
            raise

    def _advance(self, id: str, work: Work, keys: Sequence[str]) -> Iterator[tuple[str, Reply]]:
        """Ask how far a batch is; where it has ended, take the results of these requests."""
        batch = self._store.get(id)
        if batch is None or batch.state not in ("intent", "open"):
            return  # another process was faster
        try:
            if batch.state == "intent":
                self._handover.resolve(batch, work)
                return
            progress = self._handover.ask(work.service.progress(batch.remote), ASK_S)
            self._say(batch, progress)
            if progress.state == "running":
                self._handover.failures = 0
                return
            results = {}
            if progress.state == "ended":
                results = self._handover.ask(work.service.results(batch.remote), ASK_S)
        except NotThere as error:
            self._gone(batch, work, error)
            return
        except CallFailed as error:
            self._handover.failed(work, error)
            return
        self._handover.failures = 0
        if progress.state == "refused":
            self._store.end(batch.id, "failed", "open")
            raise UserError(
                f"{work.spec.spec}: batch {batch.remote} was refused: {progress.complaint}"
            )
        if not work.service.keeps_names and results and results.keys().isdisjoint(keys):
            self._store.mistaken(batch.id)
            return
        yield from self._take(batch, work, keys, results)

    def _take(
        self, batch: Batch, work: Work, keys: Sequence[str], results: Mapping[str, Any]
    ) -> Iterator[tuple[str, Reply]]:
        """Store the results of requests and give them out."""
        error: UserError | None = None
        for start in range(0, len(keys), _GROUP):
            group = keys[start : start + _GROUP]
            calls = []
            for key in group:
                request, outcome = work.requests[key], _outcome(work, results, key)
                if isinstance(outcome, UserError):
                    error = error or outcome
                    continue
                call = Call(request, key, outcome)
                if isinstance(outcome, Completion):
                    call.paid.append(outcome)
                    call.reply = Failure(EMPTY) if is_empty(outcome) else outcome
                calls.append(call)
            with self._store.settling(batch.id, group) as ours:
                paid = [call for call in calls if call.key in ours]
                work.keep(paid)
            self._store.finish(batch.id)
            self._handover.settle(work, group, paid)
            for call in calls:
                assert call.reply is not None
                yield call.key, call.reply
        if error is not None:
            raise error

    def _gone(self, batch: Batch, work: Work, error: NotThere) -> None:
        """The provider does not know a batch: its results were kept for a month, or the key is
        another account's."""
        if batch.state == "intent" or self._pace.now() - read(batch.created) < _KEPT_DAYS * 86_400:
            raise UserError(
                f"{error}. Batch {batch.remote or 'of ours'} was handed over at {batch.created}: is "
                f"the key in {work.spec.key_variable} of the same account as it was then?"
            ) from None
        self._store.end(batch.id, "lost", "open")

    def _say(self, batch: Batch, progress: Progress) -> None:
        said = f"{progress.done:,} of {progress.total or batch.requests:,} done"
        if self._told.get(batch.id) != said:
            self._told[batch.id] = said
            self._tell(f"batch {batch.remote}: {said}")


def _outcome(work: Work, results: Mapping[str, Any], key: str) -> Reply | UserError:
    if key not in results:
        return Failure(NO_RESULT)
    outcome = work.service.reply(results[key], work.requests[key])
    return work.gate.priced(outcome) if isinstance(outcome, Completion) else outcome
