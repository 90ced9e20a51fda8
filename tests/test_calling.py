"""The Caller: cache, ledger and budget around calls; the model in this process."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Jumping, Server, broken, request

from judges.backends.base import CallFailed, Completion, Failure, OutOfMemory, Reply, Request
from judges.backends.calls import NOT_ASKED
from judges.backends.fake import FakeLLM
from judges.backends.limiter import Limits
from judges.backends.spec import ModelSpec
from judges.calling.budget import BUDGET
from judges.calling.caller import Caller, Task
from judges.calling.prices import Prices
from judges.errors import UserError
from judges.storage.cache import Cache
from judges.storage.database import open_database
from judges.storage.ledger import Ledger

SPEC = ModelSpec(spec="openai-api/m", base_url="http://127.0.0.1:9/v1")
TASK = Task("board", "row", "judge", folder="results")
CENTS = 0.01
"""What a call to SPEC costs: 100 tokens in and 10 out."""


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HERDBOOK_DATABASE", raising=False)
    (tmp_path / "prices.toml").write_text(
        '[[models]]\nmodel = "openai-api/m"\ninput = 50\noutput = 500\n'
        '[[models]]\nmodel = "openai-api/dear"\ninput = 500\noutput = 5000\n'
    )
    monkeypatch.setenv("HERDBOOK_PRICES", str(tmp_path / "prices.toml"))
    monkeypatch.setattr("judges.backends.loop._PATIENCE_S", 0.2)


@pytest.fixture
def open_caller() -> Iterator[Callable[..., Caller]]:
    """A Caller whose servers are `Server`s, with the stores of a user."""
    made: list[Caller] = []

    def make(server: Any = None, *, loop: Any = Jumping, **settings: Any) -> Caller:
        database = open_database()
        stores = {"cache": Cache(database), "ledger": Ledger(database), "prices": Prices.load()}
        made.append(
            Caller(**{**stores, "opener": lambda spec: server, "new_loop": loop, **settings})
        )
        return made[-1]

    yield make
    for caller in made:
        caller.close()


def ask(
    caller: Caller, requests: Sequence[Request], spec: ModelSpec = SPEC, **settings: Any
) -> dict[str, Reply]:
    replies = {r.id: reply for r, reply in caller.complete(spec, requests, TASK, **settings)}
    assert replies.keys() == {r.id for r in requests}
    return replies


def some(n: int, begin: int = 0, **sampling: Any) -> list[Request]:
    return [request(i, **sampling) for i in range(begin, begin + n)]


def reasons(replies: dict[str, Reply]) -> list[str]:
    return [reply.reason for reply in replies.values() if isinstance(reply, Failure)]


# ------------------------------------------------------------------------------------- the cache
def test_what_was_completed_is_never_asked_again(open_caller):
    server = Server()
    first = ask(open_caller(server), some(300))
    again = open_caller(None)  # no server is there any more
    assert ask(again, some(300)) == first
    assert (again.n_calls, again.n_cached, again.spent_usd) == (0, 300, 0.0)
    more = open_caller(server)
    assert len(ask(more, some(400))) == 400
    assert (more.n_calls, more.n_cached) == (100, 300)
    assert set(server.asked.values()) == {1}


def test_hits_do_not_wait_for_calls(open_caller):
    server = Server()
    ask(open_caller(server), some(10))
    caller = open_caller(Server(latency=1e9), loop=None)
    stream = caller.complete(SPEC, some(20), TASK)
    assert [r.id for r, _ in itertools.islice(stream, 10)] == [str(n) for n in range(10)]
    stream.close()


def test_a_completion_is_stored_before_it_is_handed_out(open_caller):
    caller = open_caller(Server(), loop=None)
    other = Cache(open_database())
    for n, _ in enumerate(caller.complete(SPEC, some(50), TASK), 1):
        assert other.size().completions >= n


def test_failures_are_not_stored(open_caller):
    server = Server(lambda request, *_: "yes" if int(request.id) % 2 else broken())
    replies = ask(open_caller(server, limits=Limits(retries=1)), some(20))
    assert reasons(replies) == ["server error (500)"] * 10
    caller = open_caller(Server())
    assert not reasons(ask(caller, some(20)))
    assert (caller.n_calls, caller.n_cached) == (10, 10)


def test_equal_requests_are_made_once(open_caller):
    server = Server()
    equal = [request(n, f"Say {n % 7}") for n in range(700)]
    caller = open_caller(server)
    replies = ask(caller, equal)
    assert len(server.log) == 7
    assert {replies[str(n)].text for n in range(0, 700, 7)} == {"to 0"}
    assert ask(open_caller(None), equal) == replies


def test_equal_requests_fail_together(open_caller):
    server = Server(lambda *_: broken())
    replies = ask(open_caller(server, limits=Limits(retries=0)), [request(n, "x") for n in "abc"])
    assert reasons(replies) == ["server error (500)"] * 3
    assert len(server.log) == 1


def test_fresh_asks_again_and_stores_nothing(open_caller):
    server = Server(lambda request, before, _: f"time {before}")
    assert ask(open_caller(server), [request("a")])["a"].text == "time 0"
    caller = open_caller(server)
    assert ask(caller, [request("a")], fresh=True)["a"].text == "time 1"
    assert caller.n_cached == 0
    assert ask(open_caller(server), [request("a")])["a"].text == "time 0"
    twice = list(caller.complete(SPEC, [request("b", "x"), request("c", "x")], TASK, fresh=True))
    assert len(twice) == 2
    assert server.asked["b"] == server.asked["c"] == 1


def test_without_a_cache_all_is_asked(open_caller):
    server = Server()
    for _ in range(2):
        ask(open_caller(server, cache=None, ledger=None, prices=None), some(5))
    assert set(server.asked.values()) == {2}


def test_another_server_or_sampling_is_another_request(open_caller):
    server = Server()
    ask(open_caller(server), some(5))
    ask(open_caller(server), some(5, temperature=1.0))
    elsewhere = ModelSpec(spec="openai-api/m", base_url="http://127.0.0.1:10/v1")
    ask(open_caller(server), some(5), elsewhere)
    assert set(server.asked.values()) == {3}


def test_how_many_are_not_in_the_cache(open_caller):
    ask(open_caller(Server()), some(10))
    caller = open_caller(None)
    assert caller.n_uncached(SPEC, [*some(15), *some(15)]) == 5
    assert caller.n_uncached(SPEC, []) == 0


# -------------------------------------------------------------------------------- while it runs
def test_an_endless_iterator_is_read_as_far_as_needed(open_caller):
    read = itertools.count()
    endless = (request(n) for n in read)
    caller = open_caller(Server(), limits=Limits(max_in_flight=32))
    stream = caller.complete(SPEC, endless, TASK)
    assert len(list(itertools.islice(stream, 1000))) == 1000
    assert next(read) <= 1000 + 2 * 64 + 16
    stream.close()


def test_an_endless_iterator_of_equal_requests(open_caller):
    caller = open_caller(Server(), cache=None, limits=Limits(max_in_flight=8))
    stream = caller.complete(SPEC, (request(n, "x") for n in itertools.count()), TASK)
    assert len(list(itertools.islice(stream, 500))) == 500
    stream.close()


def test_an_endless_iterator_whose_server_is_gone(open_caller):
    server = Server(lambda *_: broken())
    stream = open_caller(server).complete(SPEC, (request(n) for n in itertools.count()), TASK)
    failed = [reply for _, reply in itertools.islice(stream, 3000)]
    n_asked = len({name for _, name, _ in server.log})
    reasons = Counter({"server error (500)": n_asked, NOT_ASKED: 3000 - n_asked})
    assert Counter(reply.reason for reply in failed) == reasons
    assert len(server.log) < 250
    stream.close()


def test_a_closed_stream_keeps_what_has_come(open_caller):
    server = Server(latency=lambda request: 0.0 if int(request.id) < 5 else 1e9)
    caller = open_caller(server, loop=None, limits=Limits(timeout_s=1e9))
    stream = caller.complete(SPEC, some(100), TASK)
    assert len(list(itertools.islice(stream, 5))) == 5
    stream.close()
    assert server.in_flight == 0
    assert server.cancelled >= 59
    assert open_caller(None).n_uncached(SPEC, some(100)) == 95


def test_an_error_of_the_user_comes_behind_what_was_completed(open_caller):
    server = Server(
        lambda request, *_: UserError("temperature is refused") if request.id == "9" else "yes",
        latency=lambda request: 1.0 if request.id == "9" else 0.5,
    )
    caller = open_caller(server, limits=Limits(start_in_flight=16, max_in_flight=16))
    got: list[str] = []
    with pytest.raises(UserError, match="temperature is refused"):
        got.extend(r.id for r, _ in caller.complete(SPEC, some(500), TASK))
    assert 15 <= len(got) == caller.n_calls < 60
    assert open_caller(None).n_uncached(SPEC, some(500)) == 500 - len(got)


def test_an_error_of_the_asker_ends_the_calls(open_caller):
    server = Server(latency=1e9)

    def asker() -> Iterator[Request]:
        yield from some(100)
        raise ZeroDivisionError

    caller = open_caller(server, loop=None, limits=Limits(max_in_flight=64))
    with pytest.raises(ZeroDivisionError):
        list(caller.complete(SPEC, asker(), TASK))
    assert server.in_flight == 0


def test_two_models_one_after_the_other_and_within(open_caller):
    """A judge may ask a second model while the answers of the first come in."""
    server, other = Server(), ModelSpec(spec="openai-api/other", base_url=SPEC.base_url)
    caller = open_caller(server)
    n = 0
    for r, _ in caller.complete(SPEC, some(100), TASK):
        (second,) = caller.complete(other, [request(f"{r.id} again")], TASK)
        n += isinstance(second[1], Completion)
    assert n == 100


def test_closing_closes_every_client(open_caller):
    servers: dict[str, Server] = {}
    caller = open_caller(opener=lambda spec: servers.setdefault(spec.spec, Server()))
    for name in ("openai-api/a", "openai-api/b"):
        ask(caller, some(3), ModelSpec(spec=name, base_url=SPEC.base_url))
    caller.close()
    assert [server.is_closed for server in servers.values()] == [True, True]
    ask(caller, some(3, 10), ModelSpec(spec="openai-api/a", base_url=SPEC.base_url))


# -------------------------------------------------------------------------------------- the ledger
def test_every_call_is_written_down(open_caller):
    server = Server(lambda request, before, _: broken() if before < 2 else "yes")
    ask(open_caller(server), some(10))
    ask(open_caller(None), some(10))
    (spending,) = Ledger(open_database()).spending("judge")
    assert (spending.group, spending.calls, spending.retries) == ("judge", 10, 20)
    assert (spending.input_tokens, spending.output_tokens) == (1000, 100)
    assert spending.cost_usd == pytest.approx(10 * CENTS)
    assert Ledger(open_database()).spending("board", folder="results")[0].group == "board"


def test_replies_without_content_are_paid_for_as_well(open_caller):
    nothing = Completion(text="", input_tokens=100, output_tokens=0)
    caller = open_caller(Server(lambda request, before, _: "yes" if before else nothing))
    ask(caller, [request("a")])
    (spending,) = Ledger(open_database()).spending("judge")
    assert (spending.calls, spending.retries) == (2, 0)
    assert spending.cost_usd == pytest.approx(caller.spent_usd) == pytest.approx(0.015)


def test_a_completion_keeps_what_it_cost(open_caller):
    reply = ask(open_caller(Server()), [request("a")])["a"]
    assert reply.cost_usd == pytest.approx(CENTS)
    assert ask(open_caller(None), [request("a")])["a"].cost_usd == reply.cost_usd


def test_an_unknown_price_is_unknown(open_caller):
    unknown = ModelSpec(spec="openai-api/new", base_url=SPEC.base_url)
    caller = open_caller(Server())
    assert ask(caller, [request("a")], unknown)["a"].cost_usd is None
    assert caller.is_cost_unknown
    assert caller.spent_usd == 0.0
    (spending,) = Ledger(open_database()).spending("judge")
    assert spending.unpriced == 1


# -------------------------------------------------------------------------------------- the budget
def test_a_budget_stop_keeps_all_that_was_paid_for(open_caller):
    server = Server()
    caller = open_caller(server, max_cost_usd=1.0)
    replies = ask(caller, some(805, max_tokens=20))
    paid = [reply for reply in replies.values() if isinstance(reply, Completion)]
    assert set(reasons(replies)) == {BUDGET}
    assert caller.stopped
    assert 98 <= len(paid) == len(server.log) == caller.n_calls <= 100
    assert caller.spent_usd == pytest.approx(CENTS * len(paid))
    assert open_caller(None).n_uncached(SPEC, some(805, max_tokens=20)) == 805 - len(paid)
    (spending,) = Ledger(open_database()).spending("judge")
    assert spending.cost_usd == pytest.approx(caller.spent_usd)


def test_a_resumed_run_pays_for_the_rest_alone(open_caller):
    server, requests = Server(), some(250, max_tokens=20)
    for _ in range(3):
        caller = open_caller(server, max_cost_usd=1.0)
        replies = ask(caller, requests)
    assert not reasons(replies)
    assert not caller.stopped
    assert set(server.asked.values()) == {1}


def test_what_is_under_way_is_reserved(open_caller):
    """No call is known of yet, and each may cost up to 0.51 dollars: one goes out, not 64."""
    server = Server()
    caller = open_caller(server, max_cost_usd=1.0)
    replies = ask(caller, some(30, max_tokens=1000))
    assert not reasons(replies)
    assert server.most_in_flight == 1


def test_dear_calls_under_way_do_not_break_the_budget(open_caller):
    """The quick calls are the cheap ones: what they cost says little of the slow ones."""

    def reply(request: Request, *_: object) -> Completion:
        long = int(request.id) % 2
        return Completion(text="x", input_tokens=100, output_tokens=200 if long else 10)

    server = Server(reply, latency=lambda request: 5.0 if int(request.id) % 2 else 0.1)
    caller = open_caller(server, max_cost_usd=3.0)
    assert reasons(ask(caller, some(500, max_tokens=200)))
    assert 2.8 < caller.spent_usd < 3.0 + 0.105 + 1e-9


def test_a_call_that_cannot_be_paid_for_is_not_made(open_caller):
    server = Server()
    caller = open_caller(server, max_cost_usd=0.1)
    assert reasons(ask(caller, some(5, max_tokens=1000))) == [BUDGET] * 5
    assert not server.log
    assert caller.stopped


def test_without_a_price_there_is_no_budget(open_caller):
    server = Server()
    unknown = ModelSpec(spec="openai-api/new", base_url=SPEC.base_url)
    caller = open_caller(server, max_cost_usd=1.0)
    with pytest.raises(UserError, match="price is not known"):
        ask(caller, some(5), unknown)
    assert not server.log


def test_replies_that_do_not_tell_their_tokens_use_up_the_budget(open_caller):
    server = Server(lambda *_: Completion(text="yes"))
    caller = open_caller(server, max_cost_usd=1.0)
    replies = ask(caller, some(500, max_tokens=20))
    assert BUDGET in reasons(replies)
    assert caller.is_cost_unknown
    assert 50 < len(server.log) < 110


# Without max_tokens a call is taken to cost up to 2.05 dollars, until a dearer one has come.
def long_replies(n_tokens: int, latency: float = 0.2) -> Server:
    return Server(
        lambda *_: Completion(text="x", input_tokens=100, output_tokens=n_tokens), latency
    )


@pytest.mark.parametrize("is_probed", [False, True])
def test_long_replies_without_a_limit_do_not_break_the_budget(open_caller, is_probed):
    each = 15.005
    server = long_replies(30_000)
    caller = open_caller(server, max_cost_usd=100.0)
    if is_probed:  # by a stream of its own, whose price is not forgotten
        ask(caller, [request("probe", max_tokens=None)])
    replies = ask(caller, some(80, max_tokens=None))
    assert set(reasons(replies)) == {BUDGET}
    assert 100 - each < caller.spent_usd < 100 + each
    assert len(server.log) == caller.n_calls <= 7


def test_replies_that_grow_pass_the_budget_by_those_under_way_alone(open_caller):
    """A short reply first, the others at 15 dollars: two calls are under way when that shows."""
    server = Server(
        lambda request, *_: Completion(
            text="x", input_tokens=100, output_tokens=100 if request.id == "0" else 30_000
        )
    )
    caller = open_caller(server, max_cost_usd=20.0)
    assert BUDGET in reasons(ask(caller, some(80, max_tokens=None)))
    assert [in_flight for _, _, in_flight in server.log] == [1, 1, 2]
    assert caller.spent_usd == pytest.approx(0.055 + 2 * 15.005)


def test_unlimited_calls_go_side_by_side_once_their_price_is_known(open_caller):
    server = long_replies(10)
    ask(open_caller(server, max_cost_usd=1000.0), some(300, max_tokens=None))
    in_flight = [n for _, _, n in server.log]
    assert in_flight[0] == 1
    assert max(in_flight) >= 64
    free = long_replies(10)
    ask(open_caller(free, cache=None), some(300, max_tokens=None))
    assert free.log[63][0] == 0.0  # nobody waits where there is no budget


def test_calls_that_time_out_use_up_the_budget(open_caller):
    """Each may have cost up to 0.51 dollars, and the server goes on writing."""
    server = Server(latency=1e6)
    caller = open_caller(server, max_cost_usd=3.0)
    replies = ask(caller, some(30, max_tokens=1000))
    assert BUDGET in reasons(replies)
    assert len(server.log) == caller.n_calls == 5
    assert caller.is_cost_unknown
    (spending,) = Ledger(open_database()).spending("judge")
    assert (spending.calls, spending.unpriced) == (5, 5)


def test_replies_of_no_use_are_paid_for(open_caller):
    paid = Completion(text="", input_tokens=100, output_tokens=10)
    server = Server(lambda *_: CallFailed("the reply broke off", retry=True, paid=paid))
    caller = open_caller(server, max_cost_usd=1.0, limits=Limits(retries=2, brake_after=1000))
    replies = ask(caller, some(80, max_tokens=20))
    assert reasons(replies) == [BUDGET] * 80
    assert 98 <= len(server.log) == caller.n_calls <= 100
    assert caller.spent_usd == pytest.approx(CENTS * len(server.log))
    (spending,) = Ledger(open_database()).spending("judge")
    assert (spending.calls, spending.retries) == (len(server.log), 0)
    assert open_caller(None).n_uncached(SPEC, some(80, max_tokens=20)) == 80


def test_a_server_cannot_lower_its_price_by_the_name_that_it_gives(open_caller):
    def served(name: str) -> Server:
        return Server(
            lambda *_: Completion(text="x", input_tokens=100, output_tokens=10, served=name)
        )

    dear = ModelSpec(spec="openai-api/dear", base_url=SPEC.base_url)
    reply = ask(open_caller(served("m")), [request("a")], dear)["a"]
    assert reply.cost_usd == pytest.approx(10 * CENTS)
    unpriced = ModelSpec(spec="openai-api/alias", base_url=SPEC.base_url)
    reply = ask(open_caller(served("m")), [request("a")], unpriced)["a"]
    assert reply.cost_usd == pytest.approx(CENTS)


# ------------------------------------------------------------------------- models in this process
@dataclass
class Local:
    """A model in this process; `died` after so many batches."""

    name: str
    batch_size: int = 4
    batches: list[list[str]] = field(default_factory=list)
    dies_after: int = 10**9
    is_closed: bool = False

    def fingerprint(self) -> dict[str, str]:
        return {"weights": self.name}

    def length(self, request: Request) -> int:
        return len(request.messages[-1].content)

    def complete_batch(self, requests: Sequence[Request]) -> list[Completion]:
        assert not self.is_closed
        if len(self.batches) == self.dies_after:
            raise KeyboardInterrupt
        if len(requests) > 8:
            raise OutOfMemory
        self.batches.append([r.id for r in requests])
        return [Completion(text=f"{self.name} to {r.id}") for r in requests]

    def close(self) -> None:
        self.is_closed = True


def local(name: str) -> ModelSpec:
    return ModelSpec(spec=name)


def test_one_model_in_this_process_at_a_time(open_caller):
    opened: list[Local] = []
    caller = open_caller(opener=lambda spec: opened.append(Local(spec.name)) or opened[-1])
    for name in ("one", "one", "two", "one"):
        assert ask(caller, some(3), local(name), fresh=True)["0"].text == f"{name} to 0"
    assert [llm.name for llm in opened] == ["one", "two", "one"]
    assert [llm.is_closed for llm in opened] == [True, True, False]
    assert caller.local(local("one")) is opened[-1]
    caller.close()
    assert opened[-1].is_closed


def test_local_completions_are_stored_batch_by_batch(open_caller):
    llm = Local("one", dies_after=3)
    with pytest.raises(KeyboardInterrupt):
        ask(open_caller(llm), some(20), local("one"))
    llm = Local("one", batch_size=100)
    caller = open_caller(llm)
    replies = ask(caller, some(20), local("one"))
    assert caller.n_cached == 12
    assert sum(map(len, llm.batches)) == 8
    assert {reply.text for reply in replies.values()} == {f"one to {n}" for n in range(20)}
    assert all(reply.cost_usd == 0.0 for reply in replies.values())


def test_local_requests_that_are_equal_are_made_once_unless_fresh(open_caller):
    equal = [request(n, "x") for n in range(5)]
    llm = Local("one")
    assert len(ask(open_caller(llm), equal, local("one"))) == 5
    assert llm.batches == [["0"]]
    assert len(ask(open_caller(llm), equal, local("one"), fresh=True)) == 5
    assert llm.batches[1:] == [["0", "1", "2", "3"], ["4"]]


def test_a_local_model_needs_no_price_and_uses_no_budget(open_caller):
    caller = open_caller(FakeLLM("echo"), max_cost_usd=0.0)
    assert ask(caller, some(5), local("fake/echo"))["3"].text == "Say 3"
    assert (caller.spent_usd, caller.n_calls, caller.is_cost_unknown) == (0.0, 0, False)
    (spending,) = Ledger(open_database()).spending("model")
    assert (spending.calls, spending.cost_usd, spending.unpriced) == (5, 0.0, 0)


# ---------------------------------------------------------------------------------- the default
def test_the_default_opens_nothing_before_a_model_is_asked(tmp_path):
    program = (
        "import sys\n"
        "from judges.backends.base import Request, Sampling\n"
        "from judges.backends.spec import ModelSpec\n"
        "from judges.calling.caller import Caller, Task\n"
        "from judges.schema import Message\n"
        "with Caller.default() as caller:\n"
        "    print(sorted({'sqlalchemy', 'openai', 'asyncio', 'pydantic'} & set(sys.modules)))\n"
        "    said = Request(id='a', messages=(Message('user', 'hi'),), sampling=Sampling())\n"
        "    print([c.text for _, c in caller.complete(ModelSpec(spec='fake/echo'), [said], Task())])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[]\n['hi']\n")
    assert (tmp_path / "cache" / "herdbook.sqlite").is_file()


def test_the_default_makes_no_file_where_no_model_is_asked(tmp_path):
    with Caller.default(max_cost_usd=1.0) as caller:
        assert caller.n_calls == 0
    assert not (tmp_path / "cache").exists()
