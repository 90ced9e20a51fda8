"""What was spent, call by call, and the batches that a provider still works on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime
from typing import Literal

from judges.database import Database

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
    """As in `judges.calling.Task`."""
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
    "COUNT(*), COALESCE(SUM(input_tokens), 0), COALESCE(SUM(cached_tokens), 0), "
    "COALESCE(SUM(output_tokens), 0), COALESCE(SUM(reasoning_tokens), 0), "
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
        """What was spent by group, the dearest first; weeks in their order, as 2026-W31.

        `since` is a time as `now` writes it, or the beginning of one: a date.
        """
        column = "SUBSTR(time, 1, 10)" if by == "week" else f'"{by}"'
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Requests that were handed to a provider's batch API together."""

    id: str
    provider: str
    url: str
    state: str
    created: str
    """In UTC, as `now` writes it."""
    keys: tuple[str, ...]
    """Of the requests, as in the cache."""


class BatchStore:
    """The batches that were handed over, so that no restart hands them over again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, batch: Batch) -> None:
        """Store a new batch; one of this id that is there already stays."""
        row = (*astuple(batch)[:-1], json.dumps(batch.keys))
        self._database.write(
            "INSERT INTO herdbook_batches (id, provider, url, state, created, keys) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [row],
        )

    def get(self, id: str) -> Batch | None:
        found = self._find("WHERE id = ?", id)
        return found[0] if found else None

    def list(self, state: str | None = None) -> tuple[Batch, ...]:
        """All batches, or those in a state, the oldest first."""
        return self._find("", None) if state is None else self._find("WHERE state = ?", state)

    def update(self, id: str, state: str) -> None:
        self._database.write("UPDATE herdbook_batches SET state = ? WHERE id = ?", [(state, id)])

    def _find(self, where: str, value: str | None) -> tuple[Batch, ...]:
        rows = self._database.read(
            "SELECT id, provider, url, state, created, keys FROM herdbook_batches "
            f"{where} ORDER BY created, id",
            [] if value is None else [value],
        )
        return tuple(
            Batch(
                id=id,
                provider=provider,
                url=url,
                state=state,
                created=created,
                keys=tuple(json.loads(keys)),
            )
            for id, provider, url, state, created, keys in rows
        )
