"""`leaderboard eval` with the real clients against local servers: answers, verdicts, what they cost."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from zlib import crc32

import pytest
from api_server import Asked, Fault, Reply, answer, failing
from conftest import read_json, read_lines, refused, table_of
from served_boards import bodies, judge_at, own_answers, served_board, set_prices
from servers import KEY

from judges.backends.fake import FakeLLM
from judges.storage.cache import Cache
from judges.storage.database import open_database
from judges.storage.ledger import Ledger
from leaderboard.boards.board import load_board
from leaderboard.curation.checking import check_board

pytestmark = pytest.mark.usefixtures("api_keys", "prices")


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_prices(
        monkeypatch,
        tmp_path / "settings",
        openai__gpt=(1, 2),
        anthropic__claude=(3, 4),
        openai__writer=(5, 6),
    )


def paid(record: dict) -> float:
    return record["cost_usd"]


# --------------------------------------------------------------------------------- the whole way
@pytest.mark.parametrize("writer", ["openai/writer", "anthropic/writer", "openai-api/org/writer"])
def test_a_served_model_is_judged_by_two_servers(writer, serve, leaderboard, tmp_path, monkeypatch):
    set_prices(
        monkeypatch,
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
    name = (
        writer.replace("openai-api/org/", "org/").replace("openai/", "").replace("anthropic/", "")
    )
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


# ---------------------------------------------------------------------------------------- budgets
class TestBudget:
    """Of a board with 12 comparisons and controls on 4 of its instructions."""

    @pytest.fixture
    def evaluate(self, leaderboard, tmp_path):
        file = own_answers(tmp_path / "mine.jsonl")
        flags = ("--board", "toy", "--results", tmp_path / "results")
        return lambda *args: leaderboard("eval", file, *flags, *args)

    def test_an_unknown_price_is_no_budget(self, serve, evaluate, leaderboard, tmp_path):
        server = serve()
        board = served_board(
            tmp_path / "results", judge_at(server), judge_at(server, "other", "openai")
        )
        refused(evaluate("--max-cost", "5"), "judge other", "its price is not known", "prices.toml")
        assert server.log == []
        flags = ("--board", "toy", "--results", board.path.parent, "--max-cost", "5")
        at = ("--base-url", f"{server.url}/v1")
        refused(leaderboard("eval", "openai/m", *at, *flags), "price is not known")
        assert server.log == []
        # Without a budget it is said to be unknown, and never zero.
        run = evaluate()
        assert run.code == 0, run.err
        assert "whose price is not known" in run.err
        assert "cost: not known" in run.out
        row = board.path / "mine"
        assert read_json(row / "summary.json")["cost_usd"] is None
        costs = {(a["annotator"], "cost_usd" in a) for a in read_lines(row / "annotations.jsonl")}
        assert costs == {("gpt", True), ("other", False)}
        assert check_board(load_board("toy", board.path.parent)) == {}

    @pytest.mark.parametrize("where", ["flag", "board.toml"])
    def test_it_stops_and_goes_on(self, where, serve, evaluate, tmp_path):
        uninterrupted = serve()
        board = served_board(tmp_path / "results", judge_at(uninterrupted, max_tokens=40))
        assert evaluate().code == 0
        whole = (board.path / "mine/annotations.jsonl").read_bytes()
        cost = read_json(board.path / "mine/summary.json")["cost_usd"]
        all_bodies = bodies(uninterrupted)

        server = serve()
        results = tmp_path / "stopped"
        folder = str(tmp_path / "results")
        most = {"max_cost_usd": 0.4 * cost} if where == "board.toml" else {}
        board = served_board(results, judge_at(server, max_tokens=40), **most)
        flag = ("--max-cost", str(0.4 * cost)) if where == "flag" else ()
        run = evaluate("--results", results, *flag)
        assert run.code == 4, run.err
        assert folder not in run.err
        told = r"budget of \$(\S+): \$(\S+) paid, \$(\S+) left, and the next call needs \$(\S+)\. "
        most, was_paid, left, needed = map(float, re.search(told, run.err).groups())
        assert most == pytest.approx(was_paid + left, rel=0.01)
        assert needed >= left
        assert "that is more than is left of the budget" in run.err
        assert 0 < len(server.log) < 12
        assert Cache(open_database()).size().completions == len(all_bodies) + len(server.log)
        lines = Ledger(open_database()).spending("purpose", board="toy")
        assert sum(line.calls for line in lines) == sum(all_bodies.values()) + len(server.log)
        summary = read_json(board.path / "mine/summary.json")
        rate = summary["win_rate"]
        judged = [a for a in read_lines(board.path / "mine/annotations.jsonl") if "error" not in a]
        assert rate["n_judged"] == len(judged) == len(server.log) - 1  # one is the first call
        assert rate["bound_high"] - rate["bound_low"] == pytest.approx(1 - len(judged) / 12)
        assert summary["verdicts"]["errors"] == {"stopped at the budget": 12 - len(judged)}
        assert summary["cost_usd"] <= 0.4 * cost
        assert f"judged {len(judged)} of 12" in run.out or f"{len(judged)}/12" in run.out, run.out
        # All replies that came were read: to overwrite them would pay for them twice.
        assert "what did not come with: leaderboard eval mine --board toy --only judge\n" in run.out
        assert "--overwrite" not in run.out
        assert not (board.path / "controls").exists()

        if where == "board.toml":
            file = board.path / "board.toml"
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(x for x in lines if not x.startswith("max_cost_usd")))
        run = evaluate("--results", results, "--max-cost", "1")
        assert run.code == 0, run.err
        assert set(bodies(server).values()) == {1}  # nothing was asked twice
        assert sorted(bodies(server)) == sorted(all_bodies)
        assert (board.path / "mine/annotations.jsonl").read_bytes() == whole

    def test_none_at_all(self, serve, evaluate, tmp_path):
        server = serve()
        served_board(tmp_path / "results", judge_at(server))
        run = evaluate("--max-cost", "0")
        assert run.code == 4, run.err
        assert "0 calls to models, $0.00; stopped at the budget" in run.err
        assert server.log == []

    def test_answers_that_are_too_dear(self, serve, leaderboard, tmp_path, monkeypatch):
        server = serve()
        served_board(tmp_path / "results", judge_at(server))
        set_prices(monkeypatch, tmp_path / "settings", openai__gpt=0.001, openai__writer=(1e6, 0))
        args = ("openai/writer", "--base-url", f"{server.url}/v1", "--board", "toy", "--results",
                tmp_path / "results")  # fmt: skip
        run = leaderboard("eval", *args, "--max-cost", "40")
        assert run.code == 4, run.err
        assert "answers are missing (stopped at the budget" in run.err
        kept = read_lines(tmp_path / "results/toy/writer/outputs.jsonl")
        asked = [call for call in server.log if call.body["model"] == "writer"]
        assert len(kept) == len(asked) < 12
        run = leaderboard("eval", *args, "--max-cost", "1e6")
        assert run.code == 0, run.err
        asked = [call for call in server.log if call.body["model"] == "writer"]
        assert len(asked) == len({call.prompt for call in asked}) == 12

    def test_after_twenty_calls_the_rest_is_reckoned_anew(self, serve, leaderboard, tmp_path):
        server = serve()
        served_board(tmp_path / "results", judge_at(server), n=400)
        file = own_answers(tmp_path / "many.jsonl", 400)
        run = leaderboard("eval", file, "--board", "toy", "--results", tmp_path / "results")
        assert run.code == 0, run.err
        assert run.err.count("at that rate") == 1
        assert "calls have cost $0.0" in run.err


# --------------------------------------------------------------------------------------- controls
def test_controls_are_judged_once_and_on_a_subset(serve, leaderboard, tmp_path, no_waits):
    server = serve()
    results = tmp_path / "results"
    board = served_board(results, judge_at(server))
    flags = ("--board", "toy", "--results", results)
    one, two = (own_answers(tmp_path / f"{name}.jsonl") for name in ("one", "two"))
    two.write_text(two.read_text().replace("I say", "We say"))
    # One of the controls' calls fails for good: the next run completes it.
    control = board.first(4)[0].text

    def refuse(asked: Asked) -> Reply | Fault:
        is_padded = "repays itself" in asked.prompt and control in asked.prompt
        return Fault(status=400, message="no") if is_padded else answer(asked)

    server.behaviour = refuse
    run = leaderboard("eval", one, *flags)
    assert run.code == 0, run.err
    padded = read_json(board.path / "controls/padded/summary.json")
    assert padded["verdicts"] == {
        "n": 4, "n_missing": 1, "errors": {"the server refused the request (400)": 1}
    }  # fmt: skip
    assert all(
        len(read_lines(folder / "annotations.jsonl")) == 4
        for folder in (board.path / "controls").iterdir()
        if folder.is_dir()
    )
    server.behaviour = answer
    n_asked = len(server.log)
    assert leaderboard("eval", two, *flags).code == 0
    assert len(server.log) == n_asked + 12 + 1
    assert read_json(board.path / "controls/padded/summary.json")["verdicts"]["n_missing"] == 0


# --------------------------------------------------------------------------- servers that fail
def test_a_fifth_of_the_calls_fails_and_all_verdicts_are_there(
    serve, leaderboard, tmp_path, no_waits
):
    faults = (
        Fault(status=429, type="rate_limit_error", headers={"retry-after": "0.02"}),
        Fault(),
        Fault(how="reset"),
        Fault(how="cut", raw=b'{"choices": [{"message": {"content": "{'),
        Fault(status=200, raw=b'{"choices": [{"mess'),
    )
    inner = failing(0.2, 7, answer)

    def behave(asked: Asked) -> Reply | Fault:
        given = inner(asked)
        return given if isinstance(given, Reply) else faults[asked.number % len(faults)]

    well, ill = serve(), serve(behave)
    file = own_answers(tmp_path / "mine.jsonl", 805)
    preferences = []
    for name, server in (("well", well), ("ill", ill)):
        board = served_board(tmp_path / name, judge_at(server), n=805)
        run = leaderboard("eval", file, "--board", "toy", "--results", tmp_path / name)
        assert run.code == 0, run.err
        verdicts = read_lines(board.path / "mine/annotations.jsonl")
        assert len(verdicts) == 805
        preferences.append([(a["comparison_id"], a["preference"]) for a in verdicts])
    assert preferences[0] == preferences[1]  # none of them invented
    assert len(ill.log) > len(well.log) + 150


def test_a_server_that_fails_for_ever(serve, leaderboard, tmp_path, no_waits):
    server = serve(lambda asked: Fault(status=500))
    board = served_board(tmp_path / "results", judge_at(server), n=805)
    file = own_answers(tmp_path / "mine.jsonl", 805)
    flags = ("--board", "toy", "--results", tmp_path / "results")
    run = leaderboard("eval", file, *flags)
    assert run.code == 3, run.err
    assert "Traceback" not in run.err
    summary = read_json(board.path / "mine/summary.json")
    rate = summary["win_rate"]
    assert (rate["coverage"], rate["value"]) == (0, None)
    assert (rate["bound_low"], rate["bound_high"]) == (0, 1)
    # The first call gave the server up; one more asked whether it is well again.
    errors = {"not asked, as the server failed": 804, "the server failed (500)": 1}
    assert summary["verdicts"]["errors"] == errors
    assert summary["cost_usd"] == 0
    assert all(a["preference"] is None for a in read_lines(board.path / "mine/annotations.jsonl"))
    assert len(server.log) < 2 * 805  # it is not tried again and again
    assert table_of(tmp_path / "results") is not None
    server.behaviour = answer
    run = leaderboard("eval", file, *flags)
    assert run.code == 0, run.err
    assert read_json(board.path / "mine/summary.json")["win_rate"]["coverage"] == 1


def test_a_server_that_leaves_answers_out(serve, leaderboard, tmp_path, no_waits):
    def refuse(asked: Asked) -> Reply | Fault:
        is_hurt = not asked.nonce and asked.prompt.startswith("Say word7,")
        return Fault(status=400, message="no") if is_hurt else answer(asked)

    server = serve(refuse)
    served_board(tmp_path / "results", judge_at(server))
    args = ("openai-api/w", "--base-url", f"{server.url}/v1", "--board", "toy", "--results",
            tmp_path / "results")  # fmt: skip
    run = leaderboard("eval", *args)
    assert run.code == 3
    assert "1 of 12 answers are missing (the server refused the request (400): 1)" in run.err
    server.behaviour = answer
    n_asked = len(server.log)
    assert leaderboard("eval", *args).code == 0
    assert sum(not call.nonce for call in server.log[n_asked:]) == 1


# ------------------------------------------------------------------------------------ what is odd
def test_a_server_that_tells_no_tokens(serve, leaderboard, tmp_path):
    server = serve(lambda asked: Reply(text=answer(asked).text, usage=False))
    board = served_board(tmp_path / "results", judge_at(server))
    run = leaderboard("eval", own_answers(tmp_path / "mine.jsonl"), "--board", "toy", "--results",
                      tmp_path / "results")  # fmt: skip
    assert run.code == 0, run.err
    assert "cost not known (a price is missing, or a server does not tell its tokens)" in run.err
    assert "cost: not known" in run.out
    assert read_json(board.path / "mine/summary.json")["cost_usd"] is None
    assert "at that rate" not in run.err


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_thinking_is_kept_apart_and_never_judged(wire, serve, leaderboard, tmp_path):
    thoughts = "Let me think about the secret walrus."

    def think(asked: Asked) -> Reply:
        if asked.nonce:
            return Reply(text=answer(asked).text, reasoning="Hmm, both.")
        finish = "length" if "word3," in asked.prompt else "stop"
        return Reply(text=f"It is {asked.draw.random()}", reasoning=thoughts, finish=finish)

    server = serve(think)
    board = served_board(tmp_path / "results", judge_at(server))
    run = leaderboard("eval", f"{wire}/w", "--base-url", f"{server.url}/v1", "--board", "toy",
                      "--results", tmp_path / "results")  # fmt: skip
    assert run.code == 0, run.err
    outputs = read_lines(board.path / "w/outputs.jsonl")
    assert {line["reasoning"] for line in outputs} == {thoughts}
    assert all(line["text"].startswith("It is 0.") for line in outputs)
    assert not any("walrus" in call.prompt for call in server.log)
    transcripts = read_lines(board.path / "w/transcripts.jsonl")
    assert {call["reasoning"] for line in transcripts for call in line["calls"]} == {"Hmm, both."}
    assert all(call["reasoning_tokens"] == 2 for line in transcripts for call in line["calls"])
    assert read_json(board.path / "w/summary.json")["answers"]["n_length_stopped"] == 1


def test_a_served_judge_beside_one_in_this_process(serve, leaderboard, tmp_path, monkeypatch):
    server = serve()
    own = {"kind": "pairwise", "name": "own", "model": "fake/judge"}
    board = served_board(
        tmp_path / "results", own, judge_at(server), {"kind": "checklist", "name": "checklist"}
    )
    closed: list[int] = []
    monkeypatch.setattr(FakeLLM, "close", lambda self: closed.append(len(server.log)))
    run = leaderboard("eval", "fake/words", "--board", "toy", "--results", tmp_path / "results")
    assert run.code == 0, run.err
    verdicts = read_lines(board.path / "words/annotations.jsonl")
    assert Counter(a["annotator"] for a in verdicts) == {"own": 12, "gpt": 12, "checklist": 12}
    assert all(a["preference"] is not None for a in verdicts)
    summary = read_json(board.path / "words/summary.json")
    served = [a for a in verdicts if a["annotator"] == "gpt"]
    assert summary["cost_usd"] == pytest.approx(sum(map(paid, served)), rel=1e-12)
    assert summary["served"] == {"gpt": {"gpt": 12}}
    assert closed[0] == 1  # the model that answered was freed before the judging began


def test_a_model_in_this_process_is_freed_before_servers_judge(
    serve, leaderboard, tmp_path, monkeypatch
):
    server = serve()
    served_board(tmp_path / "results", judge_at(server))
    closed: list[int] = []
    monkeypatch.setattr(FakeLLM, "close", lambda self: closed.append(len(server.log)))
    run = leaderboard("eval", "fake/words", "--board", "toy", "--results", tmp_path / "results")
    assert run.code == 0, run.err
    assert closed == [1]


# ------------------------------------------------------------------------------------------- keys
def test_the_key_is_nowhere(serve, leaderboard, tmp_path, monkeypatch, caplog, no_waits):
    def tell(asked: Asked) -> Reply | Fault:
        """Puts the key into everything that a server can say."""
        key = asked.headers.get("x-api-key") or asked.headers["authorization"].split()[-1]
        if asked.number % 6 == 1:
            return Fault(status=429, message=f"too fast, {key}", headers={"x-seen": key})
        if asked.number % 6 == 2:
            return Fault(status=500, message=f"Authorization: Bearer {key} failed", code=key)
        return answer(asked)

    openai, anthropic = serve(tell), serve(tell)
    results, cache = tmp_path / "results", tmp_path / "cache"
    monkeypatch.setenv("HERDBOOK_CACHE", str(cache))
    served_board(results, judge_at(openai), judge_at(anthropic, "claude", "anthropic"))
    said = []
    at = ("--base-url", f"{openai.url}/v1", "--board", "toy", "--results", results)
    with caplog.at_level("DEBUG"):
        for flags in ((), ("--dry-run",), ("--only", "generate", "--name", "b")):
            run = leaderboard("eval", "openai/writer", *at, *flags)
            assert run.code == 0, run.err
            said.append(run.out + run.err)
        for status in (400, 401, 403, 404, 413):
            refuse = Fault(status=status, message=f"{KEY} temperature", param="temperature")
            openai.behaviour = lambda asked, refuse=refuse: refuse
            run = leaderboard("eval", "openai/writer", *at, "--name", f"again-{status}",
                              "--model-args", "reasoning_effort=high")  # fmt: skip
            said.append(run.out + run.err)
    parts = [KEY, KEY[3:], KEY[:20], KEY[-12:]]
    texts = {str(n): text.encode() for n, text in enumerate(said)}
    texts |= {str(p): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    own = [
        r for r in caplog.records if r.name.split(".")[0] in ("judges", "leaderboard", "herdbook")
    ]
    texts["logs"] = "\n".join(record.getMessage() for record in own).encode()
    assert any(cache.rglob("*.sqlite*")) or any(cache.iterdir())
    for where, text in texts.items():
        assert not any(part.encode() in text for part in parts), where
    for call in (*openai.log, *anthropic.log):
        assert KEY not in call.raw.decode()


def test_replies_that_could_not_be_read_are_asked_anew_when_the_user_says_so(
    serve, leaderboard, tmp_path, api_keys
):
    def shy(asked: Asked) -> Reply:
        is_shy = "Thank you for" not in asked.prompt and crc32(asked.prompt.encode()) % 4 == 0
        return Reply(text="Well.") if is_shy else answer(asked)

    server = serve(shy)
    served_board(tmp_path / "results", judge_at(server, form="text", temperature=1.0), drift=4)
    file = own_answers(tmp_path / "mine.jsonl")
    flags = ("--board", "toy", "--results", tmp_path / "results")
    run = leaderboard("eval", file, *flags)
    assert run.code == 3, run.err
    assert "leaderboard eval mine --board toy --only judge --overwrite" in run.out
    assert "did not come" not in run.out
    row = tmp_path / "results/toy/mine/annotations.jsonl"
    before = {a["comparison_id"]: a for a in read_lines(row)}
    missing = {key for key, a in before.items() if a["preference"] is None}
    assert missing
    server.behaviour = answer
    calls = server.calls
    assert leaderboard("eval", "mine", *flags, "--only", "judge").code == 3
    assert server.calls == calls
    again = ("eval", "mine", *flags, "--only", "judge", "--overwrite")
    plan = leaderboard(*again, "--dry-run")
    assert server.calls == calls
    run = leaderboard(*again)
    assert run.code == 0, run.err
    n_drift = 4
    n_planned = sum(int(x) for x in re.findall(r"(?:gpt|drift: \S+)\s+(\d+) ", plan.out))
    assert server.calls - calls == n_planned > len(missing) + n_drift - 1
    after = {a["comparison_id"]: a for a in read_lines(row)}
    assert all(a["preference"] is not None for a in after.values())
    assert all(after[key] == a for key, a in before.items() if key not in missing)
