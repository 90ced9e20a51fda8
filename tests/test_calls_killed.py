"""A process that makes 805 calls with the real client, killed again and again, and resumed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from api_server import Asked, Fault, Reply, failing

from judges.backends.base import Completion, Failure, Request, Sampling
from judges.backends.calls import NOT_ASKED
from judges.backends.spec import ModelSpec
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.schema import Message
from judges.storage.cache import Cache, completion_key
from judges.storage.database import open_database
from judges.storage.ledger import Ledger

CALLS = 805
PROGRAM = """
import json, sys
sys.path.insert(0, {tests!r})
from test_calls_killed import replies
with open({out!r}, "w") as file:
    json.dump(replies({url!r}), file)
"""


def replies(url: str) -> dict[str, str]:
    """What the server at `url` answers to all requests, with the user's own cache."""
    with Caller.default() as caller:
        done = {request.id: reply for request, reply in caller.complete(spec(url), asked(), Task())}
    return {
        name: reply.text if isinstance(reply, Completion) else reply.reason
        for name, reply in sorted(done.items())
    }


def spec(url: str) -> ModelSpec:
    return ModelSpec(spec="openai-api/m", base_url=f"{url}/v1")


def asked() -> list[Request]:
    return [
        Request(id=f"{n:03d}", messages=(Message("user", f"Say {n}"),), sampling=Sampling())
        for n in range(CALLS)
    ]


def echo(asked: Asked) -> Reply:
    return Reply(text=f"{asked.prompt}: {asked.draw.random()}")


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api_keys: None) -> None:
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HERDBOOK_DATABASE", raising=False)
    monkeypatch.delenv("HERDBOOK_PRICES", raising=False)


def stored(url: str) -> set[str]:
    """The prompts whose completions are in the cache."""
    requests = asked()
    identity = {"provider": "openai-api", "name": "m", "url": f"{url}/v1"}
    keys = {completion_key(identity, request): request for request in requests}
    return {keys[key].messages[0].content for key in Cache(open_database()).get_many(list(keys))}


def test_killed_at_twenty_points_and_resumed(serve, tmp_path, monkeypatch):
    server = serve(echo, latency=0.02)
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "uninterrupted"))
    expected = replies(server.url)
    assert len(expected) == CALLS
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "replies.json"
    program = PROGRAM.format(tests=str(Path(__file__).parent), out=str(out), url=server.url)
    chance, kills = random.Random(3), 0
    while not out.is_file() or not out.read_text():
        before = stored(server.url) if kills else set()
        begin = len(server.log)
        kill_at = begin + chance.randint(1, 60) if kills < 20 else 10**9
        process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1])
        while process.poll() is None and len(server.log) < kill_at:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        while server.in_flight:
            time.sleep(0.01)
        again = {call.prompt for call in server.log[begin:]} & before
        assert not again, f"{len(again)} stored completions were asked for again"
        assert before <= stored(server.url)
    assert kills == 20
    assert json.loads(out.read_text()) == expected
    assert replies(server.url) == expected


def test_nearly_all_that_arrived_is_stored(serve, tmp_path):
    """A reply that reached the process is stored within milliseconds, whoever kills it then."""
    server = serve(echo)
    out = tmp_path / "replies.json"
    program = PROGRAM.format(tests=str(Path(__file__).parent), out=str(out), url=server.url)

    def slow_after_100(asked: Asked) -> Reply:
        return Reply(text="yes", latency=0.0 if asked.number < 100 else 60.0)

    server.behaviour = slow_after_100
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1])
    while len(server.log) - server.in_flight < 100:
        time.sleep(0.001)
    deadline = time.monotonic() + 20
    while len(stored(server.url)) < 100 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(stored(server.url)) == 100


def test_every_fifth_call_fails_and_all_are_there(serve, no_waits):
    server = serve(failing(0.2, 1, echo))
    done = replies(server.url)
    assert all(text.startswith(f"Say {int(name)}: ") for name, text in done.items())
    assert len(done) == CALLS
    (spending,) = Ledger(open_database()).spending("model")
    assert spending.calls == CALLS
    assert spending.retries == len(server.log) - CALLS > 100


def test_a_wrong_key_ends_it_at_once(serve):
    server = serve(lambda asked: Fault(status=401, message="wrong key"))
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        replies(server.url)
    assert len(server.log) <= 64


def test_no_server_is_there(no_waits):
    with Caller() as caller:
        at = spec("http://127.0.0.1:9")
        done = [reply for _, reply in caller.complete(at, asked(), Task())]
    assert len(done) == CALLS
    assert set(done) == {Failure("the connection failed"), Failure(NOT_ASKED)}
