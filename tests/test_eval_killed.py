"""`leaderboard eval` in a process of its own, killed again and again, and resumed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from api_server import ApiServer, Asked, Reply, instance
from conftest import read_lines
from served_boards import judge_at, own_answers, served_board, set_prices

from judges.storage.database import open_database
from leaderboard.boards.board import load_board
from leaderboard.curation.checking import check_board

ROOT = Path(__file__).parents[1]
FORKING = """
import json, os, sys
import aiohttp, openai, pandas, sqlalchemy
import leaderboard.commands.eval
from leaderboard.cli import main
out = os.fdopen(os.dup(1), "wb", 0)
os.dup2(2, 1)
for line in sys.stdin:
    if (child := os.fork()) == 0:
        os._exit(main(json.loads(line)))
    out.write(b"%d\\n" % child)
    out.write(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Forks a process for each command line that it reads, and tells its id and how it ended; so that
what is killed has not first to be loaded."""


class Evaluations:
    """Runs `eval` in processes of their own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def start(self, *args: str | Path) -> int:
        """The id of the new process."""
        self.process.stdin.write(json.dumps(["eval", *map(str, args)]).encode() + b"\n")
        return int(self.process.stdout.readline())

    def is_done(self, wait: float = 0.001) -> bool:
        """Whether the process has ended; then `end` gives how."""
        return bool(select.select([self.process.stdout], [], [], wait)[0])

    def end(self) -> int:
        return int(self.process.stdout.readline())


@pytest.fixture
def evaluations(
    tmp_path: Path, api_keys: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Evaluations]:
    set_prices(monkeypatch, tmp_path / "settings", openai__gpt=(1, 2), openai__writer=(1, 2))
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-c", FORKING],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, bufsize=0, cwd=ROOT,
        ) as process,
    ):  # fmt: skip
        yield Evaluations(process)
        process.stdin.close()


def tell(asked: Asked) -> Reply:
    """A verdict whose reasons name the request; an answer that is its name."""
    if asked.schema is None:
        return Reply(text=json.dumps({"reasoning": name_of(asked)}))
    return Reply(text=json.dumps(instance(asked.schema, asked) | {"reasoning": name_of(asked)}))


def name_of(asked: Asked) -> str:
    return hashlib.sha256(asked.raw).hexdigest()


def stored() -> set[str]:
    """The requests whose completions are in the cache."""
    lines = open_database().read("SELECT completion FROM herdbook_completions", ())
    return {json.loads(json.loads(line)["text"])["reasoning"] for (line,) in lines}


def run_and_kill(
    evaluations: Evaluations,
    server: ApiServer,
    command: Sequence[str | Path],
    kills_at: Sequence[int],
    later_kills: int,
    chance: random.Random,
) -> None:
    """Runs the command again and again, until it ends well after all kills: one whenever the server
    knows so many different requests, then some at any time."""
    points: list[int | None] = [*kills_at, *[None] * later_kills]
    while True:
        before, begin = stored(), len(server.log)
        process, started = evaluations.start(*command), time.monotonic()
        until = started + chance.uniform(0.02, 0.4)
        while points and not evaluations.is_done():
            n_known = len({asked.raw for asked in server.log})
            if time.monotonic() > until if points[0] is None else n_known >= points[0]:
                os.kill(process, signal.SIGKILL)
                points.pop(0)
                break
        ended = evaluations.end()
        while server.in_flight:
            time.sleep(0.01)
        again = {name_of(asked) for asked in server.log[begin:]} & before
        assert not again, f"{len(again)} stored completions were asked for again"
        assert before <= stored()
        if ended == 0 and not points:
            return
        assert ended in (0, -signal.SIGKILL)


def assert_same_files(one: Path, other: Path) -> None:
    """Every file of the one folder is in the other, with the same bytes. Transcripts hold the
    replies in the order in which they came."""
    for path in sorted(one.rglob("*")):
        if path.is_file() and path.name not in (".lock", "transcripts.jsonl"):
            assert (other / path.relative_to(one)).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("n", "kills", "later", "is_judged"), [(805, 16, 4, True), (150, 5, 1, False)]
)
def test_killed_and_resumed(n, kills, later, is_judged, serve, evaluations, tmp_path):
    """805 comparisons at 20 points; and a model that answers, at 6."""
    server = serve(tell, latency=0.03)
    boards = {
        name: served_board(tmp_path / name, judge_at(server, max_tokens=300), n=n)
        for name in ("at-once", "killed")
    }
    at = ("openai/writer", "--base-url", f"{server.url}/v1")
    model = (own_answers(tmp_path / "mine.jsonl", n),) if is_judged else at

    def command(name: str) -> tuple[str | Path, ...]:
        return (*model, "--board", "toy", "--results", tmp_path / name)

    evaluations.start(*command("at-once"))
    assert evaluations.end() == 0, (tmp_path / "said").read_text()
    n_requests = len({asked.raw for asked in server.log})
    assert n_requests == len(server.log) > n
    # The cache stays where it is, and is emptied.
    open_database().write("DELETE FROM herdbook_completions", [()])
    server.log.clear()

    chance = random.Random(5)
    points = sorted(chance.sample(range(1, n_requests), kills))
    run_and_kill(evaluations, server, command("killed"), points, later, chance)
    # Only what was under way at a kill was asked for twice.
    assert len(server.log) - n_requests <= (kills + later) * server.most_in_flight
    assert stored() == {name_of(asked) for asked in server.log}
    assert_same_files(boards["at-once"].path, boards["killed"].path)
    row = boards["killed"].path / ("mine" if is_judged else "writer")
    verdicts = read_lines(row / "annotations.jsonl")
    assert len(verdicts) == n
    assert all(verdict["cost_usd"] > 0 for verdict in verdicts)
    assert check_board(load_board("toy", tmp_path / "killed")) == {}
