"""Times two commands in turn, A B A B …, so that a machine whose speed drifts is fair to both."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PEERS = Path("build") / "peers"


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, what has to be done before each run, and further environment variables."""

    name: str
    argv: Sequence[str]
    before: Callable[[], None] = lambda: None
    env: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of one process, its children included."""

    wall: float
    cpu: float


def run_once(command: Command) -> Run:
    """One run of a whole process; its output is thrown away, a failure stops the benchmark."""
    command.before()
    begin = time.perf_counter()
    process = subprocess.Popen(
        command.argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(command.env or {})},
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command.argv)} failed:\n{errors.decode(errors='replace')[-3000:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime)


def compare(title: str, ours: Command, theirs: Command, runs: int) -> None:
    """Print a Markdown table: medians of both, and the median of the ratios pair by pair."""
    for command in (ours, theirs):
        run_once(command)  # a warm-up, not counted
    pairs = [(run_once(ours), run_once(theirs)) for _ in range(runs)]
    print(f"\n{title} ({runs} pairs)\n")
    print("| | wall s, median (min to max) | CPU s, median |")
    print("| --- | --- | --- |")
    for place, command in enumerate((ours, theirs)):
        walls = [pair[place].wall for pair in pairs]
        cpu = median(pair[place].cpu for pair in pairs)
        spread = f"{min(walls):.3f} to {max(walls):.3f}"
        print(f"| {command.name} | {median(walls):.3f} ({spread}) | {cpu:.3f} |")
    wall = median(b.wall / a.wall for a, b in pairs)
    cpu = median(b.cpu / a.cpu for a, b in pairs)
    print(f"| ratio, median of pairs | {wall:.1f} | {cpu:.1f} |", flush=True)


def peer(name: str, requirements: Sequence[str]) -> Path:
    """The programs' folder of a virtual environment with these packages, made on first use."""
    folder = PEERS / name
    done = folder / "installed"
    if not done.is_file() or done.read_text() != "\n".join(requirements):
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *requirements], check=True)
        done.write_text("\n".join(requirements))
    return folder / "bin"
