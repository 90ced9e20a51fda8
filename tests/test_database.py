"""One database for several processes: a SQLite file of the user's own, or PostgreSQL by URL."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from judges.backends.base import Completion
from judges.errors import UserError
from judges.storage.cache import Cache
from judges.storage.database import VERSION, Database, cache_folder, open_database

INSERT = "INSERT INTO herdbook_schema VALUES (?) ON CONFLICT DO NOTHING"
SELECT = "SELECT version FROM herdbook_schema ORDER BY version"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a user who has none yet."""
    monkeypatch.delenv("HERDBOOK_DATABASE", raising=False)
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    with contextlib.closing(open_database()) as database:
        yield database


# ------------------------------------------------------------------------------------- where it is
def test_the_file_lies_in_the_cache_folder_and_is_the_users_alone(database, folder):
    assert not folder.exists()
    database.read(SELECT)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = list(folder.iterdir())
    assert folder / "herdbook.sqlite" in files
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_file_that_others_can_read_is_closed_to_them(database, folder):
    database.read(SELECT)
    (folder / "herdbook.sqlite").chmod(0o644)
    open_database().read(SELECT)
    assert (folder / "herdbook.sqlite").stat().st_mode & 0o777 == 0o600


def test_the_cache_folder_is_where_the_system_says(monkeypatch, tmp_path):
    monkeypatch.delenv("HERDBOOK_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder() == tmp_path / ".cache" / "herdbook"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "herdbook"
    monkeypatch.setenv("HERDBOOK_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"


def test_a_url_names_another_file(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HERDBOOK_DATABASE", f"sqlite:///{tmp_path}/own/calls.db")
    open_database().read(SELECT)
    assert (tmp_path / "own" / "calls.db").is_file()
    assert not folder.exists()


def test_a_symbolic_link_is_not_followed(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    folder.symlink_to(elsewhere)
    with pytest.raises(UserError, match="symbolic link"):
        open_database().read(SELECT)
    folder.unlink()
    folder.mkdir(0o700)
    (folder / "herdbook.sqlite").symlink_to(elsewhere / "new.sqlite")
    with pytest.raises(UserError, match="symbolic link"):
        open_database().read(SELECT)
    assert not list(elsewhere.iterdir())


def test_a_folder_that_others_may_write_into_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UserError, match="written to by others"):
        open_database().read(SELECT)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_refused(folder):
    folder.mkdir(0o700)
    os.chown(folder, 12345, -1)
    with pytest.raises(UserError, match=f"{folder} belongs to another user"):
        open_database().read(SELECT)
    os.chown(folder, 0, -1)
    (folder / "herdbook.sqlite").touch(0o600)
    os.chown(folder / "herdbook.sqlite", 12345, -1)
    with pytest.raises(UserError, match="belongs to another user"):
        open_database().read(SELECT)


@pytest.mark.parametrize(
    "url",
    ["mysql://u:sentinel@h/d", "sqlite://", "sqlite:///:memory:", "postgresql://", "sentinel"],
)
def test_a_url_of_another_kind_is_refused_without_repeating_it(url):
    with pytest.raises(UserError, match="HERDBOOK_DATABASE must be") as refused:
        open_database(url)
    assert "sentinel" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:sentinel@127.0.0.1:1/calls",
        "postgresql://user:sentinel@127.0.0.1:1/calls?password=sentinel",
        "postgresql+psycopg://user:sen?tinel/sentinel@127.0.0.1:1/calls",
        "postgresql://user:sentinel@127.0.0.1:port/calls",
        "postgresql://user:sentinel@127.0.0.1:1/calls?sslmode=sentinel",
    ],
)
def test_no_message_holds_the_password(url, monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setenv("HERDBOOK_DATABASE", url)
    with pytest.raises(UserError) as refused:
        open_database().read(SELECT)
    assert "tinel" not in str(refused.value).replace('sslmode value: "sentinel"', "")
    assert len(str(refused.value).splitlines()) == 1
    assert "HERDBOOK_DATABASE" in str(refused.value)


# ---------------------------------------------------------------------------------- what is stored
def test_what_is_written_is_there_for_the_next_process(database):
    database.write(INSERT, [(-2,), (-1,)])
    assert database.read(SELECT) == [(-2,), (-1,), (VERSION,)]
    database.close()
    assert database.read(SELECT) == [(-2,), (-1,), (VERSION,)]


def test_rows_are_written_together_or_not_at_all(database):
    with pytest.raises(UserError, match="UNIQUE"):
        database.write("INSERT INTO herdbook_schema VALUES (?)", [(-1,), (-1,)])
    assert database.read(SELECT) == [(VERSION,)]


def test_what_is_done_together_is_one_step(database):
    with database.together():
        database.write(INSERT, [(-1,)])
        assert database.read(SELECT) == [(-1,), (VERSION,)]
        with ThreadPoolExecutor() as others:
            assert others.submit(database.read, SELECT).result() == [(VERSION,)]
    with pytest.raises(ZeroDivisionError):
        fail_behind_a_write(database)
    assert database.read(SELECT) == [(-1,), (VERSION,)]


def fail_behind_a_write(database: Database) -> None:
    with database.together():
        database.write(INSERT, [(-2,)])
        raise ZeroDivisionError


def test_text_that_no_database_can_hold_is_replaced(database):
    database.write(
        "INSERT INTO herdbook_batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [("a\0b", "half \ud83d pair", "whole 🐄", "", "", "", 1, "", "")],
    )
    assert database.read("SELECT id, provider, url FROM herdbook_batches") == [
        ("ab", "half ? pair", "whole 🐄")
    ]


# ------------------------------------------------------------------------------- many at one time
def put_one_by_one(url: str, writer: int, count: int) -> None:
    """Half of the keys are those of all writers, half the writer's own."""
    cache = Cache(Database(url))
    for n in range(count):
        key = f"{n:064d}" if n % 2 else f"{writer}{n:063d}"
        cache.put_many([(key, Completion(text=f"by {writer}"))], "fake/model")


def four_writers(url: str, count: int) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=put_one_by_one, args=(url, n, count)) for n in range(1, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(240)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    cache = Cache(Database(url))
    assert cache.size().completions == 4 * count // 2 + count // 2
    shared = cache.get_many([f"{n:064d}" for n in range(1, count, 2)])
    assert {c.text for c in shared.values()} <= {f"by {n}" for n in range(1, 5)}
    assert len(shared) == count // 2


def test_four_processes_write_at_once(tmp_path):
    four_writers(f"sqlite:///{tmp_path}/own/calls.db", 2000)


def test_a_child_of_a_fork_has_connections_of_its_own(database):
    database.write(INSERT, [(-1,)])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            database.write(INSERT, [(-2,)])
            code = 0 if {(-2,), (-1,)} <= set(database.read(SELECT)) else 1
        finally:
            os._exit(code)
    database.write(INSERT, [(-3,)])
    assert os.waitpid(child, 0)[1] == 0
    assert database.read(SELECT) == [(-3,), (-2,), (-1,), (VERSION,)]


def test_threads_share_a_database(database):
    def write(of: int) -> None:
        for n in range(50):
            database.write(INSERT, [(-1 - of * 50 - n,)])

    threads = [threading.Thread(target=write, args=(of,)) for of in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(database.read(SELECT)) == 201


def test_what_was_written_outlives_a_kill(database, folder):
    program = (
        "import os, signal\n"
        "from judges.storage.database import open_database\n"
        "database = open_database()\n"
        "for n in range(1, 100):\n"
        f"    database.write({INSERT!r}, [(-n,)])\n"
        "    print(n, flush=True)\n"
        "    if n == 50:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert len(done.stdout.split()) == 50
    assert len(database.read(SELECT)) == 51


# ------------------------------------------------------------------------------------- what is wrong
def refused(*parts: str) -> None:
    """Holds that opening says these things in one line."""
    with pytest.raises(UserError) as error:
        open_database().read(SELECT)
    assert len(str(error.value).splitlines()) == 1
    for part in parts:
        assert part in str(error.value)


def test_a_file_of_something_else_is_damaged(folder):
    folder.mkdir(0o700)
    (folder / "herdbook.sqlite").write_bytes(b"this is not a database, whatever its name" * 50)
    refused("is damaged", "delete", str(folder / "herdbook.sqlite"))
    assert (folder / "herdbook.sqlite").read_bytes().startswith(b"this is not")


def test_a_file_with_damaged_pages_is_damaged(database, folder):
    Cache(database).put_many([(f"{n:064d}", Completion(text="x" * 900)) for n in range(99)])
    database.close()
    path = folder / "herdbook.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    refused("is damaged", "delete")


def test_tables_of_a_newer_version_are_refused(database):
    database.write(INSERT, [(VERSION + 1,)])
    database.close()
    refused("newer Herdbook", "Update Herdbook", "delete")


def test_a_folder_that_cannot_be_made_is_told(folder):
    folder.write_text("a file", encoding="utf-8")
    refused("HERDBOOK_CACHE")


def test_a_file_that_may_not_be_written_is_told(folder, monkeypatch):
    with contextlib.closing(open_database()) as database:
        database.read(SELECT)
        database.read("PRAGMA query_only = 1")
        with pytest.raises(UserError, match=r"cannot be written to .*HERDBOOK_CACHE"):
            database.write(INSERT, [(-1,)])


def test_a_lock_that_is_never_given_up_is_told(database, folder, monkeypatch):
    database.read(SELECT)
    monkeypatch.setattr("judges.storage.drivers.WAIT_SECONDS", 0.1)
    holder = sqlite3.connect(folder / "herdbook.sqlite")
    holder.execute("BEGIN IMMEDIATE")
    with (
        contextlib.closing(open_database()) as other,
        pytest.raises(UserError, match="another process"),
    ):
        other.write(INSERT, [(-1,)])
    holder.close()
    database.write(INSERT, [(-1,)])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_stored(disk, monkeypatch):
    monkeypatch.setenv("HERDBOOK_CACHE", str(disk))
    monkeypatch.delenv("HERDBOOK_DATABASE", raising=False)
    with contextlib.closing(open_database()) as database:
        cache = Cache(database)
        stored: list[int] = []

        def fill() -> None:
            for n in range(200):
                cache.put_many([(f"{n:064d}", Completion(text="x" * 5000))])
                stored.append(n)

        with pytest.raises(UserError, match="no space is left on the disk"):
            fill()
        assert cache.size().completions == len(stored) > 0


def test_a_read_only_disk_is_told(disk, monkeypatch):
    monkeypatch.setenv("HERDBOOK_CACHE", str(disk))
    monkeypatch.delenv("HERDBOOK_DATABASE", raising=False)
    with contextlib.closing(open_database()) as database:
        database.read(SELECT)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused("HERDBOOK_CACHE")
