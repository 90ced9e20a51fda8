"""The batch services of the tests' server, in OpenAI's and Anthropic's formats.

`ApiServer(behaviour, batches=Batches())` has them beside its single calls; `behaviour` answers each
request of a batch. How fast a batch goes is counted in questions about it, so that no test waits.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from api_wire import Asked, Fault, Reply, Wire, anthropic_reply, error_body, openai_reply

Event = str
"""`upload`, `create` (asked for, not there yet), `created`, `poll`, `list`, `results`."""


class Drop(Exception):
    """Raised by a hook: the connection ends without a reply."""


@dataclass
class Made:
    """A batch that the server has: paid for."""

    id: str
    wire: Wire
    asked: dict[str, Asked]
    """By the name that the request was given."""
    created: float
    metadata: dict[str, str] = field(default_factory=dict)
    polls: int = 0


@dataclass
class Batches:
    """What the services do, which can be changed while they run, and what they have done."""

    behaviour: Callable[[Asked], Reply | Fault] = lambda asked: Reply()
    polls: int = 2
    """Questions about a batch until it has ended."""
    end: str = "completed"
    """Or `expired`, `cancelled`; or `failed`, for OpenAI: at the first look, with `complaint`."""
    reached: float = 1.0
    """The share of requests that were answered before that."""
    complaint: str = "the model is not there"
    page: int = 100
    """Batches of a list that come at once."""
    hook: Callable[[Event], Any] = lambda event: None
    """Called at each event; may raise Drop, or give a Fault to be answered with."""
    made: list[Made] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def prompts(self) -> Counter[str]:
        """Last user turn → how often it was paid for."""
        return Counter(asked.prompt for batch in self.made for asked in batch.asked.values())

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/v1/files", self._on("openai", self._upload))
        app.router.add_get("/v1/files/{name}/content", self._on("openai", self._content))
        app.router.add_post("/v1/batches", self._on("openai", self._create_openai))
        app.router.add_get("/v1/batches", self._on("openai", self._list_openai))
        app.router.add_get("/v1/batches/{name}", self._on("openai", self._poll_openai))
        path = "/v1/messages/batches"
        app.router.add_post(path, self._on("anthropic", self._create_anthropic))
        app.router.add_get(path, self._on("anthropic", self._list_anthropic))
        app.router.add_get(f"{path}/{{name}}", self._on("anthropic", self._poll_anthropic))
        app.router.add_get(f"{path}/{{name}}/results", self._on("anthropic", self._results))

    def _on(self, wire: Wire, handle: Callable[[web.Request], Any]) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                given = await handle(request)
            except Drop:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if given is None:
                given = Fault(status=404, type="not_found_error", message="no such batch")
            if isinstance(given, Fault):
                return web.json_response(error_body(wire, given), status=given.status)
            if isinstance(given, bytes):
                return web.Response(body=given)
            return web.json_response(given)

        return answer

    def _make(self, wire: Wire, bodies: dict[str, Any], metadata: dict[str, str]) -> Made:
        prefix = "batch" if wire == "openai" else "msgbatch"
        name = f"{prefix}_{len(self.made):04d}"
        asked = {key: _asked(wire, body) for key, body in bodies.items()}
        self.made.append(Made(name, wire, asked, time.time(), metadata))
        return self.made[-1]

    def _named(self, request: web.Request) -> Made | None:
        name = request.match_info["name"]
        return next((batch for batch in self.made if batch.id == name), None)

    def _is_reached(self, batch: Made, name: str) -> bool:
        return list(batch.asked).index(name) < self.reached * len(batch.asked)

    # ----------------------------------------------------------------------------------- OpenAI's
    async def _upload(self, request: web.Request) -> Any:
        if fault := self.hook("upload"):
            return fault
        form = await request.post()
        assert form["purpose"] == "batch"
        name = f"file-{len(self.files)}"
        self.files[name] = form["file"].file.read()
        return {"id": name, "object": "file", "purpose": "batch"}

    async def _create_openai(self, request: web.Request) -> Any:
        body = await request.json()
        if fault := self.hook("create"):
            return fault
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        assert {(line["method"], line["url"]) for line in lines} == {
            ("POST", "/v1/chat/completions")
        }
        bodies = {line["custom_id"]: line["body"] for line in lines}
        assert len(bodies) == len(lines)
        batch = self._make("openai", bodies, body.get("metadata") or {})
        if fault := self.hook("created"):
            return fault
        return self._openai(batch)

    async def _list_openai(self, request: web.Request) -> Any:
        if fault := self.hook("list"):
            return fault
        of, more = self._page("openai", request, "after")
        return {"object": "list", "data": [self._openai(batch) for batch in of], "has_more": more}

    def _page(self, wire: Wire, request: web.Request, after: str) -> tuple[list[Made], bool]:
        """The newest come first."""
        newest = [batch for batch in reversed(self.made) if batch.wire == wire]
        names = [batch.id for batch in newest]
        begin = names.index(request.query[after]) + 1 if after in request.query else 0
        size = min(self.page, int(request.query["limit"]))
        return newest[begin : begin + size], begin + size < len(newest)

    async def _poll_openai(self, request: web.Request) -> Any:
        if fault := self.hook("poll"):
            return fault
        if batch := self._named(request):
            batch.polls += 1
            return self._openai(batch)
        return None

    def _openai(self, batch: Made) -> dict[str, Any]:
        total, is_over = len(batch.asked), batch.polls >= self.polls
        status = "validating" if batch.polls == 0 else "in_progress"
        if batch.polls and batch.polls == self.polls - 1:
            status = "finalizing"
        if self.end == "failed" and batch.polls:
            status = "failed"
        elif is_over:
            status = self.end
        share = min(1.0, batch.polls / max(1, self.polls))
        found = {
            "id": batch.id,
            "object": "batch",
            "status": status,
            "created_at": int(batch.created),
            "metadata": batch.metadata,
            "request_counts": {"total": total, "completed": int(share * total), "failed": 0},
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
        }
        if status == "validating":
            found["request_counts"] = None
        if status == "failed":
            error = {"code": "model_not_found", "message": self.complaint, "line": 1}
            found["errors"] = {"object": "list", "data": [error]}
        elif is_over:
            found |= self._outputs(batch)
        return found

    def _outputs(self, batch: Made) -> dict[str, str | None]:
        good, bad = [], []
        for name, asked in batch.asked.items():
            line: dict[str, Any] = {"id": "batch_req_1", "custom_id": name}
            if not self._is_reached(batch, name):
                if self.end == "expired":
                    error = {"code": "batch_expired", "message": "it took too long"}
                    bad.append({**line, "response": None, "error": error})
                continue
            given = self.behaviour(replace(asked))
            is_good = isinstance(given, Reply)
            body = openai_reply(asked, given) if is_good else error_body("openai", given)
            status = 200 if is_good else given.status
            response = {"status_code": status, "request_id": "r", "body": body}
            (good if is_good else bad).append({**line, "response": response, "error": None})
        names: dict[str, str | None] = {}
        for key, lines in (("output_file_id", good), ("error_file_id", bad)):
            names[key] = f"{batch.id}-{key}" if lines else None
            if lines:
                # The order is another than that of the requests.
                text = "".join(json.dumps(line) + "\n" for line in reversed(lines))
                self.files[f"{batch.id}-{key}"] = text.encode()
        return names

    async def _content(self, request: web.Request) -> Any:
        if fault := self.hook("results"):
            return fault
        return self.files.get(request.match_info["name"])

    # --------------------------------------------------------------------------------- Anthropic's
    async def _create_anthropic(self, request: web.Request) -> Any:
        body = await request.json()
        if fault := self.hook("create"):
            return fault
        assert body.keys() == {"requests"}
        bodies = {one["custom_id"]: one["params"] for one in body["requests"]}
        assert len(bodies) == len(body["requests"])
        assert all(0 < len(name) <= 64 for name in bodies)
        batch = self._make("anthropic", bodies, {})
        if fault := self.hook("created"):
            return fault
        return self._anthropic(batch)

    async def _list_anthropic(self, request: web.Request) -> Any:
        if fault := self.hook("list"):
            return fault
        of, more = self._page("anthropic", request, "after_id")
        return {"data": [self._anthropic(batch) for batch in of], "has_more": more}

    async def _poll_anthropic(self, request: web.Request) -> Any:
        if fault := self.hook("poll"):
            return fault
        if batch := self._named(request):
            batch.polls += 1
            return self._anthropic(batch)
        return None

    def _anthropic(self, batch: Made) -> dict[str, Any]:
        """Requests count as processing until all of them have ended."""
        is_over = batch.polls >= self.polls
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for line in self._ended(batch) if is_over else ():
            counts[line["result"]["type"]] += 1
        counts["processing"] = 0 if is_over else len(batch.asked)
        made = datetime.fromtimestamp(batch.created, UTC)
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if is_over else "in_progress",
            "request_counts": counts,
            "created_at": made.isoformat().replace("+00:00", "Z"),
            "expires_at": (made + timedelta(days=1)).isoformat(),
            "results_url": f"https://elsewhere.invalid/{batch.id}" if is_over else None,
        }

    def _ended(self, batch: Made) -> list[dict[str, Any]]:
        lines = []
        for name, asked in reversed(batch.asked.items()):
            result: dict[str, Any] = {"type": {"cancelled": "canceled"}.get(self.end, self.end)}
            if self._is_reached(batch, name):
                given = self.behaviour(replace(asked))
                if isinstance(given, Reply):
                    result = {"type": "succeeded", "message": anthropic_reply(asked, given)}
                else:
                    result = {"type": "errored", "error": error_body("anthropic", given)}
            lines.append({"custom_id": name, "result": result})
        return lines

    async def _results(self, request: web.Request) -> Any:
        if fault := self.hook("results"):
            return fault
        batch = self._named(request)
        if batch is None or batch.polls < self.polls:
            return None
        return "".join(json.dumps(line) + "\n" for line in self._ended(batch)).encode()


def _asked(wire: Wire, body: dict[str, Any]) -> Asked:
    """The request as a single call would have brought it, so that it is answered alike."""
    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Asked(wire, body, {}, 0, 1, raw)
