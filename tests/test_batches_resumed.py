"""Batches that are cut short: nothing is paid for twice, whatever is killed, and when."""

# ruff: noqa: F811 - a fixture that is imported is not redefined by who asks for it
from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from api_batches import Drop
from api_server import ApiServer, Fault
from batching import (  # noqa: F401
    PROVIDERS,
    N,
    ask,
    assert_paid_once,
    batching,
    clock,
    echo,
    own_files,
    reasons,
    server,
    singly,
    sizes,
    some,
    texts,
    told,
)
from servers import spec_of

from judges.calling.caller import Caller
from judges.errors import UserError
from judges.storage.database import open_database
from judges.storage.ledger import BatchStore

pytestmark = pytest.mark.usefixtures("own_files")

PROGRAM = """
import json, os, signal, sys
sys.path.insert(0, {tests!r})
from batching import Clock, TASK, some
from servers import spec_of
from judges.calling.caller import Caller
from judges.calling.handover import Pace

replies = {{}}
with Caller.default(batch=True, pace={pace}) as caller:
    for request, reply in caller.complete(spec_of({provider!r}, {url!r}), some(), TASK):
        replies[request.id] = reply.text
        if len(replies) == {stop}:
            os.kill(os.getpid(), signal.SIGKILL)
with open({out!r}, "w") as file:
    json.dump(replies, file)
"""


# ------------------------------------------------------------------------------------------- kills
def start(
    provider: str, server: ApiServer, out: Path, stop: int = 0, pace: str = "Clock().pace()"
) -> subprocess.Popen[bytes]:
    given = {"provider": provider, "url": server.url, "out": str(out), "stop": stop, "pace": pace}
    program = PROGRAM.format(tests=str(Path(__file__).parent), **given)
    return subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1])


KILLS = [
    *((provider, event) for provider in ("openai", "anthropic") for event in (
        "create, and it gets there", "create, and it gets lost", "created", "poll", "results",
        "first result", "in the middle", "last result",
    )),
    ("openai", "upload"),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "when"), KILLS)
def test_killed_at_any_moment_all_is_paid_for_once(
    provider, when, server, batching, tmp_path, monkeypatch
):
    expected = texts(singly(spec_of(provider, server), some(), tmp_path, monkeypatch))
    event, _, fate = when.partition(", and it ")
    stop = {"first result": 1, "in the middle": 280, "last result": N}.get(when, 0)
    process = start(provider, server, tmp_path / "replies.json", stop)

    def kill(happened: str) -> None:
        if happened == event and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            if fate == "gets lost":
                raise Drop

    server.batches.hook = kill
    assert process.wait(60) == -signal.SIGKILL
    paid_before = sizes(server)
    assert paid_before == ([] if event == "upload" or fate == "gets lost" else [N])
    assert texts(ask(batching(), spec_of(provider, server), some())) == expected
    assert sizes(server) == [N]
    assert_paid_once(server)


@PROVIDERS
def test_two_processes_at_once_share_the_batch(provider, server, tmp_path, monkeypatch):
    """By the time of day: processes whose clocks are far apart would take a batch that another one
    is just handing over for one that never got there."""
    expected = texts(singly(spec_of(provider, server), some(), tmp_path, monkeypatch))
    server.batches.polls = 6
    files = [tmp_path / f"{k}.json" for k in range(3)]
    pace = "Pace(first_s=0.05, longest_s=0.5)"
    processes = [start(provider, server, file, pace=pace) for file in files]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert [json.loads(file.read_text()) for file in files] == [expected] * 3
    assert_paid_once(server)


@PROVIDERS
def test_an_interrupt_leaves_the_batch_to_its_provider(provider, server, batching, told, clock):
    server.batches.polls = 3
    pace = clock.pace()

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(batching(pace=replace(pace, sleep=interrupt)), spec_of(provider, server), some())
    assert "the same command takes its results" in told[-1]
    assert not reasons(ask(batching(), spec_of(provider, server), some()))
    assert_paid_once(server)


