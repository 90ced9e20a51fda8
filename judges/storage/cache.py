"""Completions that were paid for, by a hash of everything that changes a completion.

Only completions are stored, never a failure, and as the model wrote them: verdicts are read from
them afterwards, so that a better reader needs no new call.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from judges.backends.base import Completion, Request, Sampling
from judges.records import to_line
from judges.storage.database import Database

_KEYS_A_QUERY = 500
_JSON = json.JSONEncoder(separators=(",", ":"), default=dict)


def completion_key(identity: Mapping[str, str], request: Request) -> str:
    """64 hexadecimal digits that change with everything that changes a completion.

    `identity` is the model: provider, name, where it is served, or the fingerprint of its weights.
    The request's own id is the caller's affair and left out. Every parameter is written out, so
    that a changed default is another request. Inside the schema and the further parameters the
    order counts: by it a model writes its reasons before or after the verdict.
    """
    sampling = {
        name: float(value) if name in _REAL and value is not None else value
        for name in _SAMPLING
        for value in (getattr(request.sampling, name),)
    }
    content = [
        dict(sorted(identity.items())),
        [[turn.role, turn.content] for turn in request.messages],
        sampling,
        request.schema,
        request.top_logprobs,
        dict(sorted(request.extra.items())),
    ]
    return hashlib.sha256(_JSON.encode(content).encode()).hexdigest()


_SAMPLING = sorted(field.name for field in fields(Sampling))
_REAL = {"temperature", "top_p", "repetition_penalty"}  # 0 and 0.0 are one temperature


@dataclass(frozen=True, slots=True)
class Size:
    """What a cache holds."""

    completions: int
    bytes: int
    """Of the completions' text."""


class Cache:
    """Stored completions. Several processes can read and write them at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get_many(self, keys: Sequence[str]) -> dict[str, Completion]:
        """The completions that are there, by key.

        A row that is not what was stored under its key is removed and counts as not there.
        """
        found: dict[str, Completion] = {}
        damaged: list[str] = []
        for start in range(0, len(keys), _KEYS_A_QUERY):
            part = keys[start : start + _KEYS_A_QUERY]
            marks = ",".join("?" * len(part))
            for key, check_sum, line in self._database.read(
                "SELECT key, check_sum, completion FROM herdbook_completions "
                f"WHERE key IN ({marks})",
                part,
            ):
                completion = _read(line) if check_sum == _check_sum(key, line) else None
                if completion is None:
                    damaged.append(key)
                else:
                    found[key] = completion
        self._database.write(
            "DELETE FROM herdbook_completions WHERE key = ?", [(key,) for key in damaged]
        )
        return found

    def holding(self, keys: Sequence[str]) -> set[str]:
        """Which of the keys have a row; what is in it is not looked at."""
        held: set[str] = set()
        for start in range(0, len(keys), _KEYS_A_QUERY):
            part = keys[start : start + _KEYS_A_QUERY]
            marks = ",".join("?" * len(part))
            sql = f"SELECT key FROM herdbook_completions WHERE key IN ({marks})"
            held.update(key for (key,) in self._database.read(sql, part))
        return held

    def put_many(self, entries: Sequence[tuple[str, Completion]], model: str = "") -> None:
        """Store completions of one model; what is there under a key already stays."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = []
        for key, completion in entries:
            line = to_line(completion)
            rows.append((key, _check_sum(key, line), line, model, completion.served, now))
        self._database.write(
            "INSERT INTO herdbook_completions (key, check_sum, completion, model, served, created) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            rows,
        )

    def forget(self, keys: Sequence[str]) -> None:
        """Drop what is there under the keys: it is asked for anew."""
        self._database.write(
            "DELETE FROM herdbook_completions WHERE key = ?", [(key,) for key in keys]
        )

    def size(self) -> Size:
        ((count, length),) = self._database.read(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(completion)), 0) FROM herdbook_completions"
        )
        return Size(count, int(length))


def _check_sum(key: str, line: str) -> str:
    """Ties a stored completion to the request that it answers."""
    return hashlib.blake2b(f"{key}\n{line}".encode(), digest_size=16).hexdigest()


_COUNT: Any = int | None
_AMOUNT: Any = int | float | None
_KINDS: dict[str, Any] = {
    "text": str, "reasoning": str, "finish_reason": str, "input_tokens": _COUNT,
    "output_tokens": _COUNT, "cached_tokens": _COUNT, "reasoning_tokens": _COUNT,
    "logprobs": list | None, "served": str | None, "seconds": _AMOUNT, "cost_usd": _AMOUNT,
}  # fmt: skip
"""Field of a stored completion → what it may be."""


def _read(line: str) -> Completion | None:
    """The completion of a row; None where it is not one of ours."""
    try:
        values = json.loads(line)
        if not isinstance(values, dict) or "text" not in values:
            return None
        if not all(isinstance(value, _KINDS[key]) for key, value in values.items()):
            return None
        if values.get("logprobs") is not None:
            values["logprobs"] = tuple((str(t), float(p)) for t, p in values["logprobs"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return Completion(**values)
