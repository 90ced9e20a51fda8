"""A judge behind a server that changes under a board: seen before the next row is judged."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Behaviour
from api_wire import Asked, Fault, Reply
from conftest import (
    TOY,
    Finished,
    edit_json,
    make_board,
    read_json,
    read_lines,
    refused,
    write_answers,
)
from test_documented_files import documented

from leaderboard.evaluation import evaluate

N, DRIFT, ORDERS, REPEATS = 30, 20, 2, 3


def draw(*key: object) -> float:
    return random.Random(repr(key)).random()


def judge(*, changed: float = 0.0, wavers: float = 0.0, served: str = "") -> Behaviour:
    """A judge with an opinion on every prompt; of some it has changed its mind, of some it does at
    each call. Asked for an answer it writes one."""

    def behave(asked: Asked) -> Reply:
        if not asked.nonce:
            return Reply(text=f"I would say {draw(asked.prompt):.6f}.", served=served)
        second = draw(asked.prompt) < 0.5
        second ^= draw("changed", asked.prompt) < changed
        second ^= draw("wavers", asked.number, asked.prompt) < wavers
        verdict = "second" if second else "first"
        return Reply(text=f"VERDICT {asked.nonce}: {verdict}", served=served)

    return behave


@pytest.fixture
def server(serve) -> ApiServer:
    return serve(judge())


def table(server: ApiServer, **keys: Any) -> dict[str, Any]:
    return {
        "kind": "pairwise", "model": "openai-api/m", "base_url": f"{server.url}/v1",
        "name": "judge", "form": "text", **keys,
    }  # fmt: skip


@pytest.fixture
def board(server, tmp_path) -> Path:
    settings = replace(TOY, drift=DRIFT, control_items=1)
    panel = {"judges": [table(server)]}
    make_board(tmp_path / "results" / "toy", N, panel, settings)
    return tmp_path / "results" / "toy"


@pytest.fixture
def row(board: Path, leaderboard, tmp_path) -> Callable[..., Finished]:
    """Evaluates answers of their own as a row of the board: `row("one")`."""

    def run(name: str, *flags: str, text: str | None = None) -> Finished:
        texts = [f"{text or name} {k}" for k in range(N)]
        file = write_answers(tmp_path / f"{name}.jsonl", texts)
        return leaderboard("eval", file, "--board", "toy", "--results", board.parent, *flags)

    return run


def drift_calls(leaderboard: Callable[..., Finished]) -> int:
    """Calls for drift by the ledger."""
    out = leaderboard("cost", "--by", "purpose", "--format", "csv").out
    return sum(int(line.split(",")[1]) for line in out.splitlines() if line.startswith("drift,"))


# ----------------------------------------------------------------------------------- the first day
def test_the_first_day_is_kept_after_the_first_row(board, row, server, leaderboard):
    assert row("one").code == 0
    held = read_json(board / "drift.json")
    items = held["items"]
    assert held["schema_version"] == 1
    assert len({item["comparison_id"] for item in items}) == DRIFT
    assert len(items) == DRIFT * ORDERS
    assert drift_calls(leaderboard) == DRIFT * ORDERS * REPEATS
    verdicts = read_lines(board / "one/annotations.jsonl")
    stored = {(a["comparison_id"], a["order"]): a["preference"] for a in verdicts}
    for item in items:
        assert (item["judge"], item["row"], item["served"]) == ("judge", "one", "m")
        preference = stored[item["comparison_id"], item["order"]]
        seen = 1 - preference if item["order"] == "swapped" else preference
        assert item["verdicts"] == [seen] * (1 + REPEATS)
    assert len({item["verdicts"][0] for item in items}) == 2


def test_a_judge_that_is_the_same_goes_on(board, row, server, leaderboard):
    row("one")
    first_day = (board / "drift.json").read_bytes()
    calls = drift_calls(leaderboard)
    run = row("two")
    assert run.code == 0, run.err
    assert "40 verdicts of the first day, asked for once more, lie 0.000 off" in run.err
    assert drift_calls(leaderboard) - calls == DRIFT * ORDERS
    assert (board / "drift.json").read_bytes() == first_day


def test_a_judge_that_wavers_as_it_did_goes_on(board, row, server, leaderboard):
    server.behaviour = judge(wavers=0.15)
    for name in ("one", "two", "three"):
        run = row(name)
        assert run.code == 0, run.err
    assert "among themselves" in run.err
    assert "0.000 among" not in run.err


def test_the_file_is_what_is_documented(board, row):
    row("one")
    held = read_json(board / "drift.json")
    assert set(held) == set(documented("drift.json"))
    assert set(held["items"][0]) == set(documented("drift.json", 1))


# -------------------------------------------------------------------------------------- the alarm
def test_a_judge_that_has_changed_raises_an_alarm_and_judges_no_row(board, row, server):
    row("one")
    server.behaviour = judge(changed=0.3)
    calls = server.calls
    run = row("two")
    refused(
        run,
        "openai-api/m does not judge as on the first day of board toy",
        "leaderboard rejudge toy",
        "drift = 0",
    )
    # A question to try the judge with (perhaps in the cache), and the first day's comparisons.
    assert server.calls - calls <= 1 + DRIFT * ORDERS
    assert not (board / "two/annotations.jsonl").exists()
    assert not (board / "two/summary.json").exists()
    settings = board / "board.toml"
    settings.write_text(settings.read_text("utf-8").replace("drift = 20", "drift = 0"), "utf-8")
    run = row("two")
    assert run.code == 0, run.err
    assert "first day" not in run.err


def test_nothing_is_answered_for_a_judge_that_has_changed(board, row, server, leaderboard):
    row("one")
    server.behaviour = judge(changed=0.3)
    asked = len(server.log)
    run = leaderboard(
        "eval", "openai-api/writer", "--base-url", f"{server.url}/v1", "--board", "toy",
        "--results", board.parent,
    )  # fmt: skip
    refused(run, "does not judge as on the first day")
    assert not any(call.body["model"] == "writer" for call in server.log[asked:])
    assert not (board / "writer").exists()


def test_a_model_that_answers_is_checked_for_once(board, row, server, leaderboard):
    row("one")
    calls = drift_calls(leaderboard)
    run = leaderboard(
        "eval", "openai-api/writer", "--base-url", f"{server.url}/v1", "--board", "toy",
        "--results", board.parent,
    )  # fmt: skip
    assert run.code == 0, run.err
    assert drift_calls(leaderboard) - calls == DRIFT * ORDERS


def test_another_name_of_the_served_model_is_told(board, row, server):
    server.behaviour = judge(served="m-2026-01-01")
    row("one")
    server.behaviour = judge(served="m-2026-06-01")
    run = row("two")
    assert run.code == 0, run.err
    assert "its server called it m-2026-01-01 on the first day, and now m-2026-06-01" in run.err


def test_two_judges_of_one_model_are_one(server, tmp_path, board, row, leaderboard):
    shutil.rmtree(board)
    tables = [table(server, name=f"judge{k}", persona=f"You are {k}.") for k in range(3)]
    panel = {"judges": tables, "assign": "one"}
    settings = replace(TOY, drift=DRIFT, control_items=1, orders="random")
    make_board(board, N, panel, settings)
    assert row("one").code == 0
    items = read_json(board / "drift.json")["items"]
    assert len(items) == DRIFT
    assert len({item["judge"] for item in items}) == 3
    server.behaviour = judge(changed=0.5)
    refused(row("two"), "does not judge as on the first day")


# ----------------------------------------------------------------------------- when nothing is asked
def test_a_rerun_and_a_row_from_the_cache_ask_nothing(board, row, server):
    row("one")
    server.behaviour = judge(changed=0.5)
    calls = server.calls
    assert row("one").code == 0
    assert row("again", text="one").code == 0
    shutil.rmtree(board / "one")
    assert row("one").code == 0
    assert server.calls == calls


def test_a_first_row_over_a_part_is_no_first_day(board, row, leaderboard):
    assert row("one", "--limit", "12").code == 0
    assert not (board / "drift.json").exists()
    assert row("one").code == 0
    assert len(read_json(board / "drift.json")["items"]) == DRIFT * ORDERS


def test_a_small_board_has_a_small_first_day(server, board, leaderboard):
    shutil.rmtree(board)
    settings = replace(TOY, drift=DRIFT, control_items=1)
    make_board(board, 5, {"judges": [table(server)]}, settings)
    file = write_answers(board.parent.parent / "five.jsonl", [f"five {k}" for k in range(5)])
    run = leaderboard("eval", file, "--board", "toy", "--results", board.parent)
    assert run.code == 0, run.err
    assert len(read_json(board / "drift.json")["items"]) == 5 * ORDERS


# ------------------------------------------------------------------------------- what goes wrong
def test_a_row_that_is_gone_is_told_and_the_next_one_is_the_first_day(board, row, server):
    row("one")
    shutil.rmtree(board / "one")
    server.behaviour = judge(changed=0.5)
    run = row("two")
    assert run.code == 0, run.err
    assert "the answers of the board's first day (one) are gone or others now" in run.err
    assert {item["row"] for item in read_json(board / "drift.json")["items"]} == {"two"}
    server.behaviour = judge()
    refused(row("three"), "does not judge as on the first day")


@pytest.mark.parametrize(
    "content",
    [
        "no json", "[1]", '{"schema_version": 1}', '{"schema_version": 2, "items": []}',
        '{"items": [{"judge": "judge"}], "schema_version": 1}',
    ],
)  # fmt: skip
def test_a_broken_file_is_named(board, row, content, server):
    row("one")
    (board / "drift.json").write_text(content, encoding="utf-8")
    calls = server.calls
    refused(row("two"), "drift.json: broken; delete it")
    assert server.calls - calls <= 1
    (board / "drift.json").unlink()
    assert row("two").code == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("verdicts", [0, 2, 0, 0]), ("verdicts", [0]), ("order", "upside down"), ("verdicts", [1, 1])],
)
def test_an_impossible_item_is_refused(board, row, key, value):
    row("one")
    items = read_json(board / "drift.json")["items"]
    edit_json(board / "drift.json", items=[{**items[0], key: value}, *items[1:]])
    refused(row("two"), "drift.json: broken; delete it")


@pytest.fixture
def paid(tmp_path, monkeypatch) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'as_of = 2026-11-01\n[[models]]\nmodel = "openai-api/*"\ninput = 1.0\noutput = 1.0\n'
    )
    monkeypatch.setenv("HERDBOOK_PRICES", str(prices))


def test_a_first_day_that_ends_at_the_budget_is_finished_by_the_next_run(
    board, row, server, leaderboard, paid
):
    run = row("free")
    cost = float(run.err.split("calls to models, $")[1].split()[0].rstrip(".;"))
    for path in ("free", "controls"):
        shutil.rmtree(board / path)
    whole = read_json(board / "drift.json")
    (board / "drift.json").unlink()
    n_before = drift_calls(leaderboard)
    # The first day is some 3 of 5 parts of it.
    run = row("one", "--max-cost", f"{0.7 * cost:.6f}")
    assert run.code == 4, run.err
    assert (board / "one/summary.json").exists()
    held = read_json(board / "drift.json")
    n_held = sum(len(i["verdicts"]) - 1 for i in held["items"] + held["unfinished"])
    assert n_held == drift_calls(leaderboard) - n_before > 0
    assert held["unfinished"]
    # However small the budgets of the next runs, what is paid for is kept.
    n_runs = 0
    while held["unfinished"]:
        n_runs += 1
        n_paid = drift_calls(leaderboard)
        assert row("two", "--max-cost", f"{0.1 * cost:.6f}").code == 4
        held = read_json(board / "drift.json")
        now = sum(len(i["verdicts"]) - 1 for i in held["items"] + held["unfinished"])
        assert now > n_held
        if held["unfinished"]:
            assert now - n_held == drift_calls(leaderboard) - n_paid
        n_held = now
    assert n_runs > 1
    assert row("two").code == 0
    made = read_json(board / "drift.json")
    assert made["unfinished"] == []
    key = lambda item: (item["comparison_id"], item["order"])  # noqa: E731
    assert sorted(map(key, made["items"])) == sorted(
        (key(item)[0].replace("free", "one"), key(item)[1]) for item in whole["items"]
    )
    server.behaviour = judge(changed=0.3)
    refused(row("three"), "does not judge as on the first day")


def test_a_first_day_that_breaks_off_keeps_what_came(board, row, server, leaderboard):
    said = judge()

    def dies(asked: Asked) -> Reply | Fault:
        is_over = server.calls > 2 * N * ORDERS + 50
        return Fault(status=401, message="no such key") if is_over else said(asked)

    server.behaviour = dies
    refused(row("one"), "does not take")
    held = read_json(board / "drift.json")
    n_held = sum(len(i["verdicts"]) - 1 for i in held["items"] + held["unfinished"])
    n_paid = drift_calls(leaderboard)
    assert n_paid - 16 <= n_held <= n_paid
    assert n_held > 0
    server.behaviour = said
    n_whole = len(held["items"])
    assert row("one").code == 0
    assert drift_calls(leaderboard) - n_paid == DRIFT * ORDERS * REPEATS - n_held + n_whole
    assert len(read_json(board / "drift.json")["items"]) == DRIFT * ORDERS


def test_a_repetition_that_cannot_be_read_is_not_asked_for_again(board, row, server, leaderboard):
    said, seen = judge(), set()

    def shy(asked: Asked) -> Reply:
        if asked.raw in seen and draw("shy", asked.prompt) < 0.2:
            return Reply(text="I would rather not say.")
        seen.add(asked.raw)
        return said(asked)

    server.behaviour = shy
    assert row("one").code == 0
    held = read_json(board / "drift.json")
    assert held["unfinished"] == []
    assert 0 < len(held["items"]) < DRIFT * ORDERS


def test_two_first_rows_at_once_have_one_first_day(board, server, tmp_path, leaderboard):
    server.latency = 0.01
    files = [
        write_answers(tmp_path / f"{name}.jsonl", [f"{name} {k}" for k in range(N)])
        for name in ("one", "two")
    ]
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(evaluate, str(f), board="toy", results=board.parent) for f in files]
        assert all(run.result().exit_code == 0 for run in runs)
    items = read_json(board / "drift.json")["items"]
    assert len({item["row"] for item in items}) == 1
    assert len(items) == DRIFT * ORDERS
    assert drift_calls(leaderboard) == DRIFT * ORDERS * REPEATS


# --------------------------------------------------------------------------------- no verdict at all
def test_a_judge_without_verdicts_today_judges_no_row(board, row, server):
    row("one")
    said = judge()
    first_day = {item["comparison_id"] for item in read_json(board / "drift.json")["items"]}
    assert first_day

    def mute(asked: Asked) -> Reply:
        is_probe = "Thank you for your question" in asked.prompt
        return said(asked) if is_probe else Reply(text="I would rather not say.")

    server.behaviour = mute
    calls = server.calls
    refused(row("two"), "gave a verdict on 0 of 40 comparisons", "no verdict in the reply")
    assert server.calls - calls <= 1 + DRIFT * ORDERS
    assert not (board / "two/annotations.jsonl").exists()


def test_the_line_before_a_run_counts_the_first_day_and_the_check(board, row, server):
    for name, n_watched in (("one", REPEATS * DRIFT * ORDERS), ("two", DRIFT * ORDERS)):
        calls = server.calls
        run = row(name)
        (told,) = re.findall(r"([\d,]+) calls to judges", run.err)
        assert int(told.replace(",", "")) == server.calls - calls > n_watched
        assert f"; {n_watched:,} of them watch whether a judge changes (drift)" in run.err


def test_rows_against_each_other_are_judged_by_a_judge_that_is_the_same(
    board, row, server, leaderboard
):
    for name in ("one", "two", "three"):
        assert row(name).code == 0
    flags = ("compare", "toy", "one", "two", "three", "--direct", "--results", board.parent)
    server.behaviour = judge(changed=0.5)
    refused(leaderboard(*flags), "does not judge as on the first day")
    server.behaviour = judge()
    calls = drift_calls(leaderboard)
    run = leaderboard(*flags)
    assert run.code == 0, run.err
    assert drift_calls(leaderboard) - calls == DRIFT * ORDERS  # once, for all three pairs
    calls = server.calls
    assert leaderboard(*flags).code == 0
    assert server.calls == calls


# ---------------------------------------------------------------------- what a run pays for, and when
def test_a_finished_row_that_is_run_again_finishes_its_first_day(board, row, server, leaderboard):
    server.behaviour = judge()
    assert row("one").code == 0
    whole = read_json(board / "drift.json")["items"]
    left = [{**item, "verdicts": item["verdicts"][:2]} for item in whole[:10]]
    edit_json(board / "drift.json", items=whole[10:], unfinished=left)
    calls = drift_calls(leaderboard)
    plan = row("one", "--dry-run")
    (planned,) = re.findall(r"drift: \S+ +(\d+) ", plan.out)
    run = row("one")
    assert run.code == 0, run.err
    held = read_json(board / "drift.json")
    assert held["unfinished"] == []
    assert sorted(map(repr, held["items"])) == sorted(map(repr, whole))
    # What is left, and whether the judge has changed meanwhile.
    assert drift_calls(leaderboard) - calls == 10 * 2 + len(whole) - 10 == int(planned)
    calls = server.calls
    assert row("one").code == 0
    assert server.calls == calls


def test_one_command_looks_once_whether_a_judge_has_changed(board, row, server, leaderboard):
    row("one")
    files = [
        write_answers(board.parent.parent / f"{name}.jsonl", [f"{name} {k}" for k in range(N)])
        for name in ("two", "three", "four")
    ]
    flags = ("eval", *files, "--board", "toy", "--results", board.parent)
    calls = server.calls
    plan = leaderboard(*flags, "--dry-run").out
    planned = sum(int(n) for n in re.findall(r"(?:judging by|drift:) \S+ +(\d+) ", plan))
    n_drift = drift_calls(leaderboard)
    run = leaderboard(*flags)
    assert run.code == 0, run.err
    assert drift_calls(leaderboard) - n_drift == DRIFT * ORDERS
    assert server.calls - calls == planned == 3 * N * ORDERS + DRIFT * ORDERS


def test_a_budget_below_the_look_for_changes_is_told_before_anything_is_paid(
    board, row, server, paid
):
    row("one")
    calls = server.calls
    run = row("two", "--max-cost", "0.0001")
    refused(
        run, "20 old comparisons are judged once more", "$0.0001 is left of the budget of $0.0001",
        "(low, expected, high)", "drift = 0",
    )  # fmt: skip
    assert server.calls == calls
    (costs,) = re.findall(r"that costs \$(\S+) – \$(\S+) – \$(\S+) \(low", run.err)
    low, expected, high = map(float, costs)
    assert float(run.err.split("above $")[1].split(",")[0]) == high
    assert row("two", "--max-cost", f"{2 * high}").code == 0
    run = row("three", "--max-cost", f"{(low + expected) / 2}")
    assert "may be used up before the row" in run.err


def test_nor_is_a_model_paid_for_its_answers(board, row, server, leaderboard, paid):
    row("one")
    calls = server.calls
    run = leaderboard(
        "eval", "openai-api/writer", "--base-url", f"{server.url}/v1", "--board", "toy",
        "--results", board.parent, "--max-cost", "0.0001",
    )  # fmt: skip
    refused(run, "20 old comparisons are judged once more")
    assert server.calls == calls
