"""Batch services with the real clients: what they bring, what goes wrong in them, what they cost."""

# ruff: noqa: F811 - a fixture that is imported is not redefined by who asks for it
from __future__ import annotations

from dataclasses import replace

import pytest
from api_server import Asked, Fault, Reply
from batching import (  # noqa: F401
    PROVIDERS,
    TASK,
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
    told,
)
from servers import KEY, spec_of

from judges.backends.base import ParameterRefused
from judges.backends.batches import CANCELLED, EXPIRED, NO_RESULT
from judges.calling.handover import TooDear
from judges.errors import UserError
from judges.storage.database import open_database
from judges.storage.ledger import BatchStore, Ledger

pytestmark = pytest.mark.usefixtures("own_files")


# ------------------------------------------------------------------------------------ the usual way
@PROVIDERS
def test_a_batch_brings_what_single_calls_bring_at_half_the_price(
    provider, server, batching, told, clock, tmp_path, monkeypatch
):
    spec = spec_of(provider, server)
    server.batches.polls = 4
    caller = batching()
    found = ask(caller, spec, some())
    assert sizes(server) == [N]
    assert not server.log
    alone = singly(spec, some(), tmp_path, monkeypatch)
    for name, reply in found.items():
        assert reply.cost_usd == alone[name].cost_usd / 2 > 0
        assert replace(reply, cost_usd=None) == replace(alone[name], cost_usd=None, seconds=None)
    assert caller.spent_usd == pytest.approx(sum(reply.cost_usd for reply in found.values()))
    assert (caller.n_calls, caller.is_cost_unknown, caller.budget.batched_usd) == (N, False, 0)
    assert_paid_once(server)
    (spent,) = Ledger(open_database()).spending("judge", board="board", folder="results")
    assert (spent.group, spent.cost_usd) == ("judge", pytest.approx(caller.spent_usd))
    assert clock.slept == [5.0, 7.5, 11.25]
    name = server.batches.made[0].id
    assert told[0] == f"batch {name}: 300 requests handed to {provider}"
    assert told[-1] == f"batch {name}: 300 of 300 done"


@PROVIDERS
def test_the_second_run_asks_nothing(provider, server, batching):
    first = ask(batching(), spec_of(provider, server), some())
    again = batching()
    assert ask(again, spec_of(provider, server), some()) == first
    assert (again.n_calls, again.n_cached, len(server.batches.made)) == (0, N, 1)


def test_any_server_that_speaks_openai_can_have_batches(server, batching):
    spec = spec_of("openai-api", server)
    assert not reasons(ask(batching(), spec, some(5)))
    assert sizes(server) == [5]


@PROVIDERS
def test_equal_requests_go_once_and_what_is_cached_does_not_go(provider, server, batching):
    spec = spec_of(provider, server)
    ask(batching(), spec, some(10))
    caller = batching()
    equal = [replace(request, id=f"again {request.id}") for request in some(20)]
    replies = ask(caller, spec, [*some(20), *equal])
    assert sizes(server) == [10, 10]
    assert (caller.n_calls, caller.n_cached) == (10, 20)
    assert all(replies[f"again {k}"] == replies[str(k)] for k in range(20))


@PROVIDERS
def test_large_work_goes_in_several_batches(provider, server, batching, monkeypatch):
    monkeypatch.setattr("judges.calling.handover.MAX_REQUESTS", 100)
    ask(batching(), spec_of(provider, server), some(250))
    assert sizes(server) == [100, 100, 50]
    monkeypatch.setattr("judges.calling.handover.MAX_BYTES", 3000)
    ask(batching(), spec_of(provider, server), some(30, begin=1000))
    assert sum(sizes(server)[3:]) == 30
    assert len(sizes(server)) > 5


def test_a_probe_and_models_in_this_process_make_no_batch(server, batching):
    caller = batching()
    spec = spec_of("openai", server)
    ((_, reply),) = caller.complete(spec, some(1), TASK, fresh=True)
    assert reply.text
    assert len(server.log) == 1
    local = replace(spec, spec="fake/echo", base_url=None)
    caller.submit([(local, some(3))])
    ask(caller, local, some(3))
    assert not server.batches.made


