"""What a user is told when something is off: where, why, and what to do."""

from __future__ import annotations

import re

import pytest
from api_server import answer
from api_wire import Fault
from conftest import refused, write_rows
from scripted_server import Jumping, Server, broken, busy, request
from served_boards import judge_at, own_answers, served_board
from servers import run, spec_of

from judges.backends.limiter import Limits, own_limits
from judges.backends.spec import ModelSpec
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.storage.database import open_database
from judges.storage.ledger import Entry, Ledger, now
from leaderboard.judging.drift import _told
from leaderboard.statistics.repeatability import Change

SPEC = ModelSpec(spec="openai-api/m", base_url="http://127.0.0.1:9/v1")


# --------------------------------------------------------------------------- a server that is ill
@pytest.mark.parametrize("fault", [broken, busy])
def test_a_server_is_tried_with_little_patience(fault):
    server, loops = Server(lambda *_: fault()), []
    new_loop = lambda: loops.append(Jumping()) or loops[-1]  # noqa: E731
    with Caller(opener=lambda spec: server, new_loop=new_loop) as caller:
        ((_, reply),) = caller.complete(SPEC, [request("hi")], Task(purpose="probe"))
        assert reply.reason == fault().reason
        assert loops[0].time() <= 35
        assert len(server.log) == 6


def test_how_long_a_call_may_take_is_the_users(monkeypatch):
    monkeypatch.delenv("HERDBOOK_TIMEOUT_S", raising=False)
    assert own_limits() == Limits()
    monkeypatch.setenv("HERDBOOK_TIMEOUT_S", "90")
    assert Caller().limits == Limits(timeout_s=90)
    for given in ("0", "-1", "soon", "inf", "nan"):
        monkeypatch.setenv("HERDBOOK_TIMEOUT_S", given)
        with pytest.raises(UserError, match=f"HERDBOOK_TIMEOUT_S={given}: a number of seconds"):
            own_limits()


def test_the_calls_are_counted_once_the_judge_is_known_to_be_well(
    serve, leaderboard, tmp_path, no_waits, api_keys
):
    server = serve(lambda asked: Fault(status=500))
    served_board(tmp_path / "results", judge_at(server))
    flags = ("--board", "toy", "--results", tmp_path / "results")
    eval_ = ("eval", own_answers(tmp_path / "mine.jsonl"), *flags)
    failed = leaderboard(*eval_)
    assert failed.code == 3
    assert "calls to judges" not in failed.err
    assert "flips" not in failed.out
    server.behaviour = answer
    assert re.search(r"\d+ calls to judges", leaderboard(*eval_).err)


def test_an_unknown_address_says_so_once(serve, api_keys):
    server = serve(lambda _: Fault(status=404, raw="404: Not Found"))
    with pytest.raises(UserError, match=r"no such address \(404\)") as raised:
        raise run(spec_of("openai", server))
    assert str(raised.value).count("404") == 1
    too_long = ModelSpec(spec="openai-api/m", base_url=f"{server.url}/v1/chat/completions")
    with pytest.raises(UserError, match="Leave /chat/completions out of the address"):
        raise run(too_long)


@pytest.mark.parametrize(("p", "told"), [(0.0, "p < 0.0001"), (0.25, "p = 0.2500")])
def test_no_chance_is_said_to_be_none(p, told):
    assert _told(Change(n=40, today=0.5, first_day=0.1, p_value=p)).endswith(told)


# ---------------------------------------------------------------------------------- what is written
@pytest.fixture
def new(new_board, tmp_path):
    """`board new mine` of two prompts."""
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "one"}, {"prompt": "two"}])
    return lambda *flags: new_board("--prompts", prompts, *flags)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--max-cost", "abc"), "--max-cost abc: a number of dollars is needed. See"),
        (("--limit", "3.5"), "--limit 3.5: a whole number is needed. See"),
    ],
)
def test_a_number_is_asked_for(flags, told, leaderboard):
    refused(leaderboard("eval", "x", *flags), told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tempratur = 1", "line 3: judge kind 'pairwise': unknown key 'tempratur'"),
        ('temperature = "hot"', "line 3: judge kind 'pairwise': temperature must be of type float"),
        ("max_tokens = 0", "line 3: judge kind 'pairwise': max_tokens must be 1 or more"),
    ],
)
@pytest.mark.parametrize("flag", ["--judge", "--panel"])
def test_a_wrong_key_of_a_judge_file_has_its_line(line, told, flag, new, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(f'kind = "pairwise"\nmodel = "openai-api/x"\n{line}\n')
    panel = tmp_path / "panel.toml"
    panel.write_text(f'\n[[judges]]\nkind = "pairwise"\n{line}\n')
    given = file if flag == "--judge" else panel
    run = new(flag, given)
    if flag == "--panel":
        told = told.replace("line 3", "line 4")
    refused(run, f"{given}, {told}")


def test_a_judge_without_an_address_is_named(new, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    made = new("--judge", "pairwise/openai-api/x")
    assert made.code == 0
    assert "openai-api/x has no address yet: eval needs one, in OPENAI_BASE_URL" in made.err


def test_a_judge_with_an_address_is_not(new, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert "no address" not in new("--judge", "pairwise/openai-api/x@http://127.0.0.1:9").err


def test_an_address_of_the_environment_is_enough(new, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert "no address" not in new("--judge", "pairwise/openai-api/x").err


def test_what_was_paid_for_no_board_is_named_by_its_purpose(leaderboard, monkeypatch, tmp_path):
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    Ledger(open_database()).record(
        [
            Entry(
                time=now(), folder="", board=board, row="", judge=judge, purpose=purpose, model="m"
            )
            for board, judge, purpose in [("", "j", "annotate"), ("b", "", "answers")]
        ]
    )
    by_board, by_judge = leaderboard("cost"), leaderboard("cost", "--by", "judge")
    assert "(annotate)" in by_board.out
    assert "(answers)" in by_judge.out
    assert "(none)" not in by_board.out + by_judge.out
    assert "(annotate)" not in leaderboard("cost", "nowhere").err
