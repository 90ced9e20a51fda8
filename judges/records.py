"""Files of records: read with the line number in every complaint, written so that nothing is lost.

A file is replaced atomically or appended to line by line. A last line without its line end is what
a killed run leaves behind: `read_records` can pass over it, and `Appender` cuts it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from judges.errors import UserError

T = TypeVar("T")
MAX_DEPTH = 50
"""Tables and lists of a TOML file that stand in one another."""


def to_line(record: object) -> str:
    """One record as a line of JSON. Fields of a dataclass that hold their default are left out."""
    # Half of a surrogate pair, as a text cut in an emoji holds it, is no UTF-8: it is escaped.
    return _LINE.encode(record).encode("utf-8", "backslashreplace").decode()


def digest(value: object) -> str:
    """`sha256:` and the hash of a value in canonical JSON."""
    return "sha256:" + hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def _as_dict(value: Any) -> dict[str, Any]:
    """What JSON does not know: mappings, and dataclasses without the fields at their default."""
    if isinstance(value, Mapping):
        return dict(value)
    names = _defaults(value.__class__)
    return {name: v for name, default in names if (v := getattr(value, name)) != default}


@cache
def _defaults(cls: Any) -> list[tuple[str, Any]]:
    return [(field.name, field.default) for field in fields(cls)]


_LINE = json.JSONEncoder(ensure_ascii=False, default=_as_dict)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_as_dict)


def read_records(path: Path, *, allow_torn: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line of a JSONL file; blank lines are passed over.

    Raises UserError with the line's number for what is not a JSON object. With `allow_torn` a
    last line that has no line end is passed over.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if allow_torn and not raw.endswith(b"\n"):
                return
            if not raw.strip():
                continue
            try:
                record = json.loads(raw.rstrip())
            except (ValueError, RecursionError) as error:
                # The error counts lines of its own, and this text has one.
                why = re.sub(r": line 1 column (\d+) \(char \d+\)$", r", column \1", str(error))
                raise UserError(f"{path}, line {number}: not valid JSON ({why})") from None
            if not isinstance(record, dict):
                raise UserError(f"{path}, line {number}: a JSON object was expected")
            yield number, record


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; raises UserError for one that cannot be read."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also of bytes that are no text, and of numbers without end
        raise UserError(f"{path}: not valid TOML ({error})") from None
    except RecursionError:
        raise UserError(f"{path}: not valid TOML (nested too deeply)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    level: list[Any] = [table]
    for _ in range(MAX_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for of in inner for one in of if isinstance(one, dict | list)]
    if level:
        raise UserError(f"{path}: not valid TOML (nested too deeply)")
    return table


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
"""Type → what reads it; made once, as making one takes as long as reading a file."""


def validated(kind: type[T], value: object, where: str) -> T:
    """The value as one of this type; raises UserError that names the first wrong field."""
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind)
    try:
        read: T = adapter.validate_python(value)
        return read
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: {at + ': ' if at else ''}{first['msg'].lower()}") from None


def write_atomic(path: Path, text: str) -> None:
    """Replace a file in one step: whoever reads it sees the old text or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(
            handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _follow_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


class Appender:
    """Appends records to a JSONL file, one complete line at a time.

    On entry a torn last line is cut off; the file is made where it is not there, and a symbolic
    link is not followed (OSError). After every `append` the line is with the operating system, so
    that a killed run keeps it; on exit all of them are on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Appender:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b", buffering=0, opener=_follow_no_link)
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(0)
            self._file.truncate(self._file.read().rfind(b"\n") + 1)
        return self

    def append(self, record: object) -> None:
        line = (to_line(record) + "\n").encode()
        # A full disk can take part of a line: cut it off, so that the file stays readable.
        start = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
        except OSError:
            self._file.truncate(start)
            raise
        if written != len(line):
            self._file.truncate(start)
            raise OSError(28, "No space left on device", str(self.path))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._file:
            os.fsync(self._file.fileno())
