"""`eval --dry-run`: the calls, tokens and dollars that a run would take, without asking anybody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import files_of, refused, toy_instructions, write_answers
from served_boards import judge_at, own_answers, served_board, set_prices
from servers import KEY

from judges.base import Shown
from judges.calling.budget import Budget, BudgetGate
from judges.calling.prices import Prices
from judges.kinds.pairwise import Pairwise
from judges.schema import Comparison
from leaderboard.judging.estimate import estimate


@pytest.fixture
def evaluate(leaderboard, tmp_path):
    flags = ("--board", "toy", "--results", tmp_path / "results")
    return lambda *args: leaderboard("eval", *args, *flags)


@pytest.fixture
def keys(monkeypatch):
    """Sets or takes away the keys of both providers."""

    def there(is_there: bool) -> None:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            if is_there:
                monkeypatch.setenv(name, KEY)
            else:
                monkeypatch.delenv(name, raising=False)

    return there


def table(text: str) -> dict[str, list[str]]:
    """What is asked for → calls, those in the cache, input tokens, output tokens, cost."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    start = next(n for n, row in enumerate(rows) if set(row[0]) == {"-"})
    return {row[0]: row[1:] for row in rows[start + 1 :] if len(row) == 6}


def calls(text: str) -> dict[str, int]:
    return {what: int(cells[0].replace(",", "")) for what, cells in table(text).items()}


def dollars(cell: str) -> list[float]:
    return [float(x) for x in re.findall(r"\$([\d.]+)", cell)]


@pytest.mark.parametrize("orders", ["both", "fixed"])
def test_what_it_says_is_what_comes(orders, serve, evaluate, keys, tmp_path, monkeypatch):
    set_prices(
        monkeypatch, tmp_path, openai__gpt=(1, 2), anthropic__claude=(3, 4), openai__w=(5, 6)
    )
    one, two = serve(), serve()
    served_board(
        tmp_path / "results",
        judge_at(one, max_tokens=300),
        judge_at(two, "claude", "anthropic", max_tokens=300),
        orders=orders,
        drift=3,
    )
    before = files_of(tmp_path / "results")
    model = ("openai/w", "--base-url", f"{one.url}/v1")
    plan = evaluate(*model, "--dry-run")
    assert plan.code == 0, plan.err
    assert (one.log, two.log) == ([], [])
    assert files_of(tmp_path / "results") == before
    per = 2 if orders == "both" else 1
    # Of 6 controls, "truncated" and "padded" among them, none is the reference's own text.
    assert calls(plan.out) == {
        "w: answers": 12,
        "w: judging by gpt": 12 * per,
        "w: judging by claude": 12 * per,
        "drift: openai/gpt": 3 * 3 * per,
        "drift: anthropic/claude": 3 * 3 * per,
        "controls: judging by gpt": 24 * per,
        "controls: judging by claude": 24 * per,
    }
    last = plan.out.splitlines()[-1]
    low, expected, high = dollars(last)
    parts = [dollars(cells[-1]) for cells in table(plan.out).values()]
    assert sum(part[1] for part in parts) == pytest.approx(expected, abs=0.001)
    assert "(low, expected, high)" in last
    assert "Nothing has been asked yet" in last

    keys(True)
    run = evaluate(*model)
    assert run.code == 0, run.err
    assert len(one.log) + len(two.log) == sum(calls(plan.out).values())
    (spent,) = re.findall(r"calls to models, \$([\d.]+)", run.err)
    assert float(spent) < high
    assert low < expected < high

    keys(False)
    plan = evaluate(*model, "--dry-run")
    assert plan.out == "nothing is to be asked of a model: this run costs nothing\n"
    # The next row has no controls to pay for.
    n_asked = len(one.log) + len(two.log)
    plan = evaluate(own_answers(tmp_path / "mine.jsonl"), "--dry-run")
    assert calls(plan.out) == {
        "mine: judging by gpt": 12 * per,
        "mine: judging by claude": 12 * per,
        "drift: openai/gpt": 3 * per,
        "drift: anthropic/claude": 3 * per,
    }
    keys(True)
    assert evaluate(tmp_path / "mine.jsonl").code == 0
    assert len(one.log) + len(two.log) == n_asked + sum(calls(plan.out).values())


def test_a_part_several_models_and_what_is_stored(serve, evaluate, keys, tmp_path):
    server = serve()
    served_board(tmp_path / "results", judge_at(server))
    at = ("--base-url", f"{server.url}/v1")
    plan = evaluate("openai/one", "anthropic/two", "fake/words", "--dry-run", "--limit", "5")
    assert calls(plan.out) == {
        "one: answers": 5,
        "one: judging by gpt": 5,
        "controls: judging by gpt": 24,
        "two: answers": 5,
        "two: judging by gpt": 5,
        "words: judging by gpt": 5,
    }
    assert "price not known" in plan.out
    assert "in all: not known, as a price is missing" in plan.out
    keys(True)
    assert evaluate("openai/one", *at, "--limit", "5").code == 0
    keys(False)
    n_asked = len(server.log)
    plan = evaluate("openai/one", *at, "--dry-run")
    assert calls(plan.out) == {"one: answers": 7, "one: judging by gpt": 7}
    # What is in the cache alone is subtracted too, and said.
    for file in (tmp_path / "results/toy/one").iterdir():
        file.unlink()
    plan = evaluate("openai/one", *at, "--dry-run")
    assert table(plan.out)["one: answers"][:2] == ["7", "5"]
    named = evaluate("openai/one", *at, "--dry-run", "--name", "other", "--only", "generate")
    assert table(named.out)["other: answers"][:2] == ["7", "5"]
    assert list(table(named.out)) == ["other: answers"]
    assert len(server.log) == n_asked


