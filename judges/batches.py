"""Has requests answered by a provider's batch service, and pays for none of them twice.

Before anything is sent, a batch with the keys of its requests stands in the database; a key stands
in one batch at most, and leaves it in one step with the completion's way into the cache. So a
process that is killed at any moment, and any other beside it, finds what is under way and waits for
that. Where it was killed between sending and learning the provider's name for the batch, the
provider is asked what it has; only when the time has passed in which the batch can still get there,
its requests are sent again.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from judges.backends.base import CallFailed, Completion, Failure, Reply, Request
from judges.backends.batches import MAX_BYTES, MAX_REQUESTS, NO_RESULT, BatchService, Progress
from judges.backends.calls import EMPTY, TIMED_OUT, is_empty
from judges.backends.limiter import backoff
from judges.backends.remote import NotThere
from judges.backends.runner import Call
from judges.backends.spec import ModelSpec
from judges.budget import Budget, BudgetGate
from judges.errors import UserError
from judges.ledger import Batch, BatchStore

T = TypeVar("T")

_GROUP = 256
"""Results that are stored together."""
_HAND_OVER_S, _BYTES_A_SECOND = 60.0, 200_000
"""How long handing a batch over may take, whatever its size, and how fast it travels at least."""
_SLACK_S = 60.0
"""By which clocks may differ, and what was sent may be late."""
_ASK_S = 300.0
"""How long a question about a batch, or the way of its results, may take."""
_KEPT_DAYS = 29
"""Providers keep results so long at least."""
_ATTEMPTS = 6
"""To hand a batch over."""
_PATIENCE = 20
"""So many questions in a row may go without an answer."""


class TooDear(UserError):
    """A batch may cost more than is left of the budget."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Pace:
    """How often providers are asked how far they are: at first, and at last, in seconds."""

    first_s: float = 5.0
    longest_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Work:
    """Requests to one model, by their keys in the cache, none of them in the cache."""

    spec: ModelSpec
    service: BatchService
    gate: BudgetGate
    requests: Mapping[str, Request]
    keep: Callable[[Sequence[Call]], None]
    """Stores what has come, and writes down what it cost."""


