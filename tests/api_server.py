"""A server that speaks OpenAI's chat completions and Anthropic's messages, for tests and benchmarks.

In a test: `with ApiServer(behaviour) as server:` runs it on a thread of its own; `behaviour` is a
function from an `Asked` to a `Reply` or a `Fault`, and `server.log` holds all that was asked. As a
program, `python tests/api_server.py --latency 0.2` prints its address and serves until it is ended.
Replies follow from what is asked alone. A server listens on 127.0.0.1 and nowhere else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from api_batches import Batches
from api_wire import (
    Asked,
    Fault,
    Reply,
    Wire,
    anthropic_reply,
    error_body,
    openai_reply,
    unknown_model,
)

Behaviour = Callable[[Asked], Reply | Fault]
HTML = b"<!DOCTYPE html><html><body><h1>Bad gateway</h1></body></html>"


def choose(*choices: str) -> Behaviour:
    """Says one of the texts, by a hash of the request; with a schema, an object that obeys it.

    `{nonce}` in a text is the code of the judge's prompt, and so is "code" in an object.
    """

    def behave(asked: Asked) -> Reply:
        if asked.schema is not None:
            return Reply(text=json.dumps(instance(asked.schema, asked)))
        weights = [asked.draw.random() + 1e-9 for _ in choices]
        pick = choices[weights.index(max(weights))].replace("{nonce}", asked.nonce)
        if not asked.body.get("top_logprobs"):
            return Reply(text=pick)
        top = sorted(zip(choices, weights, strict=True), key=lambda pair: -pair[1])
        return Reply(text=pick, top=tuple((c, math.log(w / sum(weights))) for c, w in top))

    return behave


def answer(asked: Asked) -> Reply:
    """A verdict in the form that a judge's prompt asks for, else a few words."""
    if asked.schema is not None or asked.body.get("top_logprobs"):
        return choose("A", "B")(asked)
    if asked.nonce and f"VERDICT {asked.nonce}" in asked.prompt:
        return choose("VERDICT {nonce}: first", "VERDICT {nonce}: second")(asked)
    return Reply(text=f"The answer is {asked.draw.randint(0, 10**9)}.")


def quoting(say: Callable[[Asked], str], *, before: bool = True) -> Behaviour:
    """A judge that quotes its whole prompt, word for word, before (or behind) its own verdict."""

    def behave(asked: Asked) -> Reply:
        parts = [asked.prompt, say(asked)]
        return Reply(text="\n".join(parts if before else parts[::-1]))

    return behave


def in_turn(*answers: Reply | Fault | Behaviour) -> Behaviour:
    """The n-th call gets the n-th answer, and all calls behind the last one the last."""

    def behave(asked: Asked) -> Reply | Fault:
        given = answers[min(asked.number, len(answers) - 1)]
        return given(asked) if callable(given) else given

    return behave


def failing(rate: float, seed: int, behaviour: Behaviour) -> Behaviour:
    """Fails a share of the calls, each repeat drawn anew; which ones follows from the seed."""
    seen: Counter[bytes] = Counter()

    def behave(asked: Asked) -> Reply | Fault:
        seen[asked.raw] += 1
        draw = random.Random(b"%d %d " % (seed, seen[asked.raw]) + asked.raw)
        if draw.random() >= rate:
            return behaviour(asked)
        slow = Fault(status=429, message="slow down", type="rate_limit_error")
        return draw.choice([Fault(), Fault(status=503), slow, Fault(how="reset")])

    return behave


def at_most(calls: int, behaviour: Behaviour) -> Behaviour:
    """Answers 429 while it works at more calls than that."""
    slow = Fault(
        status=429, message="slow down", type="rate_limit_error", headers={"retry-after": "0.05"}
    )
    return lambda asked: slow if asked.in_flight > calls else behaviour(asked)