@PROVIDERS
def test_several_judges_work_side_by_side(provider, server, batching):
    other = replace(spec_of(provider, server), spec=f"{provider}/other")
    judges = [spec_of(provider, server), other]
    server.batches.polls = 3
    caller = batching()
    caller.submit([(spec, some(20)) for spec in judges])
    assert sizes(server) == [20, 20]
    assert not any(batch.polls for batch in server.batches.made)
    for spec in judges:
        for row, begin in (("row", 0), ("control", 12)):
            task = replace(TASK, judge=spec.name, row=row)
            ask(caller, spec, some(20 - begin if begin else 12, begin), task)
    assert sizes(server) == [20, 20]
    ledger = Ledger(open_database())
    assert {s.group: s.calls for s in ledger.spending("judge")} == {"m": 20, "other": 20}
    database = open_database()
    assert sorted(database.read('SELECT "row", COUNT(*) FROM herdbook_ledger GROUP BY "row"')) == [
        ("control", 16),
        ("row", 24),
    ]
    assert not BatchStore(database).is_any_open()


# ------------------------------------------------------------------------------ what goes wrong in it
@PROVIDERS
def test_requests_that_fail_are_asked_again_by_the_next_run(provider, server, batching):
    def fail(asked: Asked) -> Reply | Fault:
        k = int(asked.prompt.split()[1])
        return Fault(status=500, type="api_error") if k % 3 == 0 else echo(asked)

    server.behaviour = fail
    replies = ask(batching(), spec_of(provider, server), some())
    assert reasons(replies) == {"the server failed (500)": 100}
    server.behaviour = echo
    caller = batching()
    assert not reasons(ask(caller, spec_of(provider, server), some()))
    assert (sizes(server), caller.n_cached) == ([300, 100], 200)
    (spent,) = Ledger(open_database()).spending("model")
    assert spent.calls == N


@PROVIDERS
@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_a_batch_that_ends_early(provider, end, server, batching):
    server.batches.end, server.batches.reached = end, 0.5
    replies = ask(batching(), spec_of(provider, server), some())
    reason = EXPIRED if end == "expired" else CANCELLED if provider == "anthropic" else NO_RESULT
    assert reasons(replies) == {reason: 150}
    server.batches.end, server.batches.reached = "completed", 1.0
    assert not reasons(ask(batching(), spec_of(provider, server), some()))
    assert sizes(server) == [300, 150]


def test_a_batch_that_is_refused_as_a_whole(server, batching):
    server.batches.end = "failed"
    spec = spec_of("openai", server)
    with pytest.raises(
        UserError, match=r"batch_0000 was refused: the model is not there \(line 1\)"
    ):
        ask(batching(), spec, some(5))
    server.batches.end = "completed"
    server.batches.made.clear()
    assert not reasons(ask(batching(), spec, some(5)))


@PROVIDERS
def test_a_refused_parameter_is_told_behind_what_was_completed(provider, server, batching):
    def refuse(asked: Asked) -> Reply | Fault:
        if asked.prompt.startswith("Say 7 "):
            said = "Unsupported parameter: 'temperature' is not supported with this model."
            return Fault(status=400, type="invalid_request_error", message=said)
        return echo(asked)

    server.behaviour = refuse
    found = []
    with pytest.raises(ParameterRefused) as refused:
        found.extend(batching().complete(spec_of(provider, server), some(20), TASK))
    assert refused.value.parameter == "temperature"
    assert len(found) == 19
    server.behaviour = echo
    caller = batching()
    ask(caller, spec_of(provider, server), some(20))
    assert sizes(server) == [20, 1]


@PROVIDERS
def test_replies_without_content_are_paid_for_and_asked_again(provider, server, batching):
    server.behaviour = lambda asked: Reply(text="")
    caller = batching()
    assert reasons(ask(caller, spec_of(provider, server), some(5))) == {"the reply was empty": 5}
    assert caller.n_calls == 5
    server.behaviour = echo
    assert not reasons(ask(batching(), spec_of(provider, server), some(5)))
    (spent,) = Ledger(open_database()).spending("model")
    assert spent.calls == 10


