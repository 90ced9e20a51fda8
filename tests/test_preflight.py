"""What is found out before anything is paid: keys, servers, parameters, windows, disks, names."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_server import Asked, Fault, Reply, answer
from conftest import make_board, read_json, read_lines, refused, toy_instructions
from served_boards import bodies, judge_at, own_answers, served_board

from judges.schema import Message


@pytest.fixture
def evaluate(leaderboard, tmp_path):
    """Runs `eval` on the board `toy`, of answers of a file unless a model is named."""

    def run(*args: Any) -> Any:
        given = args if args and not str(args[0]).startswith("--") else ("", *args)
        model = given[0] or own_answers(tmp_path / "mine.jsonl")
        flags = ("--board", "toy", "--results", tmp_path / "results")
        return leaderboard("eval", model, *given[1:], *flags)

    return run


def rows(tmp_path: Path) -> set[str]:
    """What an evaluation has left on the board."""
    known = {"references", "prompts"}
    return {p.name for p in (tmp_path / "results" / "toy").iterdir() if p.is_dir()} - known


# ------------------------------------------------------------------------------------------ keys
def test_a_missing_key_is_named_with_the_ways_out(serve, evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-there")
    server = serve()
    served_board(tmp_path / "results", judge_at(server), judge_at(server, "claude", "anthropic"))
    refused(
        evaluate(),
        "judge claude", "ANTHROPIC_API_KEY", "`starter`", "--only generate",
        f"board new toy-local --from toy --judge pairwise/PATH --results {tmp_path}",
    )  # fmt: skip
    refused(evaluate("fake/words"), "ANTHROPIC_API_KEY")
    assert server.log == []
    assert rows(tmp_path) <= {"mine"}  # the answers of the file are there already


def test_answers_alone_need_no_judges_key(serve, evaluate, tmp_path):
    server = serve()
    served_board(tmp_path / "results", judge_at(server))
    assert evaluate("fake/words", "--only", "generate").code == 0
    run = evaluate("openai-api/w", "--base-url", f"{server.url}/v1", "--only", "generate")
    assert run.code == 0, run.err
    assert len(read_lines(tmp_path / "results/toy/w/outputs.jsonl")) == 12
    refused(evaluate("openai/v", "--only", "generate"), "OPENAI_API_KEY")


def test_the_key_of_the_model_that_answers(serve, evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-there")
    server = serve()
    served_board(tmp_path / "results", judge_at(server))
    refused(evaluate("anthropic/w", "--base-url", server.url), "ANTHROPIC_API_KEY")
    named = ("openai/w", "--base-url", f"{server.url}/v1", "--model-args", "api_key_env=MY_API_KEY")
    refused(evaluate(*named), "MY_API_KEY")
    assert server.log == []
    assert rows(tmp_path) == set()


def test_a_key_variable_of_ones_own(serve, evaluate, tmp_path, monkeypatch):
    server = serve()
    monkeypatch.setenv("MY_API_KEY", "sk-mine")
    served_board(tmp_path / "results", judge_at(server, api_key_env="MY_API_KEY"))
    assert evaluate().code == 0
    assert {call.headers["authorization"] for call in server.log} == {"Bearer sk-mine"}


# --------------------------------------------------------------------------------------- servers
@pytest.mark.usefixtures("api_keys")
class TestServer:
    def test_nobody_is_there(self, serve, evaluate, tmp_path):
        served_board(tmp_path / "results", judge_at(serve(), base_url="http://127.0.0.1:9/v1"))
        refused(evaluate(), "judge gpt", "no connection to http://127.0.0.1:9/v1", "running")

    def test_an_address_that_is_none(self, serve, evaluate, tmp_path):
        server = serve()
        served_board(tmp_path / "results", judge_at(server, base_url="my server"))
        refused(evaluate(), "judge gpt", "'my server' is no address")

    def test_a_wrong_key(self, serve, evaluate, tmp_path):
        server = serve(lambda asked: Fault(status=401, message="wrong key"))
        served_board(tmp_path / "results", judge_at(server))
        refused(evaluate(), "judge gpt", "does not take the key in OPENAI_API_KEY (401)")
        assert len(server.log) == 1

    def test_an_unknown_model(self, serve, evaluate, tmp_path):
        server = serve(models={"other": {}})
        served_board(tmp_path / "results", judge_at(server, model="openai-api/gpt"))
        refused(evaluate(), "judge gpt", "no such model", "It serves other")
        assert len(server.log) == 1
        assert rows(tmp_path) == {"mine"}  # the answers are kept

    def test_a_redirect(self, serve, evaluate, tmp_path):
        server = serve(lambda asked: Fault(status=301, headers={"location": "http://127.0.0.1:1/"}))
        served_board(tmp_path / "results", judge_at(server))
        refused(evaluate(), "judge gpt", "another address", "base_url")

    def test_before_a_model_answers_the_judges_must_be_well(
        self, serve, evaluate, tmp_path, no_waits
    ):
        server = serve(lambda asked: Fault(status=500))
        served_board(tmp_path / "results", judge_at(server))
        run = evaluate("fake/words")
        refused(run, "judge gpt", "--only generate")
        assert "the server failed (500)" in run.err
        assert rows(tmp_path) == set()

    def test_shutdown_and_a_floating_name_are_noted(self, serve, evaluate, tmp_path, monkeypatch):
        server = serve(
            lambda asked: Reply(text=answer(asked).text, served="gpt-2026-01-01"),
            models={"gpt-latest": {"shutdown_date": "2027-02-03"}, "w": {}},
        )
        served_board(tmp_path / "results", judge_at(server, model="openai/gpt-latest"))
        run = evaluate()
        assert run.code == 0, run.err
        assert "judge gpt: openai/gpt-latest is shut down by its provider on 2027-02-03" in run.err
        assert "openai/gpt-latest is a name behind which" in run.err
        assert "it stands for gpt-2026-01-01" in run.err
        verdicts = read_lines(tmp_path / "results/toy/mine/annotations.jsonl")
        assert {line["served"] for line in verdicts} == {"gpt-2026-01-01"}

    def test_a_window_that_is_too_small(self, serve, evaluate, tmp_path):
        long = toy_instructions(3)
        long = (*long, replace(long[0], id="long", messages=(Message("user", "word " * 3000),)))
        server = serve(models={"gpt": {"max_model_len": 2048}})
        served_board(tmp_path / "results", judge_at(server, model="openai-api/gpt"), n=long)
        refused(
            evaluate("fake/words"), "judge gpt", "takes 2048 tokens", "instruction 'long' needs"
        )
        assert server.log == []

    # --------------------------------------------------------------------------------- parameters
    def test_a_refused_parameter_is_named_with_its_line(self, serve, evaluate, tmp_path):
        def picky(asked: Asked) -> Any:
            if "temperature" in asked.body:
                return Fault(status=400, message="Unsupported value", param="temperature")
            return answer(asked)

        server = serve(picky)
        board = served_board(
            tmp_path / "results",
            judge_at(server, "one", model="openai/m"),
            judge_at(server, "two", model="openai/m", temperature=0.0),
        )
        file = board.path / "panel.toml"
        line = 1 + file.read_text().splitlines().index(
            next(x for x in file.read_text().splitlines() if x.startswith("temperature"))
        )
        refused(evaluate(), f"{file}, line {line} (judge two)", "refuses temperature")
        file.write_text(
            "".join(x for x in file.read_text().splitlines(True) if not x.startswith("temperature"))
        )
        assert len(server.log) == 2

    def test_a_refused_extra_and_a_refused_schema(self, serve, evaluate, tmp_path):
        server = serve()
        board = served_board(
            tmp_path / "results", judge_at(server, form="auto", extra={"reasoning_effort": "none"})
        )
        lines = (board.path / "panel.toml").read_text().splitlines()
        for parameter, key in (
            ("reasoning_effort", "reasoning_effort"),
            ("response_format", "form"),
        ):
            fault = Fault(status=400, message=f"unknown parameter: {parameter}")
            server.behaviour = lambda asked, fault=fault: fault
            line = next(n for n, text in enumerate(lines, 1) if text.startswith(key))
            refused(evaluate(), f"panel.toml, line {line} (judge gpt)")

    def test_what_the_answering_model_is_not_to_be_sent(self, serve, evaluate, tmp_path):
        def picky(asked: Asked) -> Any:
            if "temperature" in asked.body:
                return Fault(status=400, message="Unsupported value", param="temperature")
            return answer(asked)

        server = serve(picky)
        served_board(tmp_path / "results", judge_at(server))
        at = ("--base-url", f"{server.url}/v1")
        refused(evaluate("openai/w", *at), "refuses temperature", "--model-args unset=temperature")
        run = evaluate("openai/w", *at, "--model-args", "unset=temperature+seed")
        assert run.code == 0, run.err
        asked = [call for call in server.log if not call.nonce and "temperature" not in call.body]
        assert len(asked) == 12
        assert all("seed" not in call.body for call in asked)
        refused(
            evaluate("openai/v", *at, "--model-args", "unset=heat"), "unset=heat", "temperature"
        )

    def test_a_schema_that_is_not_obeyed(self, serve, evaluate, tmp_path):
        server = serve(lambda asked: Reply(text="The first answer is better."))
        board = served_board(tmp_path / "results", judge_at(server, form="json"))
        lines = (board.path / "panel.toml").read_text().splitlines()
        line = 1 + lines.index('form = "json"')
        refused(evaluate(), f"panel.toml, line {line}", "not one JSON object")
        assert len(server.log) == 1
        # What is mended is asked once more.
        server.behaviour = answer
        assert evaluate().code == 0

    def test_a_reply_that_is_cut_off(self, serve, evaluate, tmp_path):
        server = serve(lambda asked: Reply(text="{", finish="length"))
        board = served_board(tmp_path / "results", judge_at(server, max_tokens=5))
        line = 1 + (board.path / "panel.toml").read_text().splitlines().index("max_tokens = 5")
        refused(evaluate(), f"panel.toml, line {line}", "ran into max_tokens")
        assert len(server.log) == 1

    def test_log_probabilities_that_do_not_come(self, serve, evaluate, tmp_path):
        server = serve(lambda asked: Reply(text="A"))
        served_board(tmp_path / "results", judge_at(server, kind="pairwise_logprob"))
        refused(evaluate(), "judge gpt", "no log-probabilities in the reply")
        assert len(server.log) == 1

    def test_anthropic_has_no_log_probabilities(self, serve, evaluate, tmp_path):
        server = serve()
        served_board(
            tmp_path / "results", judge_at(server, "c", "anthropic", kind="pairwise_logprob")
        )
        refused(evaluate(), "judge c", "no log-probabilities, which this judge needs")
        assert server.log == []

    # ------------------------------------------------------------------------------ one call each
    def test_one_first_call_for_every_judge(self, serve, evaluate, tmp_path):
        server = serve()
        served_board(
            tmp_path / "results",
            judge_at(server, "cold", model="openai/m", temperature=0.0),
            judge_at(server, "warm", model="openai/m", temperature=1.0),
            control_items=1,
        )
        assert evaluate("--limit", "1").code == 0
        first = [call for call in server.log if "Thank you for your question" in call.prompt]
        assert sorted(call.body["temperature"] for call in first) == [0, 1]
        n_asked = len(server.log)
        assert evaluate("--limit", "3").code == 0
        asked = [call for call in server.log[n_asked:] if "Thank you" in call.prompt]
        assert asked == []
        assert len(server.log) == n_asked + 4

    def test_nothing_is_tried_where_all_is_in_the_cache(
        self, serve, evaluate, tmp_path, monkeypatch
    ):
        server = serve()
        served_board(tmp_path / "results", judge_at(server))
        at = ("--base-url", f"{server.url}/v1")
        assert evaluate("openai/w", *at).code == 0
        n_asked = len(server.log)
        shutil.rmtree(tmp_path / "results/toy/w")
        shutil.rmtree(tmp_path / "results/toy/controls")
        assert evaluate("openai/w", *at).code == 0
        assert len(server.log) == n_asked
        # Not even a key is needed.
        monkeypatch.delenv("OPENAI_API_KEY")
        shutil.rmtree(tmp_path / "results/toy/controls")
        assert evaluate("openai/w", *at).code == 0
        assert len(server.log) == n_asked

    def test_a_first_call_that_fails_passes_over(self, serve, evaluate, tmp_path, no_waits):
        server = serve(lambda asked: Fault() if asked.number < 4 else answer(asked))
        served_board(tmp_path / "results", judge_at(server))
        assert evaluate().code == 0


# ------------------------------------------------------------------------------------------ disk
def test_a_full_disk_is_found_first(serve, evaluate, tmp_path, api_keys, monkeypatch):
    server = serve()
    served_board(tmp_path / "results", judge_at(server))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 5 * 2**20))
    refused(evaluate(), "only 5 MiB are free")
    assert server.log == []


# ------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("openai/",), "the name behind openai/ is missing"),
        (("openai-api/w",), "--base-url"),
        (("openai-api/w", "--base-url", "localhost:8000"), "is no address"),
        (("openai-api/w", "--base-url", "http://me:secret@h/v1"), "holds a name or a password"),
        (("fake/words", "--base-url", "http://h/v1"), "not for fake/words"),
        ((".", "--base-url", "http://h/v1"), "--base-url is for models behind a server"),
        (("--base-url", "http://h/v1"), "is a file of answers: --base-url"),
        (("--max-cost", "nan"), "a number of dollars"),
        (("--max-cost", "-1"), "a number of dollars"),
        (("--max-cost", "much"), "max-cost"),
        (("openai/w", "--model-args", "heat=1"), "takes only"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(args, told, evaluate, tmp_path, api_keys):
    make_board(tmp_path / "results" / "toy")
    run = evaluate(*args)
    refused(run, told)
    assert "secret" not in run.err
    assert rows(tmp_path) == set()


# ------------------------------------------------------------------------- a judge without a form
def spoiled(how: str) -> Any:
    """A judge that always strays from its form in one way."""

    def behave(asked: Asked) -> Reply:
        if how == "empty":
            return Reply(text=" ")
        verdict: dict[str, Any] = {"reasoning": "so", "code": asked.nonce, "verdict": "first"}
        if how == "one key more":
            verdict["confidence"] = 3
        elif how == "another word":
            verdict["verdict"] = "A"
        elif how == "no code":
            del verdict["code"]
        if how == "no line":
            return Reply(text="I like the first one.\x1b[2J " + "so much " * 50)
        return Reply(text=json.dumps(verdict))

    return behave


@pytest.mark.usefixtures("api_keys")
@pytest.mark.parametrize(
    ("how", "form", "told"),
    [
        ("one key more", "json", "no verdict in the reply"),
        ("another word", "json", "not one of those asked for"),
        ("no code", "json", "no verdict in the reply"),
        ("no line", "text", "no verdict in the reply"),
        ("empty", "json", "the last one is empty"),
    ],
)
def test_a_judge_that_keeps_to_no_form_costs_three_calls(
    how, form, told, serve, evaluate, tmp_path, no_waits
):
    server = serve(spoiled(how))
    board = served_board(tmp_path / "results", judge_at(server, form=form))
    line = 1 + (board.path / "panel.toml").read_text().splitlines().index(f'form = "{form}"')
    run = evaluate()
    refused(run, f"panel.toml, line {line} (judge gpt)")
    assert told in run.err.lower()
    assert len(server.prompts) == 3
    if how == "no line":
        assert "I like the first one." in run.err
        assert "\x1b" not in run.err
        assert len(run.err) < 700
    # Once it is mended, the same questions are asked anew, and nothing is missing.
    server.behaviour = answer
    assert evaluate().code == 0
    summary = read_json(tmp_path / "results/toy/controls/null/summary.json")
    assert summary["verdicts"]["n_missing"] == 0


@pytest.mark.usefixtures("api_keys")
def test_one_reply_that_cannot_be_read_is_bad_luck(serve, evaluate, tmp_path):
    server = serve(lambda asked: spoiled("no code")(asked) if asked.number == 0 else answer(asked))
    served_board(tmp_path / "results", judge_at(server, form="json"))
    assert evaluate().code == 0
    # The three questions are the controls' own: nothing is asked twice.
    assert max(bodies(server).values()) == 1


# ----------------------------------------------------------------------------------- reward models
def test_a_reward_model_that_is_none_is_found_before_anything_is_paid(
    serve, evaluate, tmp_path, tiny_llama, api_keys
):
    server = serve()
    reward = {"kind": "reward_model", "name": "reward", "model": str(tiny_llama)}
    served_board(tmp_path / "results", judge_at(server), reward)
    refused(evaluate(), "judge reward", "is no reward model")
    refused(evaluate("openai/w", "--base-url", f"{server.url}/v1"), "judge reward", "no reward")
    assert server.log == []