def instance(schema: Mapping[str, Any], asked: Asked) -> Any:
    """Something that obeys a JSON schema, as far as judges use them."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return asked.draw.choice(schema["enum"])
    if options := schema.get("anyOf"):
        return instance(asked.draw.choice(options), asked)
    kind = schema.get("type", "string")
    if kind == "object":
        return {
            key: asked.nonce if key == "code" else instance(value, asked)
            for key, value in schema["properties"].items()
        }
    if kind == "array":
        count = max(schema.get("minItems", 1), min(schema.get("maxItems", 1), 3))
        return [instance(schema["items"], asked) for _ in range(count)]
    if kind == "boolean":
        return asked.draw.random() < 0.5
    if kind == "integer":
        return asked.draw.randint(schema.get("minimum", 0), schema.get("maximum", 10))
    if kind == "number":
        return round(asked.draw.uniform(schema.get("minimum", 0), schema.get("maximum", 1)), 3)
    return None if kind == "null" else "because"


# --------------------------------------------------------------------------------------- the server
class ApiServer:
    """The server. `behaviour` can be replaced while it runs."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        models: Mapping[str, Mapping[str, Any]] | None = None,
        latency: float = 0.0,
        keep: bool = True,
        batches: Batches | None = None,
    ) -> None:
        """`models` are name → what the models endpoint tells beside the name; without them there
        is no such endpoint and every name is served. `keep` False keeps no log. With `batches`
        there are the providers' batch services as well."""
        self.behaviour = behaviour or answer
        self.batches = batches
        if batches is not None:
            batches.behaviour = self._behave
        self.models = models
        self.latency = latency
        self.keep = keep
        self.log: list[Asked] = []
        self.calls = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = asyncio.Event()

    def _behave(self, asked: Asked) -> Reply | Fault:
        return self.behaviour(asked)

    @property
    def url(self) -> str:
        """Where Anthropic's clients look for it; OpenAI's do below /v1."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def prompts(self) -> Counter[str]:
        """Last user turn → how often it was asked."""
        return Counter(asked.prompt for asked in self.log)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/v1/chat/completions", self._on("openai", openai_reply))
        app.router.add_post("/v1/messages", self._on("anthropic", anthropic_reply))
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/v1/models/{name:.+}", self._model)
        app.router.add_get("/stats", self._stats)
        if self.batches is not None:
            self.batches.add_to(app)
        return app

    def _on(
        self, wire: Wire, render: Callable[[Asked, Reply], dict[str, Any]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            raw = await request.read()
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                body = json.loads(raw)
                headers = {key.lower(): value for key, value in request.headers.items()}
                asked = Asked(wire, body, headers, self.calls, self.in_flight, raw)
                self.calls += 1
                if self.keep:
                    self.log.append(asked)
                return await self._answer(request, asked, render)
            finally:
                self.in_flight -= 1

        return handle

    async def _answer(
        self,
        request: web.Request,
        asked: Asked,
        render: Callable[[Asked, Reply], dict[str, Any]],
    ) -> web.StreamResponse:
        given: Reply | Fault
        if self.models is not None and asked.body["model"] not in self.models:
            given = unknown_model(asked.wire, asked.body["model"])
        else:
            given = self.behaviour(asked)
        if wait := self.latency + given.latency:
            await asyncio.sleep(wait)
        if isinstance(given, Reply):
            return _json(render(asked, given), 200, given.headers)
        assert request.transport is not None
        if given.how == "hang":
            await asyncio.sleep(3600)
        if given.how == "reset":
            request.transport.abort()
            return web.Response()
        body = given.raw
        if body is None:
            body = json.dumps(error_body(asked.wire, given)).encode()
        if given.how == "cut":
            response = web.StreamResponse(headers={"content-length": str(len(body) + 1000)})
            await response.prepare(request)
            await response.write(body)
            request.transport.abort()
            return response
        kind = "text/html" if body[:1] == b"<" else "application/json"
        headers = {"content-type": kind, **given.headers}
        return web.Response(body=body, status=given.status, headers=headers)

    async def _list(self, request: web.Request) -> web.Response:
        if self.models is None:
            return _json({"detail": "Not Found"}, 404)
        data = [{"id": name, "object": "model", **facts} for name, facts in self.models.items()]
        return _json({"object": "list", "data": data, "has_more": False})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if self.models is None or name not in self.models:
            fault = unknown_model("openai", name)
            return _json(error_body("openai", fault), 404)
        return _json({"id": name, "object": "model", "type": "model", **self.models[name]})

    async def _stats(self, request: web.Request) -> web.Response:
        most = max(self.prompts.values(), default=0)
        return _json({"calls": self.calls, "most_in_flight": self.most_in_flight, "most": most})

    # ------------------------------------------------------------------------------------- running
    async def serve(self, port: int = 0, started: Callable[[], None] = lambda: None) -> None:
        """Serves until `_stopped` is set."""
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._loop = asyncio.get_running_loop()
        try:
            await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
            self.port = runner.addresses[0][1]
            started()
            await self._stopped.wait()
        finally:
            await runner.cleanup()

    def __enter__(self) -> ApiServer:
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(started=started.set)), daemon=True
        )
        self._thread.start()
        if not started.wait(30):
            raise RuntimeError("the server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(30)


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json.dumps(body).encode(),
        status=status,
        headers={"content-type": "application/json", **(headers or {})},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every reply")
    parser.add_argument("--model", action="append", help="serve this name alone; can be repeated")
    parser.add_argument("--context", type=int, help="the window that the models endpoint tells")
    parser.add_argument("--choices", nargs="+", help="what the model says without a schema")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="the share of failing calls")
    parser.add_argument("--at-most", type=int, help="answer 429 to more calls at once than that")
    parser.add_argument("--seed", type=int, default=0, help="which calls fail")
    parser.add_argument("--keep", action="store_true", help="count repeated prompts in /stats")
    args = parser.parse_args()
    behaviour = choose(*args.choices) if args.choices else answer
    if args.fail_rate:
        behaviour = failing(args.fail_rate, args.seed, behaviour)
    if args.at_most:
        behaviour = at_most(args.at_most, behaviour)
    facts = {} if args.context is None else {"max_model_len": args.context}
    models = None if args.model is None else dict.fromkeys(args.model, facts)
    server = ApiServer(behaviour, models=models, latency=args.latency, keep=args.keep)

    def started() -> None:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()

    asyncio.run(server.serve(args.port, started))


if __name__ == "__main__":
    main()
