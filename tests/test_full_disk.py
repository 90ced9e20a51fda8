"""A disk that is full or read-only: the command says so, and what was done is kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    files_of,
    read_lines,
    refused,
    table_of,
)

FILES = ["outputs.jsonl", "annotations.jsonl"]


class FullDisk:
    """A file on a disk with room for so many bytes more: a write takes what fits, the next fails."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: bytes) -> int:
        if self._room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken: int = self._file.write(data[: self._room])
        self._room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@pytest.mark.parametrize("room", [0, 1, 701])
@pytest.mark.parametrize("file", FILES)
def test_a_full_disk_keeps_what_was_done_readable(file, room, evaluate, results, monkeypatch):
    opened = open

    def full(path: Path, *args: Any, **kwargs: Any) -> Any:
        there = opened(path, *args, **kwargs)
        return FullDisk(there, room) if path.name == file else there

    with monkeypatch.context() as patch:
        patch.setattr("judges.records.open", full, raising=False)
        run = evaluate("fake/words")
    assert run.code == 2
    assert "no space is left on the disk" in run.err.splitlines()[-1]
    assert "what was done is kept" in run.err.splitlines()[-1]
    assert "Traceback" not in run.err
    path = results / "toy" / "words" / file
    assert path.read_bytes() == b"" or path.read_bytes().endswith(b"\n")
    assert len(path.read_bytes()) <= room
    held = len(read_lines(path))
    assert (held > 0) == (room >= 700)
    run = evaluate("fake/words")
    assert run.code == 0, run.err
    assert len(read_lines(path)) == 12


@pytest.mark.parametrize("file", [*FILES, "summary.json"])
def test_a_disk_that_is_full_at_the_rewriting_leaves_the_old_file(
    file, evaluate, results, monkeypatch
):
    evaluate("fake/words")
    outputs, annotations = (results / "toy/words" / name for name in FILES)
    for path in (outputs, annotations):  # what is left comes behind, so that all is put in order
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[6:]))
    replaced = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replaced(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        run = evaluate("fake/words")
    assert run.code == 2
    assert "no space is left on the disk" in run.err.splitlines()[-1]
    assert len(read_lines(outputs)) == 12
    assert not list(results.rglob("*.tmp"))
    assert evaluate("fake/words").code == 0
    assert "words" in table_of(results)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_results_folder_is_told(code, evaluate, results, leaderboard, monkeypatch):
    evaluate("fake/words")
    before = files_of(results)
    opened, made = os.open, os.mkdir

    def check(path: Any) -> None:
        if str(results) in str(path):
            raise OSError(code, os.strerror(code), str(path))

    def read_only(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            check(path)
        return opened(path, flags, *args, **kwargs)

    def make(path: Any, *args: Any, **kwargs: Any) -> None:
        if not os.path.exists(path):  # where the folder is there, the system says that first
            check(path)
        made(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "mkdir", make)
    said = "read-only" if code == errno.EROFS else "permission denied"
    refused(evaluate("fake/echo"), said, str(results))
    refused(evaluate("fake/words"), said, str(results))
    refused(leaderboard("eval", "fake/echo", "--results", results), said)
    assert files_of(results) == before
    assert leaderboard("show", "toy", "--results", results).code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_really_read_only_results_folder_is_told(evaluate, results):
    folders = [results, *(path for path in results.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        refused(evaluate("fake/words"), "permission denied")
    finally:
        for folder in folders:
            folder.chmod(0o755)
