"""Calls language models: the cache first, then the server or the model in this process.

Everything that judges and generation want from a model goes through a `Caller`: it looks each
request up, sends what is left with as many calls at once as the server bears, stores every
completion the moment it comes, writes down what it cost, and stops at the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from judges.backends.base import (
    LLM,
    LocalLLM,
    RemoteLLM,
    Reply,
    Request,
    ServerFacts,
)
from judges.backends.limiter import PROBE_RETRIES, Limits, own_limits
from judges.backends.opening import open_model
from judges.backends.runner import Call, complete_batches
from judges.backends.spec import ModelSpec
from judges.calling.budget import BUDGET, Budget, BudgetGate
from judges.calling.stores import Purpose, Stores, Task

if TYPE_CHECKING:
    import asyncio

    from judges.backends.calls import Calls
    from judges.backends.loop import Runner
    from judges.calling.batches import Batches
    from judges.calling.handover import Pace
    from judges.calling.prices import Prices
    from judges.storage.cache import Cache
    from judges.storage.ledger import BatchStore, Ledger

__all__ = ["BUDGET", "Caller", "Limits", "Purpose", "Task"]

_LOCAL_CHUNK = 1024
"""Requests to a model in this process that are sorted by length together."""
_REMOTE_CHUNK = 256
"""Requests that are looked up in the cache together."""


class Closable(Protocol):
    """What holds memory until it is closed."""

    def close(self) -> None: ...


Held = TypeVar("Held", bound=Closable)
T = TypeVar("T")


class Caller:
    """Calls models for whoever judges or answers. Use as a context manager, or `close` it.

    One model in this process is kept loaded at a time: opening another closes it. What is called,
    found and spent is added up over the Caller's whole life, and may be read at any time.
    """

    def __init__(  # noqa: PLR0913 - every one of them has a default
        self,
        *,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
        prices: Prices | None = None,
        max_cost_usd: float | None = None,
        limits: Limits | None = None,
        batch: bool = False,
        batch_store: BatchStore | None = None,
        pace: Pace | None = None,
        tell: Callable[[str], None] = lambda text: None,
        show: Callable[[str], None] = lambda text: None,
        opener: Callable[[ModelSpec], LLM] = open_model,
        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        """With `batch` servers are asked by their batch services, which takes a cache and a
        `batch_store`; `tell` is told how far they are, and at the end what is waited for; `show`
        is what keeps a server's replies from coming, whenever that changes."""
        self.stores = Stores(cache, ledger, prices, batch_store)
        self.limits = limits or own_limits()
        self.budget = Budget(max_cost_usd)
        self.checked: set[str] = set()
        """The keys of the models that have been tried with a question before the rest was asked."""
        self.batch = batch
        self._pace = pace
        self._tell = tell
        self._show = show
        self._batches: Batches | None = None
        self._opener = opener
        self._new_loop = new_loop
        self._runner: Runner | None = None
        self._remote: dict[str, RemoteLLM] = {}
        self._local: tuple[str, Closable] | None = None

    @classmethod
    def default(
        cls,
        *,
        max_cost_usd: float | None = None,
        limits: Limits | None = None,
        batch: bool = False,
        pace: Pace | None = None,
        tell: Callable[[str], None] = lambda text: None,
        show: Callable[[str], None] = lambda text: None,
    ) -> Caller:
        """A caller with the user's own cache, ledger and prices, opened at the first request."""
        caller = cls(
            max_cost_usd=max_cost_usd, limits=limits, batch=batch, pace=pace, tell=tell, show=show
        )
        caller.stores = Stores(is_default=True)
        return caller

    # ------------------------------------------------------------------------------- what was done
    @property
    def n_calls(self) -> int:
        """Calls that servers answered."""
        return self.budget.n_calls

    @property
    def spent_usd(self) -> float:
        """What they cost, as far as it is known."""
        return self.budget.spent_usd

    @property
    def is_cost_unknown(self) -> bool:
        """Whether a call had no known price: `spent_usd` is then a lower bound."""
        return self.budget.is_unknown

    @property
    def stopped(self) -> bool:
        """Whether calls were not made as the budget was used up."""
        return self.budget.is_used_up

    @property
    def n_cached(self) -> int:
        """Requests that were answered from the cache."""
        return self.stores.n_cached

    @property
    def price_table(self) -> Prices:
        """The prices that calls are reckoned with."""
        return self.stores.price_table

    @property
    def cache(self) -> Cache | None:
        """Where completions are looked up and stored; None where all is to be asked."""
        return self.stores.cache

    @cache.setter
    def cache(self, cache: Cache | None) -> None:
        self.stores.cache = cache

    # -------------------------------------------------------------------------------------- calls
    def complete(
        self, spec: ModelSpec, requests: Iterable[Request], task: Task, *, fresh: bool = False
    ) -> Iterator[tuple[Request, Reply]]:
        """Each request with its completion or its failure, as soon as it is there, in any order.

        `requests` may be an iterator without end in sight: it is read as far as needed. Equal
        requests are made once. `fresh` passes over the cache and makes each of them, as a single
        call; a probe is one as well. What a batch service works on is waited for, with `batch` or
        without. Raises UserError for what no retry can mend: a wrong key, an unknown model, a
        refused parameter; what has been completed by then is stored, and comes first.
        """
        self.stores.open()
        if not spec.is_remote:
            yield from self._from_memory(spec, iter(requests), task, fresh)
        elif fresh or task.purpose == "probe" or not (self.batch or self.stores.is_any_batch_open):
            yield from self._from_server(spec, iter(requests), task, fresh)
        else:
            yield from self._opened_batches().complete(spec, iter(requests), task)

    def complete_singly(
        self, spec: ModelSpec, requests: Iterable[Request], task: Task
    ) -> Iterator[tuple[Request, Reply]]:
        """As `complete`, from a server and by single calls, whatever a batch service works on."""
        return self._from_server(spec, iter(requests), task, fresh=False)

    def submit(self, wanted: Iterable[tuple[ModelSpec, Sequence[Request]]]) -> None:
        """Hand to batch services what `complete` will be asked for, so that all of them work side
        by side. Does nothing without `batch`, nor for models in this process."""
        if self.batch:
            self.stores.open()
            self._opened_batches().submit(
                [(spec, Task(), requests) for spec, requests in wanted if spec.is_remote]
            )

    def local(self, spec: ModelSpec) -> LocalLLM:
        """The model in this process, loaded; the one before it is closed."""
        opener: Callable[[ModelSpec], LocalLLM] = self._opener  # type: ignore[assignment]
        return self.hold(spec.key, lambda: opener(spec))

    def hold(self, key: str, load: Callable[[], Held]) -> Held:
        """What `load` gives, loaded once and kept until the next model in this process needs the
        memory; `key` tells it from others."""
        if self._local is None or self._local[0] != key:
            self.free()
            self._local = (key, load())
        return self._local[1]  # type: ignore[return-value]

    def free(self) -> None:
        """Close the model in this process, if one is loaded."""
        if self._local is not None:
            self._local[1].close()
            self._local = None

    def remote(self, spec: ModelSpec) -> RemoteLLM:
        """The client of a model behind a server; raises UserError where its key is missing."""
        key = f"{spec.key} {spec.key_variable}"
        if key not in self._remote:
            self._remote[key] = self._opener(spec)  # type: ignore[assignment]
        return self._remote[key]

    def facts(self, spec: ModelSpec) -> ServerFacts:
        """What the server of a model tells of it; raises UserError where its key is missing."""
        return self.run(self.remote(spec).describe())

    def n_uncached(self, spec: ModelSpec, requests: Sequence[Request]) -> int:
        """How many of the requests to a server are not in the cache, equal ones counted once."""
        self.stores.open()
        keys = set(self.stores.keys(spec, requests))
        cache = self.stores.cache
        return len(keys) - len(cache.holding(list(keys)) if cache and keys else ())

    def close(self) -> None:
        """Free the model in this process, end all calls as `Runner.leave` does, close the database."""
        self.free()
        if self._runner is not None:
            self._runner.close(self._remote.values())
            self._runner = None
        self._remote.clear()
        self.stores.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------ models in this process
    def _from_memory(
        self, spec: ModelSpec, requests: Iterator[Request], task: Task, fresh: bool
    ) -> Iterator[tuple[Request, Reply]]:
        while chunk := list(islice(requests, _LOCAL_CHUNK)):
            llm = self.local(spec)
            keys = [""] * len(chunk) if fresh else self.stores.keys_by(llm.fingerprint(), chunk)
            found = self.stores.look_up(keys)
            waiting: dict[str, list[Request]] = {}
            for key, request in zip(keys, chunk, strict=True):
                if key in found:
                    yield request, found[key]
                else:
                    waiting.setdefault(key or f"fresh {len(waiting)}", []).append(request)
            key_of = {id(equal[0]): key for key, equal in waiting.items()}
            for batch in complete_batches(llm, [equal[0] for equal in waiting.values()]):
                done = [(request, replace(reply, cost_usd=0.0)) for request, reply in batch]
                calls = [
                    Call(request, "" if fresh else key_of[id(request)], reply, [reply])
                    for request, reply in done
                ]
                self.stores.keep(spec, task, calls)
                for first, reply in done:
                    for request in waiting[key_of[id(first)]]:
                        yield request, reply

    # ------------------------------------------------------------------------------------- servers
    def _from_server(
        self, spec: ModelSpec, requests: Iterator[Request], task: Task, fresh: bool
    ) -> Iterator[tuple[Request, Reply]]:
        window = 2 * self.limits.max_in_flight
        size = max(1, min(_REMOTE_CHUNK, window // 4))
        waiting: dict[str, list[Request]] = {}
        n_waiting, is_more = 0, True
        calls: Calls | None = None
        with ExitStack() as stack:
            while is_more or n_waiting:
                if is_more and n_waiting + size <= window:
                    chunk = list(islice(requests, size))
                    is_more = len(chunk) == size
                    keys = [""] * len(chunk) if fresh else self.stores.keys(spec, chunk)
                    found = self.stores.look_up(keys)
                    new = []
                    for key, request in zip(keys, chunk, strict=True):
                        if key in found:
                            continue
                        n_waiting += 1
                        if key not in waiting:
                            new.append(Call(request, key))
                        if key:
                            waiting.setdefault(key, []).append(request)
                    if new:
                        if calls is None:
                            calls = stack.enter_context(self._open_calls(spec, task))
                        calls.send(new)
                    for key, request in zip(keys, chunk, strict=True):
                        if key in found:
                            yield request, found[key]
                if calls is None or not n_waiting:
                    continue
                for call in calls.take(wait=not is_more or n_waiting + size > window):
                    assert call.reply is not None
                    equal = waiting.pop(call.key) if call.key else [call.request]
                    n_waiting -= len(equal)
                    for request in equal:
                        yield request, call.reply

    def _open_calls(self, spec: ModelSpec, task: Task) -> Calls:
        from judges.backends.calls import Calls

        gate = BudgetGate(self.budget, spec, self.stores.prices)
        llm, server = self.remote(spec), (spec.url, spec.key_variable)

        def keep(calls: Sequence[Call]) -> None:
            self.stores.keep(spec, task, calls)

        most = PROBE_RETRIES if task.purpose == "probe" else None
        return Calls(self._opened_runner(), llm, server, gate=gate, keep=keep, most_retries=most)

    def _opened_batches(self) -> Batches:
        if self._batches is None:
            from judges.calling.batches import Batches
            from judges.calling.handover import Pace

            self._batches = Batches(
                self.stores,
                self.budget,
                self._pace or Pace(),
                self._tell,
                remote=self.remote,
                run=self.run,
                singly=None if self.batch else self.complete_singly,
            )
        return self._batches

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop of all calls."""
        return self._opened_runner().run(coroutine)

    def _opened_runner(self) -> Runner:
        if self._runner is None:
            from judges.backends.loop import Runner

            self._runner = Runner(self.limits, self._new_loop, tell=self._tell, show=self._show)
        return self._runner