class Batches:
    """The batches that one Caller hands over and waits for."""

    def __init__(
        self,
        store: BatchStore,
        look_up: Callable[[Sequence[str]], Mapping[str, Completion]],
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        pace: Pace,
        tell: Callable[[str], None],
    ) -> None:
        """`look_up` gives what is in the cache, by key; `run` runs something on the loop of all
        calls; `tell` is told how far the batches are."""
        self.store = store
        self._look_up = look_up
        self._run = run
        self._pace = pace
        self._tell = tell
        self._told: dict[str, str] = {}
        self._most_usd: dict[str, float] = {}  # by key, of requests whose results are to come
        self._failures = 0  # questions in a row that went without an answer

    # -------------------------------------------------------------------------------- handing over
    def submit(self, works: Sequence[Work]) -> None:
        """Hand over all requests that are in no batch yet, if the budget holds the most that they
        can cost; else none of them. Raises UserError where a provider does not take them."""
        parts: list[tuple[Work, dict[str, bytes]]] = []
        most: dict[str, float] = {}
        for work in works:
            held = self.store.holding(list(work.requests))
            most |= {key: work.gate.most(request) for key, request in work.requests.items()}
            new = {
                key: work.service.line(key, request)
                for key, request in work.requests.items()
                if key not in held
            }
            parts += [(work, part) for part in _parts(new)]
        if parts:
            self._run(self._reserve(works[0].gate.budget, most))
        for work, part in parts:
            self._hand_over(work, part)

    async def _reserve(self, budget: Budget, most: Mapping[str, float]) -> None:
        more = {key: usd for key, usd in most.items() if key not in self._most_usd}
        usd = sum(more.values())
        if usd > budget.left_usd:
            raise TooDear(
                f"the batches can cost up to ${usd:,.2f}, and the budget still holds "
                f"${max(0.0, budget.left_usd):,.2f}. A batch cannot be stopped half-way, so that "
                "nothing was handed over: raise --max-cost, or leave --batch out"
            )
        self._most_usd |= more
        budget.batched_usd += usd

    def _hand_over(self, work: Work, lines: Mapping[str, bytes]) -> None:
        begin = self._pace.now()
        until = begin + _HAND_OVER_S + sum(map(len, lines.values())) / _BYTES_A_SECOND
        batch = Batch(
            id=uuid.uuid4().hex,
            provider=work.spec.provider,
            url=work.spec.url or "",
            model=work.spec.name,
            requests=len(lines),
            created=_written(begin),
            until=_written(until),
        )
        keys = self.store.claim(batch, list(lines))
        # What another process took out of its batch a moment ago is in the cache since then.
        if known := set(self._look_up(sorted(keys))):
            with self.store.settling(batch.id, list(known)):
                keys -= known
        if not keys:
            self.store.end(batch.id, "dropped", "intent")
            return
        self.store.sized(batch.id, len(keys))
        ours = [line for key, line in lines.items() if key in keys]
        is_unsure = False
        try:
            prepared = self._insist(lambda: work.service.prepare(ours), until, lambda e: e.retry)
            is_unsure = True
            remote = self._insist(
                lambda: work.service.create(prepared, batch.id), until, lambda e: e.slow_down
            )
        except CallFailed as error:
            if is_unsure and error.retry and not error.slow_down:
                # It may have got there all the same: `_resolve` finds out.
                self._failed(work, error)
                self._tell(f"handing over a batch: {error.reason}; asking what became of it")
                return
            self.store.end(batch.id, "dropped", "intent")
            raise self._complaint(work, error) from None
        except UserError:
            self.store.end(batch.id, "dropped", "intent")
            raise
        self._failures = 0
        self.store.opened(batch.id, remote, for_certain=True)
        self._tell(f"batch {remote}: {len(keys):,} requests handed to {work.spec.provider}")

    # ------------------------------------------------------------------------------------- waiting
    def complete(self, work: Work, *, submit: bool) -> Iterator[tuple[str, Reply | None]]:
        """What came of each request, by key, once it is stored.

        With `submit` those that are in no batch are handed over; else they come with None. An
        interrupt leaves the batches to their providers. Raises UserError for what no retry can
        mend, behind all that was completed.
        """
        waiting, wait = dict(work.requests), self._pace.first_s
        try:
            while waiting:
                held = self.store.holding(list(waiting))
                free = [key for key in waiting if key not in held]
                known = self._look_up(free)
                for key in free if not submit else known:
                    del waiting[key]
                    self._run(self._settle(work, [key], []))
                    yield key, known.get(key)
                if left := {key: waiting[key] for key in free if key in waiting}:
                    self.submit([replace(work, requests=left)])
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
        batch = self.store.get(id)
        if batch is None or batch.state not in ("intent", "open"):
            return  # another process was faster
        try:
            if batch.state == "intent":
                self._resolve(batch, work)
                return
            progress = self._ask(work.service.progress(batch.remote), _ASK_S)
            self._say(batch, progress)
            if progress.state == "running":
                return
            results = {}
            if progress.state == "ended":
                results = self._ask(work.service.results(batch.remote), _ASK_S)
        except NotThere as error:
            self._gone(batch, work, error)
            return
        except CallFailed as error:
            self._failed(work, error)
            return
        self._failures = 0
        if progress.state == "refused":
            self.store.end(batch.id, "failed", "open")
            raise UserError(
                f"{work.spec.spec}: batch {batch.remote} was refused: {progress.complaint}"
            )
        if not work.service.keeps_names and results and results.keys().isdisjoint(keys):
            self.store.mistaken(batch.id)
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
            with self.store.settling(batch.id, group) as ours:
                paid = [call for call in calls if call.key in ours]
                work.keep(paid)
            self.store.finish(batch.id)
            self._run(self._settle(work, group, paid))
            for call in calls:
                assert call.reply is not None
                yield call.key, call.reply
        if error is not None:
            raise error

    async def _settle(self, work: Work, keys: Sequence[str], calls: Sequence[Call]) -> None:
        """Book what calls cost in place of the most that these requests could."""
        budget = work.gate.budget
        most = {key: self._most_usd.pop(key) for key in keys if key in self._most_usd}
        budget.batched_usd = sum(self._most_usd.values())
        for call in calls:
            for completion in call.paid:
                budget.book(completion.cost_usd, most.get(call.key, 0.0))

    # ------------------------------------------------------------------------ what became of batches
    def _resolve(self, batch: Batch, work: Work) -> None:
        """Find out whether a batch got there whose handing over was cut short, or is going on."""
        begin, end = _read(batch.created) - _SLACK_S, _read(batch.until) + _SLACK_S
        found = self._ask(work.service.find(batch.id, batch.requests, begin, end), _ASK_S)
        others = {other.remote for other in self.store.list() if other.id != batch.id}
        found = [one for one in found if one.remote not in others]
        if not work.service.keeps_names:
            keys = self.store.keys(batch.id)
            ended = [one for one in found if one.has_ended]
            ours = [one for one in ended if self._holds(one.remote, keys, work)]
            found = ours or [one for one in found if not one.has_ended]
        self._failures = 0
        if len(found) > 1:
            names = ", ".join(one.remote for one in found)
            raise UserError(
                f"{work.spec.spec}: one of the batches {names} is ours, and as long as they run "
                "nobody can tell which. Run the same command again when they have ended, or cancel "
                "on the provider's page what nobody needs"
            )
        if found:
            self.store.opened(batch.id, found[0].remote, for_certain=False)
        elif self._pace.now() > end:
            self.store.end(batch.id, "dropped", "intent")
        elif self._told.get(batch.id) is None:
            self._told[batch.id] = "asking"
            self._tell(
                f"whether a batch of {batch.requests:,} requests was handed over shows by "
                f"{_written(end)} at the latest"
            )

    def _holds(self, remote: str, keys: set[str], work: Work) -> bool:
        results = self._ask(work.service.results(remote), _ASK_S)
        return not keys.isdisjoint(results)

    def _gone(self, batch: Batch, work: Work, error: NotThere) -> None:
        """The provider does not know a batch: its results were kept for a month, or the key is
        another account's."""
        if batch.state == "intent" or self._pace.now() - _read(batch.created) < _KEPT_DAYS * 86_400:
            raise UserError(
                f"{error}. Batch {batch.remote or 'of ours'} was handed over at {batch.created}: is "
                f"the key in {work.spec.key_variable} of the same account as it was then?"
            ) from None
        self.store.end(batch.id, "lost", "open")

    def _say(self, batch: Batch, progress: Progress) -> None:
        said = f"{progress.done:,} of {progress.total or batch.requests:,} done"
        if self._told.get(batch.id) != said:
            self._told[batch.id] = said
            self._tell(f"batch {batch.remote}: {said}")

    # ------------------------------------------------------------------------------------ questions
    def _ask(self, question: Coroutine[Any, Any, T], seconds: float) -> T:
        """The answer; raises CallFailed, also where it takes too long."""

        async def ask() -> T:
            try:
                async with asyncio.timeout(seconds):
                    return await question
            except TimeoutError:
                raise CallFailed(TIMED_OUT, retry=True) from None

        answer: T = self._run(ask())
        return answer

    def _insist(
        self,
        question: Callable[[], Coroutine[Any, Any, T]],
        until: float,
        may_repeat: Callable[[CallFailed], bool],
    ) -> T:
        """Ask again, a few times and until then, after failures that allow it."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._ask(question(), max(0.0, until - self._pace.now()))
            except CallFailed as error:
                wait = max(backoff(attempt), error.after or 0.0)
                is_last = attempt == _ATTEMPTS - 1 or self._pace.now() + wait > until
                if is_last or not may_repeat(error):
                    raise
            self._pace.sleep(wait)
        raise AssertionError

    def _failed(self, work: Work, error: CallFailed) -> None:
        """Raises UserError where a question failed once too often."""
        self._failures += 1
        if self._failures >= _PATIENCE or not error.retry:
            raise self._complaint(work, error)

    def _complaint(self, work: Work, error: CallFailed) -> UserError:
        told = f" ({error.detail})" if error.detail else ""
        return UserError(
            f"{work.spec.spec}: the batch service at {work.spec.url}: {error.reason}{told}. What is "
            "in a batch is kept there; the same command goes on"
        )


def _outcome(work: Work, results: Mapping[str, Any], key: str) -> Reply | UserError:
    if key not in results:
        return Failure(NO_RESULT)
    outcome = work.service.reply(results[key], work.requests[key])
    return work.gate.priced(outcome) if isinstance(outcome, Completion) else outcome


def _parts(lines: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """The requests in batches that are not too large."""
    part: dict[str, bytes] = {}
    size = 0
    for key, line in lines.items():
        if part and (len(part) == MAX_REQUESTS or size + len(line) > MAX_BYTES):
            yield part
            part, size = {}, 0
        part[key] = line
        size += len(line)
    if part:
        yield part


def _written(seconds: float) -> str:
    """A time as records of ours hold it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _read(written: str) -> float:
    return datetime.fromisoformat(written).timestamp()
