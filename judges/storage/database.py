"""The one database for completions, spending and batches: a SQLite file, or PostgreSQL by URL.

Statements are plain SQL that both understand, with `?` for a parameter. Several processes can write
at once. Nothing is opened before the first statement.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from judges.errors import MissingExtraError, UserError
from judges.storage.drivers import (
    WAIT_SECONDS,
    Connection,
    Driver,
    PostgresDriver,
    Row,
    SqliteDriver,
    StatementFailed,
)

VERSION = 1
"""Of the tables below; a database of a newer one is refused."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS herdbook_schema (version INTEGER PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS herdbook_completions (
        key TEXT PRIMARY KEY, check_sum TEXT NOT NULL, completion TEXT NOT NULL,
        model TEXT NOT NULL, served TEXT, created TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS herdbook_ledger (
        time TEXT NOT NULL, folder TEXT NOT NULL, board TEXT NOT NULL, "row" TEXT NOT NULL,
        judge TEXT NOT NULL, purpose TEXT NOT NULL, model TEXT NOT NULL, served TEXT,
        input_tokens BIGINT, cached_tokens BIGINT, output_tokens BIGINT, reasoning_tokens BIGINT,
        cost_usd DOUBLE PRECISION, batch BOOLEAN NOT NULL, attempts INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS herdbook_batches (
        id TEXT PRIMARY KEY, provider TEXT NOT NULL, url TEXT NOT NULL, model TEXT NOT NULL,
        state TEXT NOT NULL, remote TEXT NOT NULL, requests INTEGER NOT NULL,
        created TEXT NOT NULL, until TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS herdbook_batch_keys (
        key TEXT PRIMARY KEY, batch TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS herdbook_batch_of ON herdbook_batch_keys (batch)",
)
_ELSEWHERE = "Name another place in HERDBOOK_CACHE or HERDBOOK_DATABASE"
_INHERITED: list[Driver] = []
# Closing a file gives up all locks that this process holds on it: no other thread may be there yet.
_CLAIMING = threading.Lock()


def cache_folder() -> Path:
    """HERDBOOK_CACHE, else `herdbook` in the user's cache folder. It need not be there yet."""
    if own := os.environ.get("HERDBOOK_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "herdbook"


def open_database(url: str | None = None) -> Database:
    """The database at the URL, else at HERDBOOK_DATABASE, else the file in the cache folder.

    Raises UserError for a URL that is none or of another kind of database; what is wrong with the
    database itself shows at the first statement.
    """
    return Database(url or os.environ.get("HERDBOOK_DATABASE") or None)


class Database:
    """A database whose tables are there. All that goes wrong with it is a UserError.

    Can be used from several threads, and on both sides of a fork.
    """

    def __init__(self, url: str | None) -> None:
        self._driver: Driver | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._joined = threading.local()
        self._url = url or ""
        kind, separator, rest = self._url.partition("://")
        if not self._url:
            self._path = cache_folder() / "herdbook.sqlite"
        elif kind == "sqlite" and re.match(r"/[^:]", rest):
            self._path = Path(rest[1:].partition("?")[0]).expanduser()
        elif kind in ("postgres", "postgresql", "postgresql+psycopg") and rest:
            self._url = "postgresql+psycopg" + separator + rest
        else:
            raise UserError(
                "HERDBOOK_DATABASE must be sqlite:///FILE or postgresql://USER@HOST/NAME"
            )

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """The rows that a query finds."""
        with self._complaints():
            driver = self._opened()
            with self._own_joined() or driver.reading() as connection:
                return connection.execute(sql, values)

    def write(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Execute a statement once for each row of values, all of them or none."""
        if not rows:
            return
        with self._complaints():
            driver = self._opened()
            with self._own_joined() or driver.writing() as connection:
                connection.execute_many(sql, [_storable(row) for row in rows])

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What this thread reads and writes in the block is one step: others see all of it or
        nothing, and a killed process leaves nothing of it."""
        with self._complaints(), self._opened().writing() as connection:
            self._joined.connection = connection
            try:
                yield
            finally:
                self._joined.connection = None

    def _own_joined(self) -> contextlib.nullcontext[Connection] | None:
        """The connection of the step that this thread is in."""
        joined: Connection | None = getattr(self._joined, "connection", None)
        return None if joined is None else contextlib.nullcontext(joined)

    def close(self) -> None:
        """Close the connections; the next statement opens them again."""
        if self._driver is not None and self._pid == os.getpid():
            self._driver.close()
            self._driver = None

    @property
    def place(self) -> str:
        """Where the database is, for messages: without user, password or parameters."""
        if self._path is not None:
            return str(self._path)
        from sqlalchemy import make_url

        url = make_url(self._url)
        return f"the PostgreSQL database {url.database} at {url.host or 'this machine'}"

    def _opened(self) -> Driver:
        if self._pid != os.getpid():
            # A connection must not be used, nor even closed, on this side of a fork.
            if self._driver is not None:
                _INHERITED.append(self._driver)
            self._driver, self._lock, self._pid = None, threading.Lock(), os.getpid()
        if self._driver is not None:
            return self._driver
        with self._lock:
            if self._driver is None:
                driver = self._connect()
                try:
                    self._make_tables(driver)
                except BaseException:
                    driver.close()
                    raise
                self._driver = driver
            return self._driver

    def _connect(self) -> Driver:
        if self._path is None:
            for package in ("sqlalchemy", "psycopg"):
                if find_spec(package) is None:
                    raise MissingExtraError(package, "postgres")
            return PostgresDriver(self._url)
        with _CLAIMING:
            _claim(self._path)
        return SqliteDriver(self._path)

    def _make_tables(self, driver: Driver) -> None:
        """Make the tables where there are none; raises UserError for those of another version."""
        try:
            with driver.reading() as connection:
                ((found,),) = connection.execute("SELECT MAX(version) FROM herdbook_schema")
        except StatementFailed as error:
            if not error.is_table_missing:
                raise
            found = None
        if found is None:
            with driver.writing(alone=True) as connection:
                for table in _TABLES:
                    connection.execute(table)
                connection.execute(
                    f"INSERT INTO herdbook_schema VALUES ({VERSION}) ON CONFLICT DO NOTHING"
                )
        elif found > VERSION:
            raise UserError(
                f"{self.place} was made by a newer Herdbook (version {found} of its tables, this "
                f"one knows {VERSION}). Update Herdbook, {self._way_out()}"
            )

    def _way_out(self) -> str:
        if self._path is None:
            return "or name another database in HERDBOOK_DATABASE"
        return (
            f"or delete {self._path} and the files {self._path.name}-wal and -shm beside it: "
            "what was asked is then paid for again, and the record of spending begins anew"
        )

    @contextlib.contextmanager
    def _complaints(self) -> Iterator[None]:
        """Turns what the driver says into what the user can do."""
        try:
            yield
        except StatementFailed as error:
            raise UserError(self._complaint(str(error))) from None

    def _complaint(self, said: str) -> str:
        if self._path is None:
            return f"{self.place}: {said}. Check HERDBOOK_DATABASE and the server"
        if re.search("not a database|malformed|corrupt|disk I/O", said):
            return f"{self.place} is damaged ({said}). Put a copy back, {self._way_out()}"
        if "readonly" in said or "unable to open" in said:
            return f"{self.place} cannot be written to ({said}). {_ELSEWHERE}"
        if "full" in said:
            return f"{self.place}: no space is left on the disk; what was stored before is kept"
        if "locked" in said:
            return (
                f"{self.place}: another process has held it for {WAIT_SECONDS:.0f} seconds. End it "
                "and try again"
            )
        return f"{self.place}: {said}"


def _storable(row: Sequence[object]) -> Row:
    """The values without what no database holds in a text: NUL, and halves of surrogate pairs."""
    return tuple(
        value.replace("\0", "").encode("utf-8", "replace").decode()
        if isinstance(value, str) and ("\0" in value or not value.isascii())
        else value
        for value in row
    )


def _claim(path: Path) -> None:
    """Make the file and its folder where they are not there; raises UserError where somebody else
    could read or exchange them."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = _own(path.parent)
        if folder.st_mode & 0o022:
            raise UserError(f"{path.parent} can be written to by others. {_ELSEWHERE}")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        file = _own(path)
        if not stat.S_ISREG(file.st_mode):
            raise UserError(f"{path} is not a file. {_ELSEWHERE}")
        if file.st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. {_ELSEWHERE}") from None


def _own(path: Path) -> os.stat_result:
    """What the system says of a file or folder that must be the user's own."""
    held = path.lstat()
    if stat.S_ISLNK(held.st_mode):
        raise UserError(f"{path} is a symbolic link, which is not followed. {_ELSEWHERE}")
    if held.st_uid != os.geteuid():
        raise UserError(f"{path} belongs to another user. {_ELSEWHERE}")
    return held
