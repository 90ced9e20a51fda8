"""Servers for tests, on a thread of the test's own process or in one of their own, and their callers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from judges.backends.base import Request, Sampling
from judges.backends.opening import open_model
from judges.backends.spec import ModelSpec
from judges.schema import Message

if TYPE_CHECKING:
    from api_server import ApiServer

KEY = "sk-sentinel-4f9a2c71d0e84b6bb3a5"
BARE = Sampling(max_tokens=None, temperature=None, seed=None)


@pytest.fixture
def serve() -> Iterator[Callable[..., ApiServer]]:
    """Starts a server: `serve(behaviour, models=…, latency=…)`; all end with the test."""
    from api_server import ApiServer

    with ExitStack() as stack:
        yield lambda *args, **settings: stack.enter_context(ApiServer(*args, **settings))


@pytest.fixture
def serve_process() -> Iterator[Callable[..., str]]:
    """Starts a server in a process of its own: `serve_process("--latency", "0.2")` gives its
    address, below which OpenAI's clients look under /v1."""
    with ExitStack() as stack:

        def start(*flags: str) -> str:
            command = [sys.executable, str(Path(__file__).parent / "api_server.py"), *flags]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the server did not start"
            return address

        yield start


@pytest.fixture
def api_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both providers' keys are KEY, and nothing else in the environment says where to call."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between retries are left out."""
    monkeypatch.setattr("judges.backends.calls.backoff", lambda failures: 0.01)
    monkeypatch.setattr("judges.backends.limiter.backoff", lambda failures: 0.01)


def spec_of(provider: str, server: ApiServer | str, name: str = "m", **settings: Any) -> ModelSpec:
    """A model at a server, or at an address."""
    address = server if isinstance(server, str) else server.url
    return ModelSpec(spec=f"{provider}/{name}", base_url=f"{address}/v1", **settings)


def asked(text: str = "hello", sampling: Sampling = BARE, **settings: Any) -> Request:
    return Request(id="q", messages=(Message("user", text),), sampling=sampling, **settings)


def run(spec: ModelSpec, *requests: Request, seconds: float = 20.0) -> Any:
    """Makes the calls side by side; gives what came of each, a completion or an exception, and of
    a single one that alone."""

    async def calls() -> list[Any]:
        llm: Any = open_model(spec)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.gather(
                    *(llm.complete(request) for request in requests or (asked(),)),
                    return_exceptions=True,
                )
        finally:
            await llm.close()

    done = asyncio.run(calls())
    return done[0] if len(done) == 1 else done


def described(spec: ModelSpec) -> Any:
    """What the model's server tells of it."""

    async def call() -> Any:
        llm: Any = open_model(spec)
        try:
            return await llm.describe()
        finally:
            await llm.close()

    return asyncio.run(call())
