"""What was spent, call by call, and the batches that a provider still works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime
from typing import Literal

from judges.storage.database import Database

By = Literal["board", "judge", "model", "purpose", "week"]


def now() -> str:
    """The time in UTC, as every record of ours writes it: 2026-08-01T12:00:00+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A call that a provider charged for, or a model in this process answered."""

    time: str
    """In UTC, as `now` writes it."""
    folder: str
    """The results folder that the board lies in; empty where there is none."""
    board: str
    row: str
    judge: str
    """Empty for answers."""
    purpose: str
    """As in `judges.calling.caller.Task`."""
    model: str
    """As the user called it."""
    served: str | None = None
    input_tokens: int | None = None
    """Those that the provider had cached among them."""
    cached_tokens: int | None = None
    output_tokens: int | None = None
    """Thinking among them."""
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    """None where the price was not known."""
    batch: bool = False
    attempts: int = 1
    """Calls that it took, those that failed among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """A group of entries, added up. Tokens that no server told count as none."""

    group: str
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: float
    """Of the calls whose price was known."""
    unpriced: int
    """Calls whose price was not known: where there are any, `cost_usd` is a lower bound."""
    batched: int
    """Calls through the provider's batch API."""
    retries: int
    """Further attempts, beyond the first of each call."""


_COLUMNS = [f'"{field.name}"' for field in fields(Entry)]
_SUMS = (
    # Real numbers: what a server says of its tokens can add up to more than SQLite's integers hold.
    "COUNT(*), COALESCE(SUM(input_tokens * 1.0), 0), COALESCE(SUM(cached_tokens * 1.0), 0), "
    "COALESCE(SUM(output_tokens * 1.0), 0), COALESCE(SUM(reasoning_tokens * 1.0), 0), "
    "COALESCE(SUM(cost_usd), 0), SUM(CASE WHEN cost_usd IS NULL THEN 1 ELSE 0 END), "
    "SUM(CASE WHEN batch THEN 1 ELSE 0 END), COALESCE(SUM(attempts - 1), 0)"
)


class Ledger:
    """The record of all calls. Several processes can write it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entries: Sequence[Entry]) -> None:
        """Write entries down, all of them or none."""
        marks = ", ".join("?" * len(_COLUMNS))
        self._database.write(
            f"INSERT INTO herdbook_ledger ({', '.join(_COLUMNS)}) VALUES ({marks})",
            [astuple(entry) for entry in entries],
        )

    def spending(
        self,
        by: By = "judge",
        *,
        board: str | None = None,
        folder: str | None = None,
        since: str | None = None,
    ) -> list[Spending]:
        """What was spent by group, the dearest first; weeks in their order, as 2026-W31. Calls for no
        board, or for no judge, are named by their purpose: (annotate), say.

        `since` is a time as `now` writes it, or the beginning of one: a date.
        """
        column = "SUBSTR(time, 1, 10)" if by == "week" else f'"{by}"'
        if by in ("board", "judge"):
            column = f"CASE WHEN {column} = '' THEN '(' || purpose || ')' ELSE {column} END"
        asked = {"board = ?": board, "folder = ?": folder, "time >= ?": since}
        given = {text: value for text, value in asked.items() if value is not None}
        where = f"WHERE {' AND '.join(given)} " if given else ""
        rows = self._database.read(
            f"SELECT {column}, {_SUMS} FROM herdbook_ledger {where}GROUP BY {column}",
            list(given.values()),
        )
        groups: dict[str, list[list[float]]] = {}
        for name, *sums in rows:
            group = _week(name) if by == "week" else name
            groups.setdefault(group, []).append([float(value) for value in sums])
        found = [_spending(group, parts) for group, parts in groups.items()]
        if by == "week":
            return sorted(found, key=lambda s: s.group)
        return sorted(found, key=lambda s: (-s.cost_usd, -s.calls, s.group))


def _spending(group: str, parts: Sequence[Sequence[float]]) -> Spending:
    calls, tokens_in, cached, out, reasoning, cost, unpriced, batched, retries = map(
        sum, zip(*parts, strict=True)
    )
    return Spending(
        group=group,
        calls=int(calls),
        input_tokens=int(tokens_in),
        cached_tokens=int(cached),
        output_tokens=int(out),
        reasoning_tokens=int(reasoning),
        cost_usd=cost,
        unpriced=int(unpriced),
        batched=int(batched),
        retries=int(retries),
    )


def _week(day: str) -> str:
    """The ISO week of a date."""
    year, week, _ = date.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02d}"


BatchState = Literal["intent", "open", "done", "failed", "dropped", "lost"]
"""`intent`: it may have been handed over, and its provider's name for it is not known yet; `open`:
it is the provider's; then all its results were taken, or the provider refused it as a whole, or it
never got there, or its results were kept there no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Requests that are handed to a provider's batch service together."""

    id: str
    """Our own name for it."""
    provider: str
    url: str
    model: str
    state: BatchState = "intent"
    remote: str = ""
    """The provider's name for it; empty until that is known."""
    requests: int
    """How many there are in it."""
    created: str
    """In UTC, as `now` writes it."""
    until: str
    """It is handed over by then, or never."""


