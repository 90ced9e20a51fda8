"""`leaderboard eval` with the real clients against local servers: answers, verdicts, what they cost."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from api_server import Asked, Fault, Reply, answer, failing, in_turn
from conftest import read_json, read_lines, refused, table_of
from served_boards import bodies, judge_at, own_answers, served_board, set_prices
from servers import KEY

from judges.cache import Cache
from judges.database import open_database
from judges.ledger import Ledger
from leaderboard.boards import load_board
from leaderboard.checking import check_board

pytestmark = pytest.mark.usefixtures("api_keys", "prices")
EACH = 1e6
"""Dollars per million tokens: a dollar a token, which a server counts as words."""


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERDBOOK_PRICES", "")
    set_prices(
        tmp_path / "settings", openai__gpt=(1, 2), anthropic__claude=(3, 4), openai__writer=(5, 6)
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between retries are left out."""
    monkeypatch.setattr("judges.backends.calls.backoff", lambda failures: 0.01)
    monkeypatch.setattr("judges.backends.limiter.backoff", lambda failures: 0.01)


def paid(record: dict) -> float:
    return record["cost_usd"]


# --------------------------------------------------------------------------------- the whole way
@pytest.mark.parametrize("writer", ["openai/writer", "anthropic/writer", "openai-api/org/writer"])
def test_a_served_model_is_judged_by_two_servers(writer, serve, leaderboard, tmp_path, monkeypatch):
    set_prices(
        tmp_path / "settings",
        openai__gpt=(1, 2),
        anthropic__claude=(3, 4),
        **{writer.replace("/", "__"): (5, 6)},
    )
    openai, anthropic, other = serve(), serve(), serve()
    results = tmp_path / "results"
    served_board(
        results,
        judge_at(openai, "gpt", temperature=0.0),
        judge_at(anthropic, "claude", "anthropic", max_tokens=400),
    )
    run = leaderboard("eval", writer, "--base-url", f"{other.url}/v1", "--board", "toy",
                      "--results", results)  # fmt: skip
    assert run.code == 0, run.err
    name = writer.replace("openai-api/org/", "org/").replace("openai/", "").replace("anthropic/", "")
    row = results / "toy" / name.replace("/", "__")
    outputs = read_lines(row / "outputs.jsonl")
    assert [line["instruction_id"] for line in outputs] == [f"toy-{k:02d}" for k in range(12)]
    assert {line["served"] for line in outputs} == {name}
    assert {call.wire for call in other.log} == {"anthropic" if "anthropic" in writer else "openai"}
    assert len(other.log) == 12

    verdicts = read_lines(row / "annotations.jsonl")
    assert Counter(line["annotator"] for line in verdicts) == {"gpt": 12, "claude": 12}
    assert all(line["served"] == line["annotator"] for line in verdicts)
    assert all(line["preference"] in (0, 0.5, 1) for line in verdicts)
    transcripts = read_lines(row / "transcripts.jsonl")
    assert len(transcripts) == 24
    of = {(line["comparison_id"], line["annotator"]): line for line in transcripts}
    for line in verdicts:
        (call,) = of[line["comparison_id"], line["annotator"]]["calls"]
        said = json.loads(call["text"])["verdict"]
        assert line["preference"] == {"first": 0, "second": 1, "tie": 0.5}[said]
        assert call["cost_usd"] == line["cost_usd"] > 0

    summary = read_json(row / "summary.json")
    cost = sum(map(paid, [*outputs, *verdicts]))
    assert summary["cost_usd"] == pytest.approx(cost, rel=1e-12)
    assert summary["served"] == {"gpt": {"gpt": 12}, "claude": {"claude": 12}}
    assert check_board(load_board("toy", results)) == {}
    # The ledger holds all of it, the first calls and the controls among it.
    spending = {line.group: line for line in Ledger(open_database()).spending("judge")}
    assert spending["gpt"].calls == len(openai.log)
    assert spending["claude"].calls == len(anthropic.log)
    assert f"{len(openai.log) + len(anthropic.log) + 12} calls to models, $" in run.err
    # All stored: nothing is asked again, not even the first call.
    n_asked = [len(server.log) for server in (openai, anthropic, other)]
    again = leaderboard("eval", writer, "--base-url", f"{other.url}/v1", "--board", "toy",
                        "--results", results)  # fmt: skip
    assert again.code == 0, again.err
    assert [len(server.log) for server in (openai, anthropic, other)] == n_asked
    assert "calls" not in again.err
    assert read_lines(row / "annotations.jsonl") == verdicts
