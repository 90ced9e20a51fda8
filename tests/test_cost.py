"""`leaderboard cost` prints what was spent, and never takes an unknown price for none."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import refused
from test_documented_files import documented

from judges.storage.database import open_database
from judges.storage.ledger import Entry, Ledger
from leaderboard.display.spending import dollars, since_time


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HERDBOOK_DATABASE", raising=False)
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))


def record(**changes: Any) -> None:
    fields = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "folder": "/results",
        "board": "toy",
        "row": "good",
        "judge": "one",
        "purpose": "judging",
        "model": "openai/m",
        "input_tokens": 1_500,
        "cached_tokens": 500,
        "output_tokens": 20,
        "cost_usd": 0.25,
    }
    Ledger(open_database()).record([Entry(**{**fields, **changes})])


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()[2:]]


def test_nothing_spent_is_said_in_words(leaderboard, results):
    run = leaderboard("cost", "toy", "--results", results)
    assert (run.code, run.err) == (0, "")
    assert run.out == f"no calls of models are on record on toy in {results}: nothing was spent\n"
    assert json.loads(leaderboard("cost", "--format", "json").out) == []
    record(time="2020-01-01T00:00:00+00:00")
    run = leaderboard("cost", "toy", "--since", "7d")
    assert (run.code, run.err) == (0, "")
    assert run.out == "no calls of models are on record on toy since 7d: nothing was spent\n"


def test_a_board_is_shown_by_judge_with_the_sum_of_all(leaderboard):
    record()
    record()
    record(judge="two", cost_usd=2.0)
    record(board="other", cost_usd=100.0)
    run = leaderboard("cost", "toy")
    assert rows(run.out) == [
        ["two", "1", "1,500", "500", "20", "$2.00"],
        ["one", "2", "3,000", "1,000", "40", "$0.5000"],
        ["in", "all", "3", "4,500", "1,500", "60", "$2.50"],
    ]
    assert run.err == ""
    assert [row[0] for row in rows(leaderboard("cost").out)] == ["other", "toy", "in"]


def test_an_unknown_price_is_never_nothing(leaderboard):
    record()
    record(judge="free", cost_usd=0.0)
    record(judge="some", cost_usd=1.0)
    record(judge="some", cost_usd=None)
    record(judge="none", cost_usd=None, input_tokens=None)
    run = leaderboard("cost", "toy")
    cells = {row[0]: " ".join(row[5:]) for row in rows(run.out)}
    assert cells["one"] == "$0.2500"
    assert cells["free"] == "$0"
    assert cells["some"] == "at least $1.00"
    assert cells["none"] == "not known"
    assert run.out.splitlines()[-1].endswith("at least $1.25")
    assert "the price of 2 calls was not known" in run.err
    records = {r["judge"]: r for r in json.loads(leaderboard("cost", "toy", "--format=json").out)}
    assert records["none"]["cost_usd"] is None
    assert (records["some"]["cost_usd"], records["some"]["n_unpriced"]) == (1.0, 1)
    assert records["free"]["cost_usd"] == 0.0


@pytest.mark.parametrize("by", ["board", "judge", "model", "purpose", "week"])
def test_every_way_to_add_up(by, leaderboard):
    record(time="2026-08-03T12:00:00+00:00")
    (found,) = json.loads(leaderboard("cost", "--by", by, "--format", "json").out)
    names = {"board": "toy", "judge": "one", "model": "openai/m", "purpose": "judging"}
    assert found[by] == {**names, "week": "2026-W32"}[by]


def test_only_what_is_asked_for_counts(leaderboard, tmp_path):
    record(time="2026-08-03T12:00:00+00:00")
    record(folder=str(tmp_path / "mine"))
    assert rows(leaderboard("cost", "--since", "2026-08-04").out)[0][1] == "1"
    assert rows(leaderboard("cost", "--since", "2w").out)[0][1] == "1"
    assert rows(leaderboard("cost", "--results", tmp_path / "mine").out)[0][1] == "1"
    assert rows(leaderboard("cost").out)[0][1] == "2"


def test_other_formats(leaderboard):
    record(judge="=a|b\x1b", purpose="answers")
    assert "\x1b" not in leaderboard("cost", "toy").out
    assert "=a\\|b" in leaderboard("cost", "toy", "--format", "markdown").out
    assert "\\toprule" in leaderboard("cost", "toy", "--format", "latex").out
    (found,) = csv.DictReader(io.StringIO(leaderboard("cost", "toy", "--format", "csv").out))
    assert found["judge"].startswith("'=")
    assert found["cost_usd"] == "0.25"


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "7", "-7d", "99999w", ""])
def test_a_time_that_is_none_is_refused(since, leaderboard):
    refused(leaderboard("cost", f"--since={since}"), "--since", "2026-08-01", "7d")


def test_spans_and_dates_are_times_of_the_ledger():
    now = datetime(2026, 8, 10, 12, tzinfo=UTC)
    assert since_time("7d", now) == "2026-08-03T12:00:00+00:00"
    assert since_time("2w", now) == "2026-07-27T12:00:00+00:00"
    assert since_time("2026-08-01") == "2026-08-01T00:00:00+00:00"


def test_a_small_cost_is_shown_and_not_as_nothing():
    assert [dollars(cost) for cost in (0, 0.00001, 0.0123, 1, 1234.5)] == [
        "$0", "under $0.0001", "$0.0123", "$1.00", "$1,234.50",
    ]  # fmt: skip


def test_a_damaged_database_is_told(leaderboard, tmp_path):
    record()
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"no database" * 500)
    refused(leaderboard("cost"), "is damaged", "delete")


def test_the_keys_and_the_tables_are_documented(leaderboard):
    record()
    for by in ("board", "judge", "model", "purpose", "week"):
        (found,) = json.loads(leaderboard("cost", "--by", by, "--format", "json").out)
        assert set(found) <= set(documented("What cost prints"))
    tables = open_database().read("SELECT name FROM sqlite_master WHERE type = 'table'")
    assert {name for (name,) in tables} == set(documented("The database of calls"))


@pytest.mark.parametrize("flags", [(), ("--format", "json"), ("--by", "week", "--since", "7d")])
def test_a_board_that_is_not_known_is_refused(flags, leaderboard, results):
    record(board="other")
    run = leaderboard("cost", "tyo", "--results", results, *flags)
    refused(run, "no board 'tyo'", "toy", "other")