class BatchStore:
    """The batches that were handed over and the requests whose results are still to be taken from
    them, so that no other process and no restart hands them over again.

    A request, by its key in the cache, is in one batch at most.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, batch: Batch, keys: Sequence[str]) -> set[str]:
        """Store a new batch with those of the keys that are in no other; gives these."""
        marks = ", ".join("?" * len(_BATCH))
        with self._database.together():
            self._database.write(
                f"INSERT INTO herdbook_batches ({', '.join(_BATCH)}) VALUES ({marks})",
                [astuple(batch)],
            )
            self._database.write(
                "INSERT INTO herdbook_batch_keys (key, batch) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(key, batch.id) for key in sorted(keys)],  # in one order, else two can lock up
            )
        return self.keys(batch.id)

    def holding(self, keys: Sequence[str]) -> dict[str, str]:
        """Key → the batch that it is in, of those that are in one."""
        found: dict[str, str] = {}
        for start in range(0, len(keys), _KEYS_A_QUERY):
            part = keys[start : start + _KEYS_A_QUERY]
            marks = ",".join("?" * len(part))
            sql = f"SELECT key, batch FROM herdbook_batch_keys WHERE key IN ({marks})"
            found.update((key, batch) for key, batch in self._database.read(sql, part))
        return found

    def keys(self, id: str) -> set[str]:
        """Of the requests whose results are still to be taken."""
        sql = "SELECT key FROM herdbook_batch_keys WHERE batch = ?"
        return {key for (key,) in self._database.read(sql, [id])}

    def is_any_open(self) -> bool:
        """Whether there are requests in batches at all."""
        return bool(self._database.read("SELECT 1 FROM herdbook_batch_keys LIMIT 1"))

    def sized(self, id: str, requests: int) -> None:
        """A batch has fewer requests than it was to have."""
        sql = "UPDATE herdbook_batches SET requests = ? WHERE id = ?"
        self._database.write(sql, [(requests, id)])

    def opened(self, id: str, remote: str, *, for_certain: bool) -> None:
        """The provider has the batch under this name: it told who handed it over, or another has
        found it, which says nothing more once the name is known."""
        known = "('intent', 'open')" if for_certain else "('intent')"
        self._database.write(
            "UPDATE herdbook_batches SET state = 'open', remote = ? "
            f"WHERE id = ? AND state IN {known}",
            [(remote, id)],
        )

    def mistaken(self, id: str) -> None:
        """The batch that was taken for ours is another's."""
        self._database.write(
            "UPDATE herdbook_batches SET state = 'intent', remote = '' WHERE id = ?", [(id,)]
        )

    @contextmanager
    def settling(self, id: str, keys: Sequence[str]) -> Iterator[set[str]]:
        """Take requests out of a batch, in one step with what is stored of them in the block. Gives
        those that were in it: no other process has been given them."""
        taken: set[str] = set()
        with self._database.together():
            for start in range(0, len(keys), _KEYS_A_QUERY):
                part = sorted(keys[start : start + _KEYS_A_QUERY])
                marks = ",".join("?" * len(part))
                sql = (
                    "DELETE FROM herdbook_batch_keys WHERE batch = ? "
                    f"AND key IN ({marks}) RETURNING key"
                )
                taken.update(key for (key,) in self._database.read(sql, [id, *part]))
            yield taken

    def finish(self, id: str) -> None:
        """The batch is done, if no results are left to be taken from it."""
        self._database.write(
            "UPDATE herdbook_batches SET state = 'done' WHERE id = ? AND NOT EXISTS "
            "(SELECT 1 FROM herdbook_batch_keys WHERE batch = ?)",
            [(id, id)],
        )

    def end(self, id: str, state: BatchState, was: BatchState) -> None:
        """Nothing is to come from the batch any more: its requests can go into another. Does
        nothing to a batch whose state is no longer what it was."""
        with self._database.together():
            self._database.write(
                "UPDATE herdbook_batches SET state = ? WHERE id = ? AND state = ?",
                [(state, id, was)],
            )
            self._database.write(
                "DELETE FROM herdbook_batch_keys WHERE batch = ? AND EXISTS "
                "(SELECT 1 FROM herdbook_batches WHERE id = ? AND state = ?)",
                [(id, id, state)],
            )

    def get(self, id: str) -> Batch | None:
        found = self._find("WHERE id = ?", id)
        return found[0] if found else None

    def list(self, state: BatchState | None = None) -> tuple[Batch, ...]:
        """All batches, or those in a state, the oldest first."""
        return self._find("", None) if state is None else self._find("WHERE state = ?", state)

    def _find(self, where: str, value: str | None) -> tuple[Batch, ...]:
        rows = self._database.read(
            f"SELECT {', '.join(_BATCH)} FROM herdbook_batches {where} ORDER BY created, id",
            [] if value is None else [value],
        )
        return tuple(Batch(**dict(zip(_BATCH, row, strict=True))) for row in rows)


_BATCH = [field.name for field in fields(Batch)]
_KEYS_A_QUERY = 500
