"""What the tests of batch services share: Callers whose clock is put forward, and requests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from api_batches import Batches
from api_server import ApiServer, Asked, Reply

from judges.backends.base import Completion, Failure, Request, Sampling
from judges.backends.base import Reply as Answer
from judges.calling.caller import Caller, Task
from judges.calling.handover import Pace
from judges.schema import Message
from judges.storage.database import open_database
from judges.storage.ledger import BatchStore, Ledger

PROVIDERS = pytest.mark.parametrize("provider", ["openai", "anthropic"])
N = 300
"""Requests: more than are stored together."""
TASK = Task("board", "row", "judge", folder="results")


class Clock:
    """Waiting takes no time: the clock is put forward instead."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead += seconds

    def pace(self) -> Pace:
        return Pace(sleep=self.sleep, now=self.now)


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api_keys: None) -> None:
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HERDBOOK_DATABASE", raising=False)
    models = [
        f'[[models]]\nmodel = "{provider}/{name}"\ninput = 50\noutput = 500\nbatch = 0.5\n'
        for provider in ("openai", "anthropic")
        for name in ("m", "other")
    ]
    (tmp_path / "prices.toml").write_text("".join(models))
    monkeypatch.setenv("HERDBOOK_PRICES", str(tmp_path / "prices.toml"))


@pytest.fixture
def server(serve: Callable[..., ApiServer]) -> ApiServer:
    """A server with batch services."""
    return serve(echo, batches=Batches())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def batching(clock: Clock, told: list[str]) -> Iterator[Callable[..., Caller]]:
    """A Caller that uses batch services, with the stores of a user."""
    made: list[Caller] = []

    def make(**settings: Any) -> Caller:
        given = {"batch": True, "pace": clock.pace(), "tell": told.append, **settings}
        made.append(Caller.default(**given))
        return made[-1]

    yield make
    for caller in made:
        caller.close()


def echo(asked: Asked) -> Reply:
    return Reply(text=f"{asked.prompt}: {asked.draw.random()}", reasoning="so be it")


def some(n: int = N, begin: int = 0, **settings: Any) -> list[Request]:
    sampling = Sampling(max_tokens=20, seed=None)
    return [
        Request(id=str(k), messages=(Message("user", f"Say {k} ü\n{'x' * (k % 7)}"),),
                sampling=sampling, **settings)
        for k in range(begin, begin + n)
    ]  # fmt: skip


def ask(
    caller: Caller, spec: Any, requests: Sequence[Request], task: Task = TASK
) -> dict[str, Answer]:
    replies = {r.id: reply for r, reply in caller.complete(spec, requests, task)}
    assert replies.keys() == {r.id for r in requests}
    return replies


def texts(replies: Mapping[str, Answer]) -> dict[str, str]:
    return {
        name: reply.text if isinstance(reply, Completion) else f"({reply.reason})"
        for name, reply in sorted(replies.items())
    }


def reasons(replies: Mapping[str, Answer]) -> Counter[str]:
    return Counter(reply.reason for reply in replies.values() if isinstance(reply, Failure))


def singly(
    spec: Any, requests: Sequence[Request], tmp_path: Path, monkeypatch: Any
) -> dict[str, Answer]:
    """What single calls bring, with a cache of their own."""
    with monkeypatch.context() as patch:
        patch.setenv("HERDBOOK_CACHE", str(tmp_path / "singly"))
        with Caller.default() as caller:
            return ask(caller, spec, requests)


def sizes(server: ApiServer) -> list[int]:
    """How many requests each batch has that the server was given."""
    return [len(batch.asked) for batch in server.batches.made]


def assert_paid_once(server: ApiServer, n: int = N) -> None:
    assert len(server.batches.prompts) == n
    assert set(server.batches.prompts.values()) == {1}
    (spent,) = Ledger(open_database()).spending("model")
    assert (spent.calls, spent.batched, spent.unpriced) == (n, n, 0)
    assert not BatchStore(open_database()).is_any_open()
