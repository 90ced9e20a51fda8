"""What runs statements: Python's own SQLite, or PostgreSQL through SQLAlchemy.

SQLite needs no more than the standard library, and a run that finds all in the cache would spend a
tenth of its time on importing more.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from judges.errors import UserError

WAIT_SECONDS = 60.0  # for a lock that another process holds
_SCHEMA_LOCK = 0x6865726462  # one process at a time makes the tables of a PostgreSQL database

Row = tuple[Any, ...]


class StatementFailed(Exception):
    """The database refused a statement; the text is the database's own, without values."""

    def __init__(self, said: str, *, is_table_missing: bool = False) -> None:
        super().__init__(said)
        self.is_table_missing = is_table_missing


class Connection(Protocol):
    """Runs statements with `?` for a parameter; raises StatementFailed."""

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[Row]: ...

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None: ...


class Driver(Protocol):
    """Hands out connections; safe to use from several threads."""

    def reading(self) -> contextlib.AbstractContextManager[Connection]: ...

    def writing(self, *, alone: bool = False) -> contextlib.AbstractContextManager[Connection]:
        """A transaction: all of it or nothing. With `alone` no other process makes tables now."""
        ...

    def close(self) -> None: ...


# ------------------------------------------------------------------------------------------ SQLite
class SqliteDriver:
    """A file; each thread has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = threading.local()
        self._all: list[sqlite3.Connection] = []

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        yield self._connection()

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            with contextlib.suppress(StatementFailed):  # the file may be gone
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._own = threading.local()

    def _connection(self) -> _SqliteConnection:
        held: _SqliteConnection | None = getattr(self._own, "connection", None)
        if held is None:
            with _sqlite_faults():
                raw = sqlite3.connect(
                    self._path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
                )
                self._all.append(raw)
                _set_up(raw)
            held = self._own.connection = _SqliteConnection(raw)
        return held


class _SqliteConnection:
    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        with _sqlite_faults():
            return self._raw.execute(sql, tuple(values)).fetchall()

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with _sqlite_faults():
            self._raw.executemany(sql, rows)


@contextlib.contextmanager
def _sqlite_faults() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StatementFailed(said, is_table_missing="no such table" in said) from None


def _set_up(raw: sqlite3.Connection) -> None:
    """Readers and one writer side by side; a killed process loses nothing that was written."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            # Several processes that open a new file at once are not made to wait by SQLite here.
            raw.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    raw.execute("PRAGMA synchronous = NORMAL")


# -------------------------------------------------------------------------------------- PostgreSQL
class PostgresDriver:
    """A server, through SQLAlchemy's pool of connections."""

    def __init__(self, url: str) -> None:
        """Raises UserError for a URL that is none."""
        import sqlalchemy

        try:
            self._engine = sqlalchemy.create_engine(
                url, pool_pre_ping=True, connect_args={"connect_timeout": 10}
            )
        except (sqlalchemy.exc.ArgumentError, ValueError):  # its text can hold the password
            raise UserError(
                "HERDBOOK_DATABASE is no valid URL; write postgresql://USER:PASSWORD@HOST/NAME, "
                "special characters in the password as %XX"
            ) from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        with _server_faults(), self._engine.connect() as raw:
            yield _ServerConnection(raw)

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Connection]:
        with _server_faults(), self._engine.begin() as raw:
            if alone:
                raw.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
            yield _ServerConnection(raw)

    def close(self) -> None:
        self._engine.dispose()


class _ServerConnection:
    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        with _server_faults():
            result = self._raw.exec_driver_sql(sql.replace("?", "%s"), tuple(values))
            return [tuple(row) for row in result] if result.returns_rows else []

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with _server_faults():
            self._raw.exec_driver_sql(sql.replace("?", "%s"), [tuple(row) for row in rows])


@contextlib.contextmanager
def _server_faults() -> Iterator[None]:
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except DBAPIError as error:
        said = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
        missing = getattr(error.orig, "sqlstate", None) == "42P01"
        raise StatementFailed(said, is_table_missing=missing) from None
    except SQLAlchemyError as error:
        raise StatementFailed(type(error).__name__) from None
