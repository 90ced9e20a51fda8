"""What commands beside `eval` would ask of models is told before, and kept within a budget."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from api_server import ApiServer
from api_wire import Asked, Reply
from conftest import Finished, files_of, refused, write_rows
from served_boards import judge_at, own_answers, served_board, set_prices

pytestmark = pytest.mark.usefixtures("api_keys")


def behave(asked: Asked) -> Reply:
    """A judge that prefers the first answer; asked for an answer it writes one."""
    return Reply(text=f"VERDICT {asked.nonce}: first" if asked.nonce else "An answer.")


@pytest.fixture
def server(serve, monkeypatch, tmp_path) -> ApiServer:
    set_prices(monkeypatch, tmp_path / "settings", openai__gpt=(1, 2), openai__writer=(1, 2))
    return serve(behave)


@pytest.fixture
def board(server, tmp_path, leaderboard) -> Path:
    """With the rows one and two."""
    board = served_board(tmp_path / "results", judge_at(server, form="text"), drift=3)
    for name in ("one", "two"):
        file = own_answers(tmp_path / f"{name}.jsonl")
        file.write_text(file.read_text().replace("I say", name))
        run = leaderboard("eval", file, "--board", "toy", "--results", board.path.parent)
        assert run.code == 0, run.err
    return board.path


def planned(run: Finished) -> int:
    """The calls of the table of a dry run."""
    assert run.code == 0, run.err
    assert "in all: $" in run.out, run.out
    return sum(int(n) for n in re.findall(r"(?:judging by|drift:|answers) ?\S* +(\d+)  ", run.out))


def test_rows_against_each_other(board, server, leaderboard):
    flags = ("compare", "toy", "one", "two", "--direct", "--results", board.parent)
    before, calls = files_of(board), server.calls
    plan = leaderboard(*flags, "--dry-run")
    assert server.calls == calls
    assert {k: v for k, v in files_of(board).items() if ".lock" not in k} == {
        k: v for k, v in before.items() if ".lock" not in k
    }
    assert leaderboard(*flags).code == 0
    assert server.calls - calls == planned(plan) == 12 + 3
    assert "costs nothing" in leaderboard(*flags, "--dry-run").out
    refused(leaderboard("compare", "toy", "--dry-run", "--results", board.parent), "--direct")


def test_the_controls_of_a_check(server, tmp_path, leaderboard):
    board = served_board(tmp_path / "results", judge_at(server, form="text")).path
    flags = ("board", "check", "toy", "--results", board.parent)
    plan = leaderboard(*flags, "--dry-run")
    assert server.calls == 0
    assert not (board / "controls").exists()
    run = leaderboard(*flags, "--max-cost", "0.0001")
    assert run.code == 4, run.err
    assert "calls to judges, $" in run.err
    assert "stopped at the budget of $0.0001" in run.err
    assert server.calls < 3
    run = leaderboard(*flags)
    assert run.code in (0, 3), run.err
    assert "calls to models, $" in run.err
    n_probes = 3  # at most, of the controls' own questions
    assert server.calls - n_probes <= planned(plan) <= server.calls + n_probes
    assert "costs nothing" in leaderboard(*flags, "--dry-run").out


@pytest.fixture
def new(new_board: Callable[..., Finished], tmp_path, server) -> Callable[..., Finished]:
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": f"Say word{k}."} for k in range(9)])
    at = ("--base-url", f"{server.url}/v1", "--reference", "openai/writer")
    return lambda *flags: new_board("--prompts", prompts, *at, *flags)


def test_a_reference_that_is_a_model(new, server, tmp_path):
    plan = new("--dry-run")
    assert server.calls == 0
    assert not (tmp_path / "results").exists()
    run = new("--max-cost", "0.0001")
    assert run.code == 4, run.err
    assert "9 calls to references, $" in run.err
    assert "stopped at the budget of $0.0001" in run.err
    assert not (tmp_path / "results" / "mine").exists()
    assert server.calls < 9
    assert new().code == 0
    assert server.calls == planned(plan) == 9
