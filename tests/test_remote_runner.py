"""Many calls to a server: how many at once, again after failures, given up, cut off."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from scripted_server import Jumping, Said, Server, broken, busy, request

from judges.backends.base import CallFailed, Completion, Failure, Request
from judges.backends.calls import EMPTY, NOT_ASKED, TIMED_OUT, Calls
from judges.backends.limiter import Limits
from judges.backends.loop import Runner
from judges.backends.runner import Call
from judges.errors import UserError

TESTS = Path(__file__).parent


@pytest.fixture
def runner():
    made: list[Runner] = []

    def make(loop=Jumping, **limits: float) -> Runner:
        made.append(Runner(Limits(**limits), loop))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def ask(runner: Runner, server: Server, n: int, name: str = "server") -> list[Call]:
    """`n` requests, all answered."""
    done: list[Call] = []
    left = [Call(request(i)) for i in range(n)]
    with Calls(runner, server, name) as calls:
        while left or calls.inside:
            if room := calls.room:
                calls.send(left[:room])
                del left[:room]
            done += calls.take(wait=True)
    assert sorted(int(call.request.id) for call in done) == list(range(n))
    return done


def failures(done: list[Call]) -> list[str]:
    return [call.reply.reason for call in done if isinstance(call.reply, Failure)]


def took(runner: Runner) -> float:
    return runner.loop.time()


class Bucket:
    """A server that bears `rate` calls a second, and `burst` at once after a rest."""

    def __init__(self, rate: float, burst: float, *, tells: bool) -> None:
        self.rate, self.burst, self.tells = rate, burst, tells
        self.level, self.at = burst, 0.0

    def __call__(self, request: Request, before: int, in_flight: int) -> Said:
        now = asyncio.get_running_loop().time()
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return busy((1 - self.level) / self.rate if self.tells else None)
        self.level -= 1
        return "yes"


# ------------------------------------------------------------------------------ how many at once
def test_the_number_of_calls_doubles_until_the_maximum(runner):
    server, of = Server(), runner(start_in_flight=8, max_in_flight=64)
    done = ask(of, server, 1000)
    assert not failures(done)
    rounds = [len(list(group)) for _, group in itertools.groupby(server.log, lambda line: line[0])]
    assert rounds[:4] == [8, 16, 32, 64]
    assert server.most_in_flight == 64


def test_a_server_that_bears_few_calls_gets_few_and_more_when_it_bears_more(runner):
    server, of = Server(), runner(start_in_flight=64, max_in_flight=256)

    def bears(request: Request, before: int, in_flight: int) -> Said:
        most = 10 if len(server.log) < 1500 else 100
        return busy() if in_flight > most else "yes"

    server.behave = bears
    assert not failures(ask(of, server, 6000))
    early = [in_flight for _, _, in_flight in server.log[500:1500]]
    late = [in_flight for _, _, in_flight in server.log[-1500:]]
    assert sum(n <= 10 for n in early) / len(early) > 0.8
    assert max(early) < 30 < 60 < max(late) < 130
    assert len(server.log) < 1.2 * 6000


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("latency", [0.02, 0.2, 2.0])
def test_a_server_with_a_rate_is_called_at_its_rate(runner, tells, latency):
    server, of = Server(Bucket(10, 200, tells=tells), latency), runner()
    assert not failures(ask(of, server, 1200))
    # Usually 1.1 times; where the machine is busy, the loop jumps on while a reply is being read.
    assert took(of) < 1.5 * (1200 - 200) / 10
    assert len(server.log) < 2 * 1200 + 500
    assert max(server.asked.values()) <= 12  # of 17 that it may have


def test_all_judges_of_a_server_share_what_is_known_of_it(runner):
    server = Server(lambda request, before, in_flight: busy() if in_flight > 4 else "yes")
    of = runner(start_in_flight=64)
    ask(of, server, 200)
    server.log.clear()
    ask(of, server, 50)
    assert server.log[0][2] <= server.most_in_flight < 12
    other = Server()
    ask(of, other, 100, "another server")
    assert other.most_in_flight >= 64


# --------------------------------------------------------------------------------- once more
def test_every_fifth_call_fails_and_all_are_there(runner):
    chance = random.Random(7)
    server = Server(lambda *_: broken() if chance.random() < 0.2 else "yes")
    done = ask(runner(), server, 805)
    assert not failures(done)
    assert sum(call.retries for call in done) == len(server.log) - 805 > 100


def test_retry_after_is_honoured(runner):
    server = Server(lambda request, before, _: broken(after=40) if before == 0 else "yes")
    ask(runner(), server, 5)
    times = {name: [at for at, of, _ in server.log if of == name] for name in server.asked}
    for first, second in times.values():
        assert 40 <= second - (first + server.latency) < 41


def test_a_whole_server_is_left_alone_for_as_long_as_it_asks(runner):
    """One call is told to wait, and all others wait with it."""
    server = Server(
        lambda request, before, _: busy(after=30) if request.id == "7" and not before else "yes",
        latency=lambda request: 0.1 if request.id == "7" else 1.0,
    )
    ask(runner(start_in_flight=20), server, 200)
    sent = [at for at, _, _ in server.log]
    assert sent[:20] == [0.0] * 20
    assert all(at >= 30.1 for at in sent[20:])


def test_waits_grow_and_differ(runner):
    server = Server(lambda *_: broken(), latency=0.0)
    of = runner(retries=6, brake_after=10**6)
    ask(of, server, 50)
    first, *rest = ([at for at, name, _ in server.log if name == of] for of in map(str, range(50)))
    for n, longest in enumerate((0.5, 1, 2, 4, 8, 16)):
        waits = [times[n + 1] - times[n] for times in (first, *rest)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert len(set(waits)) == 50


def test_what_no_retry_can_mend_is_asked_once(runner):
    refused = CallFailed("content refused (400)", retry=False)
    server = Server(lambda request, *_: refused if int(request.id) % 2 else "yes")
    done = ask(runner(), server, 100)
    assert failures(done) == ["content refused (400)"] * 50
    assert len(server.log) == 100
    server = Server(lambda *_: refused)
    assert len(failures(ask(runner(), server, 100))) == 100
    assert len(server.log) == 100


def test_a_server_that_asks_for_an_hour_is_not_waited_for(runner):
    server, of = Server(lambda *_: busy(after=3600)), runner()
    assert set(failures(ask(of, server, 300))) == {"too many requests (429)", NOT_ASKED}
    assert took(of) < 60
    assert max(server.asked.values()) == 1


def test_a_call_without_end_is_ended(runner):
    slow = Server(latency=lambda request: 1e6 if request.id == "3" else 1.0)
    of = runner(timeout_s=50)
    done = ask(of, slow, 20)
    assert failures(done) == [TIMED_OUT]
    assert slow.asked["3"] == 3
    assert slow.in_flight == 0


def test_a_reply_without_content_is_none(runner):
    nothing = Completion(text="", output_tokens=0)
    server = Server(lambda request, before, _: nothing if before < 1 else "yes")
    done = ask(runner(), server, 10)
    assert not failures(done)
    assert [len(call.paid) for call in done] == [2] * 10
    server = Server(lambda request, *_: nothing if request.id == "4" else "yes")
    done = ask(runner(), server, 10)
    assert failures(done) == [EMPTY]
    assert server.asked["4"] == 3
    kept = [
        Completion(text="", output_tokens=1),  # the model ended its turn at once
        Completion(text="", finish_reason="refused"),
        Completion(text="", finish_reason="length"),
        Completion(text="", reasoning="hm"),
    ]
    server = Server(lambda request, *_: kept[int(request.id)])
    assert not failures(ask(runner(), server, 4))


# -------------------------------------------------------------------------------- given up
def asked_in_vain(reasons: list[str], server: Server, reason: str) -> None:
    """Each request has the reason for which it failed itself, or says that it was not made."""
    n_made = len({name for _, name, _ in server.log})
    assert Counter(reasons) == Counter({reason: n_made, NOT_ASKED: len(reasons) - n_made})


@pytest.mark.parametrize("n", [5, 805, 5000])
def test_a_server_that_fails_for_ever_is_given_up(runner, n):
    server, of = Server(lambda *_: broken()), runner()
    asked_in_vain(failures(ask(of, server, n)), server, "server error (500)")
    assert took(of) < 150
    assert len(server.log) < 250


def test_a_server_that_never_has_time_is_given_up(runner):
    server, of = Server(lambda *_: busy()), runner()
    asked_in_vain(failures(ask(of, server, 5000)), server, "too many requests (429)")
    assert took(of) < 600
    assert len(server.log) < 250


def test_a_server_that_hangs_is_given_up(runner):
    server, of = Server(latency=1e9), runner(timeout_s=600)
    asked_in_vain(failures(ask(of, server, 5000)), server, TIMED_OUT)
    assert took(of) <= 3 * 600 + 60
    assert len(server.log) < 250


def test_a_server_that_comes_back_is_called_again(runner):
    def down_for_20_s(*_: object) -> Said:
        return broken() if asyncio.get_running_loop().time() < 20 else "yes"

    of = runner()
    assert not failures(ask(of, Server(down_for_20_s), 805))
    assert took(of) < 60


def test_one_call_tells_whether_a_server_is_still_given_up(runner):
    server, of = Server(lambda *_: broken()), runner()
    ask(of, server, 100)
    server.log.clear()
    assert len(failures(ask(of, server, 100))) == 100
    assert len(server.log) == 1
    server.behave = lambda request, *_: "yes"
    assert not failures(ask(of, server, 100))


def test_one_request_that_fails_to_the_end_gives_its_server_up(runner):
    """So that whoever comes next does not spend the same patience on it once more."""
    server, of = Server(lambda *_: broken()), runner()
    ask(of, server, 1)
    waited = took(of)
    server.log.clear()
    asked_in_vain(failures(ask(of, server, 805)), server, "server error (500)")
    assert len(server.log) == 1
    assert took(of) < waited + 1
    server.behave = lambda request, *_: "yes"
    assert not failures(ask(of, server, 805))


# ------------------------------------------------------------------------------- cut off
def test_an_error_of_the_user_comes_behind_what_was_under_way(runner):
    server = Server(
        lambda request, *_: UserError("no such model") if request.id == "5" else "yes",
        latency=lambda request: 0.1 if request.id == "5" else 0.5,
    )
    done: list[Call] = []
    with Calls(runner(start_in_flight=10), server, "server") as calls:
        calls.send([Call(request(n)) for n in range(100)])
        while len(done) < 9:
            done += calls.take(wait=True)
        for _ in range(2):
            with pytest.raises(UserError, match="no such model"):
                calls.take(wait=True)
    assert sorted(int(c.request.id) for c in done) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert len(server.log) == 10


def test_a_fault_of_ours_comes_out_as_it_is(runner):
    server = Server(lambda *_: KeyError("choices"))
    with pytest.raises(KeyError, match="choices"):
        ask(runner(), server, 1)


def test_what_cannot_be_kept_is_not_handed_out(runner):
    def full(calls: list[Call]) -> None:
        raise OSError("no space left")

    with Calls(runner(), Server(), "server", keep=full) as calls:
        calls.send([Call(request(n)) for n in range(5)])
        with pytest.raises(OSError, match="no space"):
            calls.take(wait=True)


def test_leaving_cuts_off_what_does_not_come_and_keeps_what_has(runner, monkeypatch):
    monkeypatch.setattr("judges.backends.loop._PATIENCE_S", 0.1)
    kept: list[str] = []
    server = Server(latency=lambda request: 0.1 if int(request.id) < 3 else 1e6)

    def keep(calls: list[Call]) -> None:
        time.sleep(0.05)
        kept.extend(call.request.id for call in calls if isinstance(call.reply, Completion))

    of = runner(loop=None, start_in_flight=10, max_in_flight=10, timeout_s=1e9)
    with Calls(of, server, "server", keep=keep) as calls:
        calls.send([Call(request(n)) for n in range(20)])
        while server.in_flight != 10 or len(server.log) < 13:  # 3 came, 3 took their places
            time.sleep(0.001)
    assert sorted(kept) == ["0", "1", "2"]
    assert server.in_flight == 0
    assert server.cancelled == 10
    assert of.limiter("server").in_flight == 0
    assert of.run(_tasks()) == 1
    assert not failures(ask(of, Server(), 5))


async def _tasks() -> int:
    return len(asyncio.all_tasks())


def test_closing_the_runner_ends_its_thread(runner, monkeypatch):
    monkeypatch.setattr("judges.backends.loop._PATIENCE_S", 0.1)
    of = runner(loop=None, timeout_s=1e9)
    calls = Calls(of, Server(latency=1e6), "server")
    calls.send([Call(request(1))])
    of.close()
    calls.close()
    of.close()
    assert not [thread for thread in threading.enumerate() if "herdbook" in thread.name]


def test_a_slow_consumer_holds_back_the_sending(runner):
    server, of = Server(), runner(loop=None, max_in_flight=8, start_in_flight=8)
    server.latency = 0.0
    with Calls(of, server, "server") as calls:
        assert calls.room == calls.window == 16
        calls.send([Call(request(n)) for n in range(16)])
        assert calls.room == 0
        while len(server.log) < 16:
            time.sleep(0.001)
        taken: list[Call] = []
        while len(taken) < 16:
            taken += calls.take(wait=True)
        assert calls.room == 16


def test_memory_does_not_grow_with_the_number_of_calls(runner):
    """Ten thousand replies of ten thousand characters pass through a window of 64."""
    server = Server(lambda request, *_: request.id * 2000)
    of = runner(max_in_flight=32, start_in_flight=32)
    tracemalloc.start()
    try:
        n = 0
        with Calls(of, server, "server") as calls:
            for _ in range(200):
                calls.send([Call(request(10_000 + n)) for n in range(calls.room)])
                n += len(calls.take(wait=True))
        server.log.clear()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n > 2000
    assert peak < 10e6


# ------------------------------------------------------------------------- a process that ends
PROGRAM = """
import sys, time
sys.path.insert(0, {tests!r})
from scripted_server import Server, request
from judges.backends.base import Completion
from judges.backends.calls import Calls
from judges.backends.limiter import Limits
from judges.backends.loop import Runner
from judges.backends.runner import Call

