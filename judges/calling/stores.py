"""What outlives the calls: completions in the cache, what they cost in the ledger, the prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from judges.backends.base import Completion, Request
from judges.backends.runner import Call
from judges.backends.spec import ModelSpec

if TYPE_CHECKING:
    from judges.calling.prices import Prices
    from judges.storage.cache import Cache
    from judges.storage.database import Database
    from judges.storage.ledger import BatchStore, Entry, Ledger

_REMEMBERED = 2048
"""Keys that are not reckoned again."""
Purpose = Literal["answers", "judging", "controls", "probe", "drift", "annotate"]


@dataclass(frozen=True, slots=True)
class Task:
    """What calls are made for; the ledger keeps it with each."""

    board: str = ""
    row: str = ""
    judge: str = ""
    purpose: Purpose = "judging"
    folder: str = ""
    """The results folder that the board lies in."""


class Stores:
    """Cache, ledger, batches and prices, each of which may be missing.

    The user's own (`is_default`) are opened by `open`, which comes before all else.
    """

    def __init__(
        self,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
        prices: Prices | None = None,
        batch_store: BatchStore | None = None,
        *,
        is_default: bool = False,
    ) -> None:
        self.cache = cache
        self.ledger = ledger
        self.prices = prices
        self.batch_store = batch_store
        self.n_cached = 0
        """Requests that were answered from the cache."""
        self._is_to_open = is_default
        self._database: Database | None = None
        self._keys: dict[tuple[Any, ...], tuple[str, tuple[Any, ...]]] = {}

    def open(self) -> None:
        """Open the user's own, if that is still to be done."""
        if self._is_to_open:
            from judges.calling.prices import Prices
            from judges.storage.cache import Cache
            from judges.storage.database import open_database
            from judges.storage.ledger import BatchStore, Ledger

            database = self._database = open_database()
            self.cache, self.ledger = Cache(database), Ledger(database)
            self.batch_store = BatchStore(database)
            self.prices = Prices.load()
            self._is_to_open = False

    def close(self) -> None:
        """Close what `open` opened; what is read or written later opens it again."""
        if self._database is not None:
            self._database.close()

    @property
    def price_table(self) -> Prices:
        """The prices that calls are reckoned with; the user's where none were given."""
        self.open()
        if self.prices is None:
            from judges.calling.prices import Prices

            self.prices = Prices.load()
        return self.prices

    @property
    def is_any_batch_open(self) -> bool:
        """Whether a batch service works on anything that was handed over."""
        return self.batch_store is not None and self.batch_store.is_any_open()

    # ----------------------------------------------------------------------------------- the cache
    def keys(self, spec: ModelSpec, requests: Sequence[Request]) -> list[str]:
        """Of the requests to a model behind a server, in the cache."""
        identity = {"provider": spec.provider, "name": spec.name, "url": spec.url or ""}
        return self.keys_by(identity, requests)

    def keys_by(self, identity: Mapping[str, str], requests: Sequence[Request]) -> list[str]:
        """The same for a model that `identity` tells from others."""
        from judges.storage.cache import completion_key

        model = tuple(sorted(identity.items()))
        keys = []
        for request in requests:
            # What is counted before a run is asked in it, under another id: its parts are the same
            # objects, and held here, so that nothing else can come to stand at their addresses.
            parts = (request.messages, request.sampling, request.schema, request.extra)
            at = (model, request.top_logprobs, *map(id, parts))
            if at not in self._keys:
                while len(self._keys) >= _REMEMBERED:
                    self._keys.pop(next(iter(self._keys)))
                self._keys[at] = completion_key(identity, request), parts
            keys.append(self._keys[at][0])
        return keys

    def stored(self, keys: Sequence[str]) -> dict[str, Completion]:
        """What the cache holds of them, for whoever does not answer with it."""
        return self.cache.get_many(keys) if self.cache and keys else {}

    def look_up(self, keys: Sequence[str]) -> dict[str, Completion]:
        """The same to answer with, which is counted; an empty key stands for no request there."""
        found = self.stored([key for key in keys if key])
        self.n_cached += sum(key in found for key in keys)
        return found

    def forget(self, keys: Sequence[str]) -> None:
        """Drop what the cache holds of them: it is asked for anew."""
        if self.cache and keys:
            self.cache.forget(keys)

    # ---------------------------------------------------------------------------- cache and ledger
    def keep(
        self, spec: ModelSpec, task: Task, calls: Sequence[Call], *, batch: bool = False
    ) -> None:
        """Store what was completed, and what it cost. Runs on the thread that writes."""
        done = [(c.key, c.reply) for c in calls if c.key and isinstance(c.reply, Completion)]
        if self.cache and done:
            self.cache.put_many(done, spec.spec)
        entries = [entry for call in calls for entry in _entries(spec, task, call)]
        if self.ledger and entries:
            self.ledger.record([replace(entry, batch=batch) for entry in entries])


def _entries(spec: ModelSpec, task: Task, call: Call) -> list[Entry]:
    """What a request was charged for: its reply, and before it those that were of no use."""
    from judges.storage.ledger import Entry, now

    last = len(call.paid) - 1
    return [
        Entry(
            time=now(),
            folder=task.folder,
            board=task.board,
            row=task.row,
            judge=task.judge,
            purpose=task.purpose,
            model=spec.spec,
            served=completion.served,
            input_tokens=completion.input_tokens,
            cached_tokens=completion.cached_tokens,
            output_tokens=completion.output_tokens,
            reasoning_tokens=completion.reasoning_tokens,
            cost_usd=completion.cost_usd,
            attempts=1 + call.retries - last if n == last else 1,
        )
        for n, completion in enumerate(call.paid)
    ]