@PROVIDERS
def test_without_batch_what_is_in_one_is_waited_for_and_the_rest_asked_singly(
    provider, server, batching
):
    batching().submit([(spec_of(provider, server), some(200))])
    caller = batching(batch=False)
    assert not reasons(ask(caller, spec_of(provider, server), some()))
    assert (sizes(server), len(server.log)) == ([200], 100)
    assert set((server.batches.prompts + server.prompts).values()) == {1}
    assert caller.n_calls == N


# -------------------------------------------------------------------------- connections and servers
@PROVIDERS
@pytest.mark.parametrize("how", ["cut off", "error"])
def test_a_batch_whose_reply_is_lost_is_found(provider, how, server, batching, told):
    def lose(event: str) -> Fault | None:
        if event == "created" and how == "cut off":
            raise Drop
        return Fault(status=500) if event == "created" else None

    server.batches.hook = lose
    assert not reasons(ask(batching(), spec_of(provider, server), some()))
    assert any("asking what became of it" in line for line in told)
    assert_paid_once(server)


@PROVIDERS
def test_a_batch_that_never_got_there_is_sent_again_when_that_is_sure(
    provider, server, batching, clock, told
):
    seen: Counter[str] = Counter()

    def lose(event: str) -> None:
        seen[event] += 1
        if event == "create" and seen[event] == 1:
            raise Drop

    server.batches.hook = lose
    begin = clock.now()
    assert not reasons(ask(batching(), spec_of(provider, server), some()))
    assert clock.now() - begin > 120
    assert seen["create"] == 2
    assert any("shows by" in line for line in told)
    assert_paid_once(server)


@PROVIDERS
def test_an_answer_that_was_long_on_its_way_proves_no_batch_lost(provider, server, batching, clock):
    """The list was made before the batch was there, and came when it could be there no more."""
    listed: list[str] = []

    def stale(event: str) -> object:
        if event == "created":
            raise Drop
        if event == "list":
            listed.append(event)
            if len(listed) == 1:
                clock.ahead += 250
                return {"data": [], "has_more": False}
        return None

    server.batches.hook = stale
    assert not reasons(ask(batching(), spec_of(provider, server), some()))
    assert len(listed) > 1
    assert sizes(server) == [N]
    assert_paid_once(server)


def test_what_was_not_handed_over_in_its_time_is_not_handed_over_late(server, batching, clock):
    """A process that slept through the night must not send what others have given up."""
    seen: Counter[str] = Counter()

    def sleepy(event: str) -> None:
        seen[event] += 1
        if event == "upload" and seen[event] == 1:
            clock.ahead += 10_000

    server.batches.hook = sleepy
    assert not reasons(ask(batching(), spec_of("openai", server), some()))
    assert (seen["upload"], seen["create"]) == (2, 1)
    assert_paid_once(server)


@PROVIDERS
def test_a_busy_service_is_asked_again(provider, server, batching):
    seen: Counter[str] = Counter()

    def busy(event: str) -> Fault | None:
        seen[event] += 1
        is_busy = seen[event] <= 2 and event != "created"
        return Fault(status=429, type="rate_limit_error") if is_busy else None

    server.batches.hook = busy
    assert not reasons(ask(batching(), spec_of(provider, server), some()))
    assert min(seen["create"], seen["poll"], seen["results"]) >= 3
    assert_paid_once(server)


@PROVIDERS
def test_a_service_that_never_answers_is_given_up_and_keeps_the_batch(provider, server, batching):
    server.batches.hook = lambda event: Fault(status=500) if event == "results" else None
    with pytest.raises(UserError, match=r"the server failed \(500\).*the same command goes on"):
        ask(batching(), spec_of(provider, server), some())
    server.batches.hook = lambda event: None
    assert not reasons(ask(batching(), spec_of(provider, server), some()))
    assert_paid_once(server)


