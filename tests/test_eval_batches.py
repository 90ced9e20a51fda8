"""`leaderboard eval --batch` with the real clients against local batch services."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from api_batches import Batches
from api_server import ApiServer, answer
from conftest import read_json, read_lines, refused
from served_boards import judge_at, own_answers, served_board

from judges.storage.database import open_database

pytestmark = pytest.mark.usefixtures("api_keys", "prices")


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    models = [
        f'[[models]]\nmodel = "{model}"\ninput = {price}\noutput = {2 * price}\n'
        for model, price in (("openai/gpt", 100), ("anthropic/claude", 300))
    ]
    (tmp_path / "prices.toml").write_text("batch = 0.5\n" + "".join(models))
    monkeypatch.setenv("HERDBOOK_PRICES", str(tmp_path / "prices.toml"))


@pytest.fixture
def server(serve: Callable[..., ApiServer]) -> ApiServer:
    return serve(answer, batches=Batches(polls=1))


@pytest.fixture
def command(server: ApiServer, tmp_path: Path) -> list[str | Path]:
    """Puts answers on a board that two providers judge."""
    served_board(
        tmp_path / "results",
        judge_at(server, "gpt", temperature=0.0),
        judge_at(server, "claude", "anthropic", max_tokens=400),
    )
    answers = own_answers(tmp_path / "mine.jsonl")
    return ["eval", answers, "--board", "toy", "--results", tmp_path / "results"]


def verdicts(results: Path) -> list[dict]:
    """All but what they cost."""
    files = sorted((results / "toy").rglob("annotations.jsonl"))
    assert len(files) > 3  # the controls' as well
    return [
        {**line, "cost_usd": None, "of": str(file.relative_to(results))}
        for file in files
        for line in read_lines(file)
    ]


def test_batches_bring_the_same_verdicts_at_half_the_price(
    command, server, leaderboard, tmp_path, monkeypatch
):
    shutil.copytree(tmp_path / "results", tmp_path / "singly")
    run = leaderboard(*command, "--batch")
    assert run.code == 0, run.err
    assert [(len(batch.asked), batch.wire) for batch in server.batches.made] == [
        (len(server.batches.made[0].asked), "openai"),
        (len(server.batches.made[0].asked), "anthropic"),
    ]
    assert "batch msgbatch_0001: " in run.err
    assert len(server.log) == 2, "beside the batches one probe a judge"
    table = open_database().read(
        "SELECT purpose, batch, COUNT(*) FROM herdbook_ledger GROUP BY purpose, batch"
    )
    n = 2 * len(server.batches.made[0].asked)
    assert sorted(table) == [("controls", 1, n - 24), ("judging", 1, 24), ("probe", 0, 2)]

    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "another"))
    singly = leaderboard(*command[:-1], tmp_path / "singly")
    assert singly.code == 0, singly.err
    assert verdicts(tmp_path / "results") == verdicts(tmp_path / "singly")
    costs = [
        read_json(tmp_path / folder / "toy" / "mine" / "summary.json")["cost_usd"]
        for folder in ("results", "singly")
    ]
    assert 0 < costs[0] == pytest.approx(costs[1] / 2)


@pytest.mark.parametrize("event", ["create", "created", "poll", "results"])
def test_a_killed_run_goes_on_and_pays_once(event, command, server, leaderboard, tmp_path):
    running: list[subprocess.Popen[bytes]] = []

    def kill(happened: str) -> None:
        if happened == event and running[0].poll() is None:
            running[0].send_signal(signal.SIGKILL)
            running[0].wait()

    server.batches.hook = kill
    program = [sys.executable, "-m", "leaderboard.cli", *map(str, command), "--batch"]
    running.append(subprocess.Popen(program, cwd=Path(__file__).parents[1]))
    assert running[0].wait(60) == -signal.SIGKILL
    run = leaderboard(*command, "--batch")
    assert run.code == 0, run.err
    assert len(server.batches.made) == 2
    asked = [of.raw for batch in server.batches.made for of in batch.asked.values()]
    asked += [of.raw for of in server.log]  # the probes
    assert len(asked) == len(set(asked)) == len(verdicts(tmp_path / "results"))
    ((paid,),) = open_database().read("SELECT COUNT(*) FROM herdbook_ledger")
    assert paid == len(asked)
    again = leaderboard(*command)
    assert again.code == 0
    assert len(server.batches.made) == 2


def test_a_dry_run_shows_the_price_of_batches(command, server, leaderboard):
    plain, batch = leaderboard(*command, "--dry-run"), leaderboard(*command, "--dry-run", "--batch")
    assert plain.code == batch.code == 0
    assert not server.batches.made

    def dollars(run) -> list[float]:
        """Low, expected and high."""
        last = run.out.partition("in all: ")[2].partition(" (")[0]
        return [float(part.replace("$", "").replace(",", "")) for part in last.split(" – ")]

    assert dollars(batch) == pytest.approx([cost / 2 for cost in dollars(plain)], rel=0.05)


def test_a_budget_that_is_too_small_hands_nothing_over(command, server, leaderboard):
    run = leaderboard(*command, "--batch", "--max-cost", "0.5")
    assert run.code == 4
    assert "A batch cannot be stopped half-way" in run.err
    assert not server.batches.made


def test_a_server_without_batches_is_told(command, server, serve, leaderboard, tmp_path):
    plain = serve(answer)
    served_board(tmp_path / "other", judge_at(plain, "gpt"))
    run = leaderboard(*command[:-1], tmp_path / "other", "--batch")
    refused(run, "has no batch service", "Leave --batch out")
