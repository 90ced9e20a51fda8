"""The providers' batch services: half the price, and up to a day until the results are there.

OpenAI takes a file of requests and keeps a few words of ours with each batch; Anthropic takes the
requests themselves and keeps nothing beside them, so that a batch whose name got lost is known
again by its time and its size, and by the names of its requests once there are results.

The request's bodies are those of single calls, and replies are read alike. Limits as of 2026-08:
OpenAI takes 50,000 requests or 200 MB a batch, Anthropic 100,000 or 256 MB.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import quote

from judges.backends.anthropic import AnthropicLLM
from judges.backends.anthropic import completion as anthropic_completion
from judges.backends.base import CallFailed, Completion, Failure, RemoteLLM, Reply, Request
from judges.backends.openai import OpenAILLM
from judges.backends.openai import completion as openai_completion
from judges.backends.remote import Endpoint, NotThere, Refused, count, get, text
from judges.errors import UserError

MAX_REQUESTS = 10_000
MAX_BYTES = 100_000_000
"""A batch of ours is no larger: well within the limits, and its results fit into memory."""
EXPIRED = "the batch expired"
CANCELLED = "the batch was cancelled"
NO_RESULT = "the batch brought no result"

_TOKEN = "herdbook_batch"
_STATUS = {  # Anthropic's results name the error, without the status that single calls have
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}

Outcome = Reply | UserError
"""A UserError is what a single call would have raised: no retry can mend it, and the user can."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a provider is with a batch; `ended` means that there are results, if only errors."""

    state: Literal["running", "ended", "refused"]
    done: int
    total: int
    complaint: str = ""
    """Why the batch was refused as a whole."""


@dataclass(frozen=True, slots=True)
class Found:
    """A batch at the provider that may be ours."""

    remote: str
    has_ended: bool


class BatchService(Protocol):
    """One model's batch service. Everything raises as a single call does: CallFailed, UserError."""

    keeps_names: bool
    """Whether the provider keeps our name for a batch. Where it does not, what is found need not be
    ours, but then results name every request."""

    def line(self, name: str, request: Request) -> bytes:
        """A request with the name that its result will have, as it is sent."""
        ...

    async def prepare(self, lines: Sequence[bytes]) -> Any:
        """Bring the requests to where `create` can use them. Nothing is charged for it."""
        ...

    async def create(self, prepared: Any, id: str) -> str:
        """Start the batch, `id` being our name for it; gives the provider's."""
        ...

    async def find(self, id: str, requests: int, begin: float, end: float) -> list[Found]:
        """The batches of so many requests that were started between two times (seconds since
        1970) and may be the one that we call `id`."""
        ...

    async def progress(self, remote: str) -> Progress: ...

    async def results(self, remote: str) -> dict[str, Any]:
        """What came of a batch that has ended, by the names of its requests."""
        ...

    def reply(self, result: Any, request: Request) -> Outcome:
        """What one of the results says."""
        ...


def batch_service(llm: RemoteLLM) -> BatchService:
    """The batch service beside a model's single calls."""
    if isinstance(llm, OpenAILLM):
        return OpenAIBatches(llm)
    if isinstance(llm, AnthropicLLM):
        return AnthropicBatches(llm)
    raise UserError(f"{type(llm).__name__} has no batch service")


class OpenAIBatches:
    """OpenAI's, and that of servers that speak the same."""

    keeps_names = True

    def __init__(self, llm: OpenAILLM) -> None:
        self._llm, self._endpoint = llm, llm.endpoint

    def line(self, name: str, request: Request) -> bytes:
        call = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions"}
        return json.dumps({**call, "body": self._llm.body(request)}).encode()

    async def prepare(self, lines: Sequence[bytes]) -> str:
        """Uploads the file of requests; gives its name at the provider."""
        file = ("herdbook.jsonl", b"\n".join(lines) + b"\n", "application/jsonl")
        with _no_service(self._endpoint):
            response = await self._endpoint.send("/files", {"purpose": "batch"}, {"file": file})
        return _name(self._endpoint.object(response))

    async def create(self, prepared: str, id: str) -> str:
        body = {
            "input_file_id": prepared,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {_TOKEN: id},
        }
        with _no_service(self._endpoint):
            response = await self._endpoint.send("/batches", body)
        return _name(self._endpoint.object(response))

    async def find(self, id: str, requests: int, begin: float, end: float) -> list[Found]:
        """OpenAI keeps our name for a batch."""
        path = "/batches?limit=100"
        while True:
            page = await self._object(path)
            listed = get(page, "data") or []
            for batch in listed:
                if get(batch, "metadata", _TOKEN) == id:
                    return [Found(_name(batch), has_ended=False)]
            oldest = get(listed[-1], "created_at") if listed else None
            if not get(page, "has_more") or not isinstance(oldest, int) or oldest < begin:
                return []
            path = f"/batches?limit=100&after={quote(_name(listed[-1]))}"

    async def progress(self, remote: str) -> Progress:
        batch = await self._object(f"/batches/{quote(remote)}")
        status = text(get(batch, "status"))
        counts = [get(batch, "request_counts", key) for key in ("completed", "failed", "total")]
        completed, failed, total = (count(number) or 0 for number in counts)
        if status == "failed":
            error = get(batch, "errors", "data", 0)
            at = f" (line {line})" if (line := count(get(error, "line"))) is not None else ""
            told = self._endpoint.clean(text(get(error, "message"))) or "no reason was given"
            return Progress("refused", completed + failed, total, told + at)
        ended = status in ("completed", "expired", "cancelled")
        return Progress("ended" if ended else "running", completed + failed, total)

    async def results(self, remote: str) -> dict[str, Any]:
        """Results and errors are two files; what is in neither was not reached."""
        batch = await self._object(f"/batches/{quote(remote)}")
        found: dict[str, Any] = {}
        for key in ("error_file_id", "output_file_id"):
            if file := text(get(batch, key)):
                response = await self._endpoint.send(f"/files/{quote(file)}/content")
                found |= _by_name(response.content, self._endpoint)
        return found

    def reply(self, result: Any, request: Request) -> Outcome:
        status, body = (get(result, "response", key) for key in ("status_code", "body"))
        code = text(get(result, "error", "code"))
        if status == 200 and isinstance(body, dict):
            return _read(lambda: openai_completion(body))
        if code in ("batch_expired", "batch_cancelled"):
            return Failure(EXPIRED if code == "batch_expired" else CANCELLED)
        error = body if isinstance(body, dict) else {"error": get(result, "error")}
        failed = self._endpoint.meaning(count(status) or 500, error, {}, self._llm.body(request))
        return _outcome(failed)

    async def _object(self, path: str) -> dict[str, Any]:
        return self._endpoint.object(await self._endpoint.send(path))


