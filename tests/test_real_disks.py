"""A file system that really is full or read-only; skipped where none may be mounted."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import good_answers, make_board, write_answers


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Write until nothing more fits."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 512):
            pass


def test_what_was_done_on_a_full_disk_is_kept(
    disk: Path, tmp_path: Path, leaderboard: Callable
) -> None:
    make_board(disk / "toy")
    args = ("--board", "toy", "--results", disk)
    assert leaderboard("eval", write_answers(tmp_path / "a.jsonl", good_answers()), *args).code == 0
    shown = leaderboard("show", "toy", "--results", disk).out
    fill(disk / "ballast")
    run = leaderboard("eval", "fake/words", *args)
    assert run.code == 2
    assert "no space is left on the disk" in run.err
    assert "Traceback" not in run.err
    assert (
        shown.splitlines()[2:5]
        == leaderboard("show", "toy", "--results", disk).out.splitlines()[2:5]
    )
    (disk / "ballast").unlink()
    assert leaderboard("eval", "fake/words", *args).code == 0


def test_a_read_only_disk_is_told_and_can_be_shown(
    disk: Path, tmp_path: Path, leaderboard: Callable
) -> None:
    make_board(disk / "toy")
    args = ("--board", "toy", "--results", disk)
    answers = write_answers(tmp_path / "a.jsonl", good_answers())
    assert leaderboard("eval", answers, *args).code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    run = leaderboard("eval", "fake/words", *args)
    assert run.code == 2
    assert "the file system is read-only" in run.err
    assert len(run.err.splitlines()) == 1
    shown = leaderboard("show", "toy", "--results", disk)
    assert shown.code == 0
    assert "a " in shown.out
