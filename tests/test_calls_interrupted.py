"""Calls that are under way when a run ends: what is paid for is waited for, and what is not known
is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest
from api_server import ApiServer, Asked, Fault, Reply
from conftest import make_board
from scripted_server import Server, request
from servers import spec_of

from judges.backends.base import Completion
from judges.backends.limiter import Limits
from judges.calling.caller import Caller, Task
from judges.calling.prices import Prices
from judges.storage.cache import Cache
from judges.storage.database import open_database
from judges.storage.ledger import Ledger, Spending

ROOT = Path(__file__).parents[1]
QUICK = 20
"""The first so many calls are answered at once."""


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api_keys: None) -> None:
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HERDBOOK_DATABASE", raising=False)
    (tmp_path / "prices.toml").write_text(
        '[[models]]\nmodel = "openai-api/m"\ninput = 50\noutput = 500\n'
    )
    monkeypatch.setenv("HERDBOOK_PRICES", str(tmp_path / "prices.toml"))


def spending() -> Spending:
    (found,) = Ledger(open_database()).spending("model")
    return found


def slow_behind_the_first(seconds: float) -> Callable[[Asked], Reply]:
    def behave(asked: Asked) -> Reply:
        return Reply(text=f"to {asked.prompt}", latency=seconds * (asked.number >= QUICK))

    return behave


# ---------------------------------------------------------------------------------- Ctrl-C for real
@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `leaderboard` with these words; whatever runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(*words: str | Path) -> subprocess.Popen[str]:
        program = "import sys; from leaderboard.cli import main; sys.exit(main(sys.argv[1:]))"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def command(server: ApiServer, results: Path) -> tuple[str | Path, ...]:
    """Has 200 instructions answered."""
    if not (results / "toy").is_dir():
        make_board(results / "toy", 200)
    return (
        *("eval", "openai-api/m", "--base-url", f"{server.url}/v1"),
        *("--board", "toy", "--results", results, "--only", "generate"),
    )


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if is_so():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def read_until(stream: IO[str], words: str) -> str:
    """What a process says up to the line with these words."""
    said = ""
    for line in stream:
        said += line
        if words in line:
            return said
    raise AssertionError(f"never said {words!r}:\n{said}")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_what_is_under_way_is_waited_for_and_never_asked_again(sent, serve, start, tmp_path):
    server = serve(slow_behind_the_first(2.0))
    words = command(server, tmp_path / "results")
    process = start(*words)
    wait_until(lambda: len(server.log) >= QUICK + 40 and server.in_flight >= 40, process)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "replies that are on their way" in said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert "not answered" not in said
    n = len(server.log)
    assert QUICK + 40 <= n < 200  # nothing was sent any more
    assert (spending().calls, spending().unpriced) == (n, 0)
    server.behaviour = slow_behind_the_first(0.0)
    again = start(*words)
    _, said = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert len(server.prompts) == 200
    assert set(server.prompts.values()) == {1}
    assert (spending().calls, spending().unpriced) == (200, 0)


def test_a_second_one_leaves_at_once_and_tells_what_is_not_known(serve, start, tmp_path):
    server = serve(slow_behind_the_first(600.0))
    process = start(*command(server, tmp_path / "results"))
    n = 84  # 64 at first, and one more for each of the quick ones
    wait_until(lambda: server.in_flight == n, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    read_until(process.stderr, "on their way")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=25)  # less than what one Ctrl-C waits
    assert process.returncode == 130
    assert f"{n} calls were sent and not answered" in said
    assert "Traceback" not in said
    assert (spending().calls, spending().unpriced) == (QUICK + n, n)


# ------------------------------------------------------------------------------- in this process
Opened = Callable[..., Caller]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def open_caller(told: list[str], shown: list[str]) -> Iterator[Opened]:
    """A Caller with the stores of a user: of a `Server`, or with the real client."""
    made: list[Caller] = []

    def make(server: Server | None = None, **settings: object) -> Caller:
        database = open_database()
        given: dict[str, object] = {"tell": told.append, "show": shown.append, **settings}
        if server is not None:
            given["opener"] = lambda spec: server
        made.append(Caller(cache=Cache(database), ledger=Ledger(database), prices=Prices.load(),
                           **given))  # type: ignore[arg-type]  # fmt: skip
        return made[-1]

    yield make
    for caller in made:
        caller.close()


def has(lines: Sequence[str], words: str) -> bool:
    return any(words in line for line in lines)


SPEC = spec_of("openai-api", "http://127.0.0.1:9")


def first_alone(caller: Caller, n: int) -> None:
    """Takes one reply to `n` requests, and wants no more."""
    for _ in caller.complete(SPEC, [request(k) for k in range(n)], Task()):
        return


def test_who_wants_no_more_has_what_was_sent_stored_all_the_same(open_caller, told):
    server = Server(latency=lambda request: 0.5 * (request.id != "0"))
    first_alone(open_caller(server), 300)
    sent = set(server.asked)
    assert 64 <= len(sent) < 300
    stored = open_caller(Server()).n_uncached(SPEC, [request(name) for name in sent])
    assert (stored, server.cancelled, spending().calls) == (0, 0, len(sent))
    assert not has(told, "not answered")


def test_what_does_not_come_in_time_is_told_and_written_down(open_caller, told, monkeypatch):
    monkeypatch.setattr("judges.backends.loop._PATIENCE_S", 0.5)
    server = Server(latency=lambda request: 600.0 if int(request.id) < 10 else 0.01)
    caller = open_caller(server)
    first_alone(caller, 64)
    assert server.cancelled == 10
    assert "10 calls were sent and not answered" in told[-1]
    assert (spending().calls, spending().unpriced) == (64, 10)
    assert (caller.n_calls, caller.is_cost_unknown) == (64, True)


def test_paid_failures_of_calls_that_wait_for_another_try_are_written_down(open_caller):
    """An empty reply is charged for; its call is not made again when the run ends."""
    empty = Completion(text="", input_tokens=100, output_tokens=0)
    server = Server(lambda request, *_: empty if request.id != "0" else "yes", latency=0.01)
    first_alone(open_caller(server), 64)
    assert (spending().calls, spending().unpriced) == (len(server.log), 0)


def test_an_interrupt_ends_the_calls_of_all_at_once(open_caller, told):
    """A judge may ask a second model while the answers of the first come in."""
    server = Server(latency=lambda request: 1.0 if request.id in "123456789" else 0.05)
    other = spec_of("openai-api", "http://127.0.0.1:9", "other")
    caller = open_caller(server)
    inner = caller.complete(other, [request(f"{k} again") for k in range(3)], Task())
    outer = caller.complete(SPEC, [request(k) for k in range(10)], Task())
    next(outer), next(inner)
    with pytest.raises(KeyboardInterrupt):
        inner.throw(KeyboardInterrupt)
    assert server.in_flight == 0
    assert server.cancelled == 0
    assert [line[:11] for line in told] == ["waiting for"]
    assert {s.group: s.calls for s in Ledger(open_database()).spending("model")} == {
        "openai-api/m": 10,
        "openai-api/other": 3,
    }


# -------------------------------------------------------------------------- what keeps it from going
def texts(caller: Caller, url: str, n: int = 3) -> list[str]:
    spec = spec_of("openai-api", url)
    replies = caller.complete(spec, [request(k) for k in range(n)], Task())
    return [getattr(reply, "text", getattr(reply, "reason", "")) for _, reply in replies]


def test_calls_that_a_busy_server_sends_away_are_shown(serve, open_caller, shown):
    slow = Fault(status=429, type="rate_limit_error", headers={"retry-after": "2"})
    server = serve(lambda asked: slow if asked.number < 3 else Reply(text="yes"))
    assert texts(open_caller(), server.url) == ["yes"] * 3
    first = "3 to be tried again: the server has too much to do (429); try 2 of 17"
    assert first in shown or f"{first} in 1 s" in shown or f"{first} in 2 s" in shown, shown
    assert shown[-1] == ""


def test_a_server_that_is_gone_is_shown(open_caller, shown):
    gone = texts(open_caller(limits=Limits(retries=3)), "http://127.0.0.1:9")
    assert gone == ["the connection failed"] * 3
    assert has(shown, "to be tried again: the connection failed; try ")
    assert has(shown, " of 4")
    assert shown[-1] == ""


def test_a_server_that_is_silent_is_shown(serve, open_caller, shown, monkeypatch):
    monkeypatch.setattr("judges.backends.calls._SILENT_S", 0.5)
    server = serve(lambda asked: Reply(text="yes", latency=3.0))
    assert texts(open_caller(), server.url) == ["yes"] * 3
    assert has(shown, "3 under way, and no reply for ")
    assert has(shown, " s; a call is given up after 600 s")
    assert shown[-1] == ""


def test_a_server_that_is_well_is_not_talked_about(serve, open_caller, shown):
    server = serve(lambda asked: Reply(text="yes", latency=0.3 + 0.7 * asked.number))
    assert texts(open_caller(), server.url, 4) == ["yes"] * 4
    assert shown == []
