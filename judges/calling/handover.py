"""Hands requests to a provider's batch service, so that a kill at any moment pays for none twice.

Before anything is sent, a batch with the keys of its requests stands in the database. Where a
process ends between sending and learning the provider's name for the batch, `resolve` asks the
provider what it has; only when the time has passed in which the batch can still get there, its
requests are free to be sent again.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from judges.backends.base import CallFailed, Completion, Request
from judges.backends.batches import MAX_BYTES, MAX_REQUESTS, BatchService
from judges.backends.calls import TIMED_OUT
from judges.backends.limiter import backoff
from judges.backends.runner import Call
from judges.backends.spec import ModelSpec
from judges.calling.budget import Budget, BudgetGate
from judges.errors import UserError
from judges.storage.ledger import Batch, BatchStore

T = TypeVar("T")

ASK_S = 300.0
"""How long a question about a batch, or the way of its results, may take."""
_HAND_OVER_S, _BYTES_A_SECOND = 60.0, 200_000
"""How long handing a batch over may take, whatever its size, and how fast it travels at least."""
_SLACK_S = 60.0
"""By which clocks may differ, and what was sent may be late."""
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


class Handover:
    """Hands batches over, knows what they can cost, and finds out what became of them."""

    def __init__(
        self,
        store: BatchStore,
        stored: Callable[[Sequence[str]], Mapping[str, Completion]],
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        pace: Pace,
        tell: Callable[[str], None],
    ) -> None:
        """`stored` gives what is in the cache, by key; `run` runs something on the loop of all
        calls; `tell` is told what happens."""
        self.store = store
        self.pace = pace
        self.tell = tell
        self._stored = stored
        self._run = run
        self._most_usd: dict[str, float] = {}  # by key, of requests whose results are to come
        self.failures = 0  # questions in a row that went without an answer
        self._cut_short = 0  # batches whose handing over went without an answer
        self._unclear: set[str] = set()

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
        begin = self.pace.now()
        until = begin + _HAND_OVER_S + sum(map(len, lines.values())) / _BYTES_A_SECOND
        batch = Batch(
            id=uuid.uuid4().hex,
            provider=work.spec.provider,
            url=work.spec.url or "",
            model=work.spec.name,
            requests=len(lines),
            created=written(begin),
            until=written(until),
        )
        keys = self.store.claim(batch, list(lines))
        # What another process took out of its batch a moment ago is in the cache since then.
        if known := set(self._stored(sorted(keys))):
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
                # It may have got there all the same: `resolve` finds out.
                self._cut_short += 1
                if self._cut_short == _ATTEMPTS:
                    raise self._complaint(work, error) from None
                self.tell(f"handing over a batch: {error.reason}; asking what became of it")
                return
            self.store.end(batch.id, "dropped", "intent")
            raise self._complaint(work, error) from None
        except UserError:
            self.store.end(batch.id, "dropped", "intent")
            raise
        self.store.opened(batch.id, remote, for_certain=True)
        self.tell(f"batch {remote}: {len(keys):,} requests handed to {work.spec.provider}")

    def settle(self, work: Work, keys: Sequence[str], calls: Sequence[Call]) -> None:
        """Book what calls cost in place of the most that these requests could."""
        self._run(self._settle(work.gate.budget, keys, calls))

    async def _settle(self, budget: Budget, keys: Sequence[str], calls: Sequence[Call]) -> None:
        most = {key: self._most_usd.pop(key) for key in keys if key in self._most_usd}
        budget.batched_usd = sum(self._most_usd.values())
        for call in calls:
            for completion in call.paid:
                budget.book(completion.cost_usd, most.get(call.key, 0.0))

    # ------------------------------------------------------------------------ what became of a batch
    def resolve(self, batch: Batch, work: Work) -> None:
        """Find out whether a batch got there whose handing over was cut short, or is going on."""
        begin, end = read(batch.created) - _SLACK_S, read(batch.until) + _SLACK_S
        is_over = self.pace.now() > end  # what is asked before may be answered without the latest
        found = self.ask(work.service.find(batch.id, batch.requests, begin, end), ASK_S)
        others = {other.remote for other in self.store.list() if other.id != batch.id}
        found = [one for one in found if one.remote not in others]
        if not work.service.keeps_names:
            keys = self.store.keys(batch.id)
            ended = [one for one in found if one.has_ended]
            ours = [one for one in ended if self._holds(one.remote, keys, work)]
            found = ours or [one for one in found if not one.has_ended]
        if len(found) > 1:
            names = ", ".join(one.remote for one in found)
            raise UserError(
                f"{work.spec.spec}: one of the batches {names} is ours, and as long as they run "
                "nobody can tell which. Run the same command again when they have ended, or cancel "
                "on the provider's page what nobody needs"
            )
        self.failures = 0
        if found:
            self.store.opened(batch.id, found[0].remote, for_certain=False)
        elif is_over:
            self.store.end(batch.id, "dropped", "intent")
        elif batch.id not in self._unclear:
            self._unclear.add(batch.id)
            self.tell(
                f"whether a batch of {batch.requests:,} requests was handed over shows by "
                f"{written(end)} at the latest"
            )

    def _holds(self, remote: str, keys: set[str], work: Work) -> bool:
        results = self.ask(work.service.results(remote), ASK_S)
        return not keys.isdisjoint(results)

    # ------------------------------------------------------------------------------------ questions
    def ask(self, question: Coroutine[Any, Any, T], seconds: float) -> T:
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
        """Ask again, a few times and until then, after failures that allow it. Later nothing is
        sent at all: others rely on it."""
        for attempt in range(_ATTEMPTS):
            left = until - self.pace.now()
            if left <= 0:
                raise CallFailed(TIMED_OUT, retry=True)
            try:
                return self.ask(question(), left)
            except CallFailed as error:
                wait = max(backoff(attempt), error.after or 0.0)
                is_last = attempt == _ATTEMPTS - 1 or self.pace.now() + wait > until
                if is_last or not may_repeat(error):
                    raise
            self.pace.sleep(wait)
        raise AssertionError

    def failed(self, work: Work, error: CallFailed) -> None:
        """Raises UserError where a question failed once too often."""
        self.failures += 1
        if self.failures >= _PATIENCE or not error.retry:
            raise self._complaint(work, error)

    def _complaint(self, work: Work, error: CallFailed) -> UserError:
        told = f" ({error.detail})" if error.detail else ""
        return UserError(
            f"{work.spec.spec}: the batch service at {work.spec.url}: {error.reason}{told}. What is "
            "in a batch is kept there; the same command goes on"
        )


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


def written(seconds: float) -> str:
    """A time as records of ours hold it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def read(time: str) -> float:
    """The seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()