@PROVIDERS
def test_a_service_that_takes_no_batch_is_given_up(provider, server, batching):
    server.batches.hook = lambda event: Fault(status=500) if event == "create" else None
    with pytest.raises(UserError, match=r"the server failed \(500\)"):
        ask(batching(), spec_of(provider, server), some())
    assert not server.batches.made


@PROVIDERS
def test_a_server_without_batches_says_so(provider, serve, batching):
    plain = serve(echo)
    with pytest.raises(UserError, match=r"has no batch service.*Leave --batch out"):
        ask(batching(), spec_of(provider, plain), some(5))
    assert not reasons(ask(batching(batch=False), spec_of(provider, plain), some(5)))
    assert len(plain.log) == 5


@PROVIDERS
def test_a_wrong_key_is_told_and_nothing_waits_for_it(provider, server, batching):
    server.batches.hook = lambda event: Fault(status=401, type="authentication_error")
    with pytest.raises(UserError, match=r"does not take the key in \w+_API_KEY \(401\)"):
        ask(batching(), spec_of(provider, server), some(5))
    assert not BatchStore(open_database()).is_any_open()


@PROVIDERS
def test_a_batch_that_the_provider_does_not_know(provider, server, batching, clock):
    batching().submit([(spec_of(provider, server), some(5))])
    server.batches.made.clear()
    with pytest.raises(UserError, match="of the same account as it was then"):
        ask(batching(), spec_of(provider, server), some(5))
    assert not server.batches.made
    clock.ahead += 30 * 86_400  # nobody keeps results for longer
    assert not reasons(ask(batching(), spec_of(provider, server), some(5)))
    assert sizes(server) == [5]


# --------------------------------------------------------------------- whose batch it is (Anthropic)
def lose_the_reply(server: ApiServer, batching: Callable[..., Caller], n: int = 5) -> None:
    """Hand over a batch whose name nobody learns."""

    def lose(event: str) -> None:
        if event == "created":
            raise Drop

    server.batches.hook = lose
    batching().submit([(spec_of("anthropic", server), some(n))])
    server.batches.hook = lambda event: None


def strangers_batch(server: ApiServer, n: int = 5) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "of somebody else"}]}
    server.batches._make("anthropic", {f"theirs-{k}": body for k in range(n)}, {})


def test_of_two_that_may_be_ours_none_is_taken_until_it_is_sure(server, batching):
    server.batches.polls = 10**6
    strangers_batch(server)
    lose_the_reply(server, batching)
    strangers_batch(server, 6)
    match = "batches msgbatch_0001, msgbatch_0000 is ours.*Run the same command again"
    with pytest.raises(UserError, match=match):
        ask(batching(), spec_of("anthropic", server), some(5))
    server.batches.polls = 0  # all of them end
    assert not reasons(ask(batching(), spec_of("anthropic", server), some(5)))
    assert sizes(server) == [5, 5, 6]


def test_a_strangers_batch_that_was_taken_for_ours_is_let_go(server, batching, clock):
    strangers_batch(server)

    def lose(event: str) -> None:
        if event == "create":
            raise Drop

    server.batches.hook = lose
    batching().submit([(spec_of("anthropic", server), some(5))])
    server.batches.hook = lambda event: None
    server.batches.polls = 2
    replies = ask(batching(), spec_of("anthropic", server), some(5))
    assert not reasons(replies)
    assert all(reply.text.startswith(f"Say {k} ") for k, reply in replies.items())
    assert sizes(server) == [5, 5]


@PROVIDERS
def test_a_batch_is_found_among_many(provider, server, batching):
    server.batches.page = 7

    def lose(event: str) -> None:
        if event == "created":
            raise Drop

    server.batches.hook = lose
    batching().submit([(spec_of(provider, server), some(5))])
    server.batches.hook = lambda event: None
    body = {"model": "m", "messages": [{"role": "user", "content": "of somebody else"}]}
    for _ in range(40):
        server.batches._make(provider, {"theirs": body}, {})
    assert not reasons(ask(batching(), spec_of(provider, server), some(5)))
    assert sizes(server) == [5] + [1] * 40
