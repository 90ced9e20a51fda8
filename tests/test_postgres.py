"""Cache, ledger and batches on a real PostgreSQL: `make test-postgres` starts one for these tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_cache
import test_database
import test_ledger
from batching import assert_paid_once, own_files, server  # noqa: F401
from test_batches_resumed import start
from test_database import INSERT, SELECT, four_writers

from judges.errors import UserError
from judges.storage.database import VERSION, Database, open_database

URL = os.environ.get("HERDBOOK_TEST_POSTGRES", "")
pytestmark = pytest.mark.skipif(not URL, reason="needs a PostgreSQL server: make test-postgres")


@pytest.fixture
def database() -> Iterator[Database]:
    """The server's database without any tables."""
    import psycopg

    with psycopg.connect(URL, autocommit=True) as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE tablename LIKE 'herdbook%'"
        ).fetchall()
        for (table,) in found:
            connection.execute(f"DROP TABLE {table}".encode())
    with contextlib.closing(open_database(URL)) as database:
        yield database


# What holds for a SQLite file holds here: the same tests, with the fixture above.
test_a_completion_comes_back_as_it_was = test_cache.test_a_completion_comes_back_as_it_was
test_the_first_completion_of_a_key_stays = test_cache.test_the_first_completion_of_a_key_stays
test_more_keys_than_fit_into_a_query = test_cache.test_more_keys_than_fit_into_a_query
test_a_row_says_what_was_asked_and_when = test_cache.test_a_row_says_what_was_asked_and_when
test_a_row_that_is_not_what_was_stored_counts_as_not_there = (
    test_cache.test_a_row_that_is_not_what_was_stored_counts_as_not_there
)
test_the_size_is_that_of_the_texts = test_cache.test_the_size_is_that_of_the_texts
test_calls_tokens_and_costs_add_up = test_ledger.test_calls_tokens_and_costs_add_up
test_groups_come_dearest_first = test_ledger.test_groups_come_dearest_first
test_weeks_begin_on_monday_and_come_in_order = (
    test_ledger.test_weeks_begin_on_monday_and_come_in_order
)
test_a_board_a_folder_and_a_time_are_picked_out = (
    test_ledger.test_a_board_a_folder_and_a_time_are_picked_out
)
test_entries_are_written_together_or_not_at_all = (
    test_ledger.test_entries_are_written_together_or_not_at_all
)
test_a_request_is_in_one_batch_at_most = test_ledger.test_a_request_is_in_one_batch_at_most
test_more_keys_than_a_query_takes = test_ledger.test_more_keys_than_a_query_takes
test_what_is_taken_out_is_taken_once_and_with_what_is_stored = (
    test_ledger.test_what_is_taken_out_is_taken_once_and_with_what_is_stored
)
test_the_states_of_a_batch = test_ledger.test_the_states_of_a_batch
test_what_is_done_together_is_one_step = test_database.test_what_is_done_together_is_one_step
test_text_that_no_database_can_hold_is_replaced = (
    test_database.test_text_that_no_database_can_hold_is_replaced
)
test_a_child_of_a_fork_has_connections_of_its_own = (
    test_database.test_a_child_of_a_fork_has_connections_of_its_own
)
test_threads_share_a_database = test_database.test_threads_share_a_database


def test_four_processes_make_the_tables_and_write_at_once(database):
    four_writers(URL, 2000)


def test_tables_of_a_newer_version_are_refused(database):
    database.write(INSERT, [(VERSION + 1,)])
    with pytest.raises(UserError, match="newer Herdbook"):
        open_database(URL).read(SELECT)


def test_a_connection_that_the_server_ended_is_made_anew(database):
    import psycopg

    database.read(SELECT)
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    assert database.read(SELECT) == [(VERSION,)]


@pytest.mark.usefixtures("database", "own_files")
def test_processes_share_a_batch(server, monkeypatch, tmp_path: Path):  # noqa: F811
    monkeypatch.setenv("HERDBOOK_DATABASE", URL)
    server.batches.polls = 6
    files = [tmp_path / f"{k}.json" for k in range(3)]
    processes = [start("anthropic", server, file) for file in files]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert len({file.read_bytes() for file in files}) == 1
    assert_paid_once(server)


@pytest.mark.parametrize("change", [("@/postgres", "wrong@/postgres"), ("/postgres?", "/absent?")])
def test_a_server_that_refuses_is_told_without_the_password(change):
    wrong = URL.replace(*change)
    password = URL.partition("herdbook:")[2].partition("@")[0]
    with pytest.raises(UserError, match="Check HERDBOOK_DATABASE") as refused:
        open_database(wrong).read(SELECT)
    assert password not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_the_commands_use_it(database, monkeypatch, leaderboard, tmp_path: Path):
    monkeypatch.setenv("HERDBOOK_DATABASE", URL)
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    test_ledger.Ledger(database).record([test_ledger.entry()])
    run = leaderboard("cost", "toy")
    assert run.code == 0, run.err
    assert "$0.2500" in run.out
    assert not (tmp_path / "cache").exists()