server = Server(latency=lambda request: 0.01 if int(request.id) < 5 else 1000.0)
kept = []
runner = Runner(Limits())
calls = Calls(runner, server, "server", keep=lambda group: kept.extend(group))
calls.send([Call(request(n)) for n in range(300)])
taken = []
while len(taken) < 5:
    taken += calls.take(wait=True)
print("ready", flush=True)
"""


def _run(ending: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(tests=str(TESTS)) + ending
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=TESTS.parent,
    )


def test_a_process_that_forgets_to_close_ends_all_the_same():
    done = _run("")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


def test_a_second_ctrl_c_while_replies_are_waited_for():
    done = _run(
        "import os, signal, threading\n"
        "def interrupt(*_):\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "def tell(text):\n"
        "    if 'waiting' in text:\n        threading.Timer(0.2, interrupt).start()\n"
        "runner.tell = tell\n"
        "threading.Timer(0.2, interrupt).start()\n"
        "try:\n    with calls:\n        calls.take(wait=True)\n"
        "except KeyboardInterrupt:\n"
        "    done = sum(type(call.reply) is Completion for call in kept)\n"
        "    print(done, server.in_flight, server.cancelled > 50)\n"
        "runner.close()\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ready\n5 0 True\n"


def test_nothing_is_left_behind(runner, recwarn):
    ask(runner(), Server(lambda request, before, _: "yes" if before else broken()), 50)
    gc.collect()
    assert not [str(w.message) for w in recwarn if "never" in str(w.message)]
