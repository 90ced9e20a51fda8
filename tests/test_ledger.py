"""What was spent adds up, by board, judge, model, purpose and week."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from judges.storage.database import Database, open_database
from judges.storage.ledger import Batch, BatchStore, Entry, Ledger, now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(open_database(f"sqlite:///{tmp_path}/cache/herdbook.sqlite")) as found:
        yield found


def entry(**changes: Any) -> Entry:
    fields = {
        "time": "2026-08-03T12:00:00+00:00",  # a Monday
        "folder": "/r",
        "board": "toy",
        "row": "good",
        "judge": "j",
        "purpose": "judging",
        "model": "openai/m",
        "served": "m-1",
        "input_tokens": 100,
        "output_tokens": 10,
        "cost_usd": 0.25,
    }
    return Entry(**{**fields, **changes})


def costs(ledger: Ledger, *args: Any, **kwargs: Any) -> dict[str, tuple[int, float]]:
    found = ledger.spending(*args, **kwargs)
    return {group.group: (group.calls, group.cost_usd) for group in found}


def test_nothing_was_spent_at_first(database):
    assert Ledger(database).spending("judge") == []
    Ledger(database).record([])


def test_calls_tokens_and_costs_add_up(database):
    ledger = Ledger(database)
    ledger.record([entry(cached_tokens=64, reasoning_tokens=5, attempts=3)])
    ledger.record([entry(batch=True), entry(cost_usd=None, input_tokens=None, output_tokens=None)])
    (group,) = ledger.spending("judge")
    assert (group.group, group.calls, group.cost_usd) == ("j", 3, 0.5)
    assert (group.input_tokens, group.cached_tokens) == (200, 64)
    assert (group.output_tokens, group.reasoning_tokens) == (20, 5)
    assert (group.unpriced, group.batched, group.retries) == (1, 1, 2)
    assert type(group.input_tokens) is int
    assert type(group.cost_usd) is float


def test_groups_come_dearest_first(database):
    ledger = Ledger(database)
    ledger.record([entry(judge="cheap", cost_usd=0.125), entry(judge="dear", cost_usd=8.0)])
    ledger.record([entry(judge="unknown", cost_usd=None), entry(judge="", purpose="answers")])
    assert [group.group for group in ledger.spending("judge")] == [
        "dear",
        "(answers)",
        "cheap",
        "unknown",
    ]
    assert costs(ledger, "purpose") == {"judging": (3, 8.125), "answers": (1, 0.25)}
    assert costs(ledger, "model") == {"openai/m": (4, 8.375)}
    assert costs(ledger, "board") == {"toy": (4, 8.375)}


def test_weeks_begin_on_monday_and_come_in_order(database):
    days = ("2026-08-03", "2026-08-09", "2026-08-10", "2026-01-01", "2027-01-01")
    ledger = Ledger(database)
    ledger.record([entry(time=f"{day}T23:59:59+00:00") for day in days])
    weeks = {"2026-W01": 1, "2026-W32": 2, "2026-W33": 1, "2026-W53": 1}
    assert {name: calls for name, (calls, _) in costs(ledger, "week").items()} == weeks
    assert [group.group for group in ledger.spending("week")] == list(weeks)


def test_a_board_a_folder_and_a_time_are_picked_out(database):
    ledger = Ledger(database)
    ledger.record([entry(), entry(board="other"), entry(folder="/s")])
    ledger.record([entry(time="2026-08-04T00:00:00+00:00", judge="later")])
    assert costs(ledger, board="toy") == {"j": (2, 0.5), "later": (1, 0.25)}
    assert costs(ledger, board="toy", folder="/r") == {"j": (1, 0.25), "later": (1, 0.25)}
    assert costs(ledger, since="2026-08-04") == {"later": (1, 0.25)}
    assert costs(ledger, since="2026-08-03T12:00:01+00:00") == {"later": (1, 0.25)}
    assert costs(ledger, board="toy' OR 1=1 --") == {}


def test_entries_are_written_together_or_not_at_all(database):
    bad = entry(time=None)
    with pytest.raises(Exception, match=r"NOT NULL|not-null|null value"):
        Ledger(database).record([entry(), bad])
    assert Ledger(database).spending() == []


def test_the_time_is_utc():
    assert now()[:13] in {datetime.now(UTC).isoformat()[:13]}
    assert now().endswith("+00:00")
    assert len(now()) == len("2026-08-03T12:00:00+00:00")


# ----------------------------------------------------------------------------------------- batches
def batch(name: str, **changes: Any) -> Batch:
    fields = {
        "id": name,
        "provider": "openai",
        "url": "https://api.openai.com/v1",
        "model": "m",
        "requests": 2,
        "created": "2026-08-03T12:00:00+00:00",
        "until": "2026-08-03T12:01:00+00:00",
    }
    return Batch(**{**fields, **changes})


def test_a_request_is_in_one_batch_at_most(database):
    store = BatchStore(database)
    assert not store.is_any_open()
    assert store.claim(batch("a"), ["k1", "k2"]) == {"k1", "k2"}
    assert store.claim(batch("b"), ["k2", "k3"]) == {"k3"}
    assert store.holding(["k1", "k2", "k3", "k4"]) == {"k1": "a", "k2": "a", "k3": "b"}
    assert store.is_any_open()
    store.end("a", "dropped", "intent")
    assert store.claim(batch("c"), ["k1", "k2"]) == {"k1", "k2"}
    assert [(b.id, b.state) for b in store.list()] == [
        ("a", "dropped"), ("b", "intent"), ("c", "intent"),
    ]  # fmt: skip


def test_more_keys_than_a_query_takes(database):
    store, keys = BatchStore(database), [f"{n:064d}" for n in range(2000)]
    assert store.claim(batch("a"), keys) == set(keys)
    assert set(store.holding(keys)) == store.keys("a") == set(keys)
    with store.settling("a", keys[:1500]) as ours:
        assert ours == set(keys[:1500])
    assert store.keys("a") == set(keys[1500:])


def test_what_is_taken_out_is_taken_once_and_with_what_is_stored(database):
    store, ledger = BatchStore(database), Ledger(database)
    store.claim(batch("a"), ["k1", "k2"])
    with (
        pytest.raises(Exception, match=r"NOT NULL|not-null|null value"),
        store.settling("a", ["k1"]),
    ):
        ledger.record([entry(), entry(board=None)])
    assert (store.keys("a"), ledger.spending()) == ({"k1", "k2"}, [])
    with store.settling("a", ["k1"]) as ours:
        ledger.record([entry()])
    assert (ours, store.keys("a"), len(ledger.spending())) == ({"k1"}, {"k2"}, 1)
    with store.settling("a", ["k1", "k2"]) as ours:
        assert ours == {"k2"}


def test_the_states_of_a_batch(database):
    store = BatchStore(database)
    store.claim(batch("a"), ["k1"])
    store.opened("a", "found", for_certain=False)
    store.opened("a", "found too", for_certain=False)
    assert store.get("a") == batch("a", state="open", remote="found")
    store.opened("a", "told", for_certain=True)
    assert store.get("a") == batch("a", state="open", remote="told")
    store.end("a", "dropped", "intent")  # too late: it is open
    assert store.keys("a") == {"k1"}
    store.mistaken("a")
    assert store.get("a") == batch("a")
    store.opened("a", "told", for_certain=True)
    store.finish("a")  # a result is still to be taken
    assert [b.id for b in store.list("open")] == ["a"]
    with store.settling("a", ["k1"]):
        pass
    store.finish("a")
    assert [b.id for b in store.list("done")] == ["a"]
    assert store.get("b") is None
    assert not store.is_any_open()