def test_models_in_this_process_are_free(evaluate, tmp_path):
    own = {"kind": "pairwise", "name": "own", "model": "fake/judge"}
    served_board(tmp_path / "results", own)
    plan = evaluate("fake/words", "--dry-run")
    assert calls(plan.out) == {"words: judging by own": 12, "controls: judging by own": 24}
    assert {cells[-1] for cells in table(plan.out).values()} == {"$0.00"}
    assert plan.out.splitlines()[-1].startswith("in all: $0.00")


def test_bad_input_is_refused_as_in_a_run(serve, evaluate, tmp_path):
    served_board(tmp_path / "results", judge_at(serve()))
    refused(evaluate("openai/w", "--model-args", "unset=heat", "--dry-run"), "unset=heat")
    refused(evaluate(tmp_path / "none.jsonl", "--dry-run"), "no such file")
    refused(evaluate("openai-api/w", "--dry-run"), "--base-url")
    refused(evaluate("openai/w", "--dry-run", "--max-cost", "nan"), "a number of dollars")


def test_board_new_needs_no_key_either(serve, leaderboard, tmp_path: Path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Say a"}\n{"prompt": "Say b"}\n')
    results = tmp_path / "results"
    made = leaderboard("board", "new", "mine", "--prompts", prompts, "--reference", "fake/echo",
                       "--judge", "pairwise/openai/gpt-4.1", "--results", results)  # fmt: skip
    assert made.code == 0, made.err
    plan = leaderboard("eval", "fake/words", "--board", "mine", "--results", results, "--dry-run")
    assert plan.code == 0, plan.err
    assert "judging by pairwise/openai/gpt-4.1" in plan.out
    assert "$" in plan.out.splitlines()[-1]


def test_what_the_answers_and_the_controls_have_in_common_is_counted_once(
    serve, evaluate, keys, tmp_path
):
    """Three of the answers are the gold ones, which are a control."""
    server = serve()
    served_board(tmp_path / "results", judge_at(server), orders="both", control_items=12)
    answers = [i.gold_answer if n < 3 else f"I say {n}" for n, i in enumerate(toy_instructions(12))]
    own = write_answers(tmp_path / "mine.jsonl", answers)
    plan = evaluate(own, "--dry-run")
    assert calls(plan.out) == {
        "mine: judging by gpt": 24,
        "controls: judging by gpt": 6 * 12 * 2 - 3 * 2,
    }
    keys(True)
    assert evaluate(own).code == 0
    assert len(server.log) == sum(calls(plan.out).values())


@pytest.mark.parametrize("own", [{}, {"max_tokens": 300}])
@pytest.mark.parametrize("wire", ["openai-api", "anthropic"])
def test_the_high_case_is_what_a_budget_sets_aside(own, wire, serve, monkeypatch, tmp_path):
    set_prices(monkeypatch, tmp_path, **{f"{wire}__m": (1, 2)})
    server = serve()
    judge = Pairwise(name="j", model=f"{wire}/m", base_url=f"{server.url}/v1", **own)
    comparison = Comparison(
        id="c", instruction=toy_instructions(1)[0], output_1="a", output_2="b",
        generator_1="x", generator_2="y",
    )  # fmt: skip
    (request,) = judge.requests(Shown(comparison, "original"))
    prices = Prices.load()
    planned = estimate("judging", judge.spec, [request], judge.reply_tokens, prices)
    assert planned.cost_usd[2] == BudgetGate(Budget(1.0), judge.spec, prices).most(request)


def test_at_the_budget_it_says_what_the_next_call_needs(
    serve, leaderboard, keys, tmp_path, monkeypatch
):
    set_prices(monkeypatch, tmp_path, openai__gpt=(1, 200))
    keys(True)
    own = own_answers(tmp_path / "mine.jsonl")
    for limit, more in ((None, "; max_tokens, which is not set, would lower that"), (300, "")):
        judge = judge_at(serve(), **({} if limit is None else {"max_tokens": limit}))
        served_board(tmp_path / f"{limit}", judge)
        flags = ("--board", "toy", "--results", tmp_path / f"{limit}", "--max-cost", "0.05")
        run = leaderboard("eval", own, *flags)
        assert run.code == 4, run.err
        told = (
            r"left, and the next call needs \$(\S+?)"
            + re.escape(more)
            + r"\. The same command with a higher"
        )
        (needed,) = re.findall(told, run.err)
        assert float(needed) == pytest.approx((limit or 4096) * 200 / 1e6, rel=0.1)