class AnthropicBatches:
    """Anthropic's."""

    keeps_names = False

    def __init__(self, llm: AnthropicLLM) -> None:
        self._llm, self._endpoint = llm, llm.endpoint

    def line(self, name: str, request: Request) -> bytes:
        return json.dumps({"custom_id": name, "params": self._llm.body(request)}).encode()

    async def prepare(self, lines: Sequence[bytes]) -> dict[str, Any]:
        """The requests travel with the batch."""
        return {"requests": [json.loads(line) for line in lines]}

    async def create(self, prepared: dict[str, Any], id: str) -> str:
        with _no_service(self._endpoint):
            response = await self._endpoint.send("/v1/messages/batches", prepared)
        return _name(self._endpoint.object(response))

    async def find(self, id: str, requests: int, begin: float, end: float) -> list[Found]:
        """Anthropic keeps no name of ours: what fits is found by time and size."""
        path, found = "/v1/messages/batches?limit=1000", []
        while True:
            page = await self._object(path)
            listed = get(page, "data") or []
            times = [_seconds(get(batch, "created_at")) for batch in listed]
            for batch, created in zip(listed, times, strict=True):
                if begin <= created <= end and _counts(batch)[1] == requests:
                    has_ended = get(batch, "processing_status") == "ended"
                    found.append(Found(_name(batch), has_ended))
            if not get(page, "has_more") or not listed or times[-1] < begin:
                return found
            path = f"/v1/messages/batches?limit=1000&after_id={quote(_name(listed[-1]))}"

    async def progress(self, remote: str) -> Progress:
        batch = await self._object(f"/v1/messages/batches/{quote(remote)}")
        ended = get(batch, "processing_status") == "ended"
        return Progress("ended" if ended else "running", *_counts(batch))

    async def results(self, remote: str) -> dict[str, Any]:
        response = await self._endpoint.send(f"/v1/messages/batches/{quote(remote)}/results")
        return _by_name(response.content, self._endpoint)

    def reply(self, result: Any, request: Request) -> Outcome:
        kind, message = get(result, "result", "type"), get(result, "result", "message")
        if kind == "succeeded" and isinstance(message, dict):
            return _read(lambda: anthropic_completion(message))
        if kind in ("expired", "canceled"):
            return Failure(EXPIRED if kind == "expired" else CANCELLED)
        error = get(result, "result", "error")
        status = _STATUS.get(text(get(error, "error", "type")), 500)
        return _outcome(self._endpoint.meaning(status, error, {}, self._llm.body(request)))

    async def _object(self, path: str) -> dict[str, Any]:
        return self._endpoint.object(await self._endpoint.send(path))


@contextmanager
def _no_service(endpoint: Endpoint) -> Iterator[None]:
    """A server that has no such address has no batch service."""
    try:
        yield
    except NotThere:
        complaint = f"{endpoint.spec.spec}: {endpoint.place} has no batch service (404)"
    else:
        return
    raise UserError(f"{complaint}. Leave --batch out")


def _read(read: Callable[[], Completion]) -> Outcome:
    try:
        return read()
    except CallFailed as error:
        return Failure(error.reason)


def _outcome(failed: Exception) -> Outcome:
    """What an error means in place of a reply; as in single calls, a provider that keeps the
    reply back has replied."""
    if isinstance(failed, Refused):
        return Completion(text="", finish_reason="refused")
    if isinstance(failed, CallFailed):
        return Failure(failed.reason)
    assert isinstance(failed, UserError)
    return failed


def _by_name(lines: bytes, endpoint: Endpoint) -> dict[str, Any]:
    """The results of a file, one a line, without the key. Raises CallFailed for a file that is
    none, or cut off."""
    found = {}
    for line in io.BytesIO(lines):  # no copy of them all
        if not line.strip():
            continue
        result = endpoint.parsed(line)
        if result is None:
            raise CallFailed("the batch's results are not in the API's form", retry=True)
        found[text(get(result, "custom_id"))] = result
    return found


def _name(made: object) -> str:
    """A file's or batch's name at the provider."""
    name = text(get(made, "id"))
    if not re.fullmatch(r"[\w-]{1,200}", name):
        raise CallFailed("the reply is not in the API's form", retry=True)
    return name


def _counts(batch: object) -> tuple[int, int]:
    """How many requests of Anthropic's batch have ended, and how many there are."""
    counts = get(batch, "request_counts")
    numbers = {k: count(n) or 0 for k, n in counts.items()} if isinstance(counts, dict) else {}
    total = sum(numbers.values())
    return total - numbers.get("processing", 0), total


def _seconds(time: object) -> float:
    """Since 1970; an unreadable time is before all others."""
    try:
        return datetime.fromisoformat(text(time)).timestamp()
    except ValueError:
        return 0.0