@PROVIDERS
def test_what_the_provider_keeps_back_is_a_reply(provider, server, batching):
    server.behaviour = lambda asked: Reply(text="", finish="refused")
    replies = ask(batching(), spec_of(provider, server), some(3))
    assert {reply.finish_reason for reply in replies.values()} == {"refused"}


# ------------------------------------------------------------------------------------------ budgets
@PROVIDERS
def test_a_batch_that_the_budget_does_not_hold_is_not_handed_over(provider, server, batching):
    spec = spec_of(provider, server)
    with pytest.raises(TooDear, match=r"can cost up to \$\d\.\d\d.*holds \$1\.00") as dear:
        ask(batching(max_cost_usd=1.0), spec, some())
    assert dear.value.exit_code == 4
    assert not server.batches.made
    assert not BatchStore(open_database()).is_any_open()
    caller = batching(max_cost_usd=2.0)
    ask(caller, spec, some())
    assert 0 < caller.spent_usd < 2.0


@PROVIDERS
def test_batches_that_are_under_way_count_against_the_budget(provider, server, batching):
    spec = spec_of(provider, server)
    caller = batching(max_cost_usd=2.0)
    caller.submit([(spec, some())])
    with pytest.raises(TooDear):
        caller.submit([(spec, some(begin=1000))])
    assert sizes(server) == [N]
    ask(caller, spec, some())
    assert caller.budget.batched_usd == 0


def test_all_or_nothing_is_handed_over(server, batching):
    caller = batching(max_cost_usd=2.0)
    judges = [spec_of(provider, server) for provider in ("openai", "anthropic")]
    with pytest.raises(TooDear):
        caller.submit([(spec, some()) for spec in judges])
    assert not server.batches.made


def test_a_budget_needs_the_price_of_batches(server, batching, tmp_path, monkeypatch):
    (tmp_path / "single.toml").write_text(
        '[[models]]\nmodel = "openai/m"\ninput = 50\noutput = 500\n'
    )
    monkeypatch.setenv("HERDBOOK_PRICES", str(tmp_path / "single.toml"))
    with pytest.raises(UserError, match="its price in batches is not known"):
        ask(batching(max_cost_usd=1.0), spec_of("openai", server), some(3))
    caller = batching()
    ask(caller, spec_of("openai", server), some(3))
    assert caller.is_cost_unknown


# ---------------------------------------------------------------------------------- endless results
@PROVIDERS
@pytest.mark.parametrize("most", ["MOST_BYTES", "MOST_BYTES_OF_A_BATCH"])
def test_results_without_end_are_given_up(most, provider, server, batching, monkeypatch):
    """Either a line of them, or all of them."""
    monkeypatch.setattr(f"judges.backends.connections.{most}", 100_000)
    server.behaviour = lambda asked: Reply(text="y" * (200_000 if most == "MOST_BYTES" else 1000))
    with pytest.raises(UserError, match=r"the reply is too large\. What is in a batch is kept"):
        ask(batching(), spec_of(provider, server), some(5 if most == "MOST_BYTES" else N))


@PROVIDERS
def test_results_may_be_larger_than_one_reply(provider, server, batching, monkeypatch):
    monkeypatch.setattr("judges.backends.connections.MOST_BYTES", 100_000)
    server.behaviour = lambda asked: Reply(text="y" * 1000)
    assert not reasons(ask(batching(), spec_of(provider, server), some()))


# ----------------------------------------------------------------------------------------- secrets
@PROVIDERS
def test_the_key_is_nowhere(provider, server, batching, told, tmp_path):
    said = f"Incorrect API key provided: {KEY}"
    server.behaviour = lambda asked: Fault(status=400, message=said, type="invalid_request_error")
    replies = ask(batching(), spec_of(provider, server), some(3))
    server.batches.end, server.batches.complaint = "failed", said
    if provider == "openai":
        with pytest.raises(UserError, match=r"was refused: .*\[key\]") as refused:
            ask(batching(), spec_of(provider, server), some(3))
        told.append(str(refused.value))
    stored = b"".join(path.read_bytes() for path in (tmp_path / "cache").iterdir())
    assert KEY not in f"{told}{replies}"
    assert KEY[3:12].encode() not in stored
