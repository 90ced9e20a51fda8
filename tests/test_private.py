"""The text of private instructions is sent to no server but one on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from api_server import answer
from conftest import CHECKLIST, make_board, refused, toy_instructions, write_rows
from served_boards import judge_at, own_answers, served_board

FAR = "http://judge.example.invalid/v1"
PRIVATE = [replace(i, visibility="private") for i in toy_instructions(12)]

pytestmark = pytest.mark.usefixtures("api_keys")


@pytest.fixture
def private(new_board, tmp_path):
    """Makes a private board of two prompts."""
    rows = [{"prompt": "Say one."}, {"prompt": "Say two."}]
    prompts = write_rows(tmp_path / "prompts.jsonl", rows)
    return lambda *flags: new_board("--prompts", prompts, "--private", *flags)


@pytest.mark.parametrize(
    "model", ["openai/gpt", "anthropic/claude", f"openai-api/m@{FAR}", "openai-api/m"]
)
def test_a_private_board_takes_no_judge_elsewhere(model, private, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", FAR)
    run = private("--judge", f"pairwise/{model}")
    refused(run, f"judge pairwise/{model.partition('@')[0]}", "private", "vllm", "127.0.0.1")
    assert not (tmp_path / "results" / "mine").exists()


def test_nor_a_reference_model_elsewhere(private, serve, tmp_path):
    server = serve()
    here = ("--base-url", f"{server.url}/v1")
    refused(private("--reference", "openai-api/m", "--base-url", FAR), "openai-api/m", "private")
    run = private("--reference", "openai-api/m", *here)
    assert run.code == 0, run.err
    assert server.calls == 2


def test_nor_one_made_of_a_private_board(serve, leaderboard, tmp_path):
    make_board(tmp_path / "toy", PRIVATE)
    new = ("board", "new", "mine", "--from", "toy", "--results", tmp_path, "--judge")
    refused(leaderboard(*new, "pairwise/openai/gpt"), "private")
    run = leaderboard(*new, f"pairwise/openai-api/m@{serve().url}/v1")
    assert run.code == 0, run.err


def test_eval_refuses_a_model_elsewhere(serve, leaderboard, tmp_path):
    make_board(tmp_path / "toy", PRIVATE, CHECKLIST)
    ask = ("eval", "openai-api/m", "--board", "toy", "--results", tmp_path, "--base-url")
    for flags in ((), ("--only", "generate")):
        refused(leaderboard(*ask, FAR, *flags), "openai-api/m", "private")
    run = leaderboard(*ask, f"{serve().url}/v1")
    assert run.code == 0, run.err


def test_a_board_made_by_hand_is_refused_before_any_call(serve, leaderboard, tmp_path, monkeypatch):
    far = {**judge_at(serve()), "base_url": FAR}
    here = serve(answer)
    served_board(tmp_path, judge_at(here, "near"), far, n=PRIVATE)
    answers = own_answers(tmp_path / "own.jsonl")
    run = leaderboard("eval", answers, "--board", "toy", "--results", tmp_path)
    refused(run, "judge gpt", "private")
    assert here.calls == 0
    refused(leaderboard("board", "check", "toy", "--results", tmp_path), "judge gpt", "private")


def test_a_judge_on_this_machine_judges_private_answers(serve, leaderboard, tmp_path):
    server = serve(answer)
    served_board(tmp_path, judge_at(server), n=PRIVATE)
    answers = own_answers(tmp_path / "own.jsonl")
    run = leaderboard("eval", answers, "--board", "toy", "--results", tmp_path)
    assert run.code == 0, run.err
    assert server.calls
