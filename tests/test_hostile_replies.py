"""What no server should say and a stranger's can: numbers that are none, endless bodies, the key."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import math

import pytest
from api_batches import Batches
from api_server import answer
from api_wire import Asked, Fault, Reply, openai_reply
from batching import ask, batching, clock, some, told  # noqa: F401
from conftest import read_json, read_lines
from served_boards import judge_at, own_answers, served_board
from servers import KEY, asked, run, spec_of

from judges.backends.base import CallFailed, Completion, credible
from judges.backends.connections import MOST_BYTES
from judges.backends.opening import open_model
from judges.backends.redaction import parsed, redacted
from judges.calling.prices import Price
from judges.kinds.pairwise_logprob import NO_LOGPROBS
from judges.storage.ledger import Entry, Ledger, now

pytestmark = pytest.mark.usefixtures("api_keys")


def with_parts(said: Asked, **parts: object) -> Fault:
    body = openai_reply(said, answer(said)) | parts
    return Fault(status=200, raw=json.dumps(body).encode())


# ------------------------------------------------------------------------------------------ numbers
@pytest.mark.parametrize("n", [10**30, 10**400, 2**53 + 1, -1, 1.5, True, math.nan])
def test_tokens_that_cannot_be_are_unknown(serve, n):
    server = serve(lambda a: with_parts(a, usage={"prompt_tokens": n, "completion_tokens": n}))
    done = run(spec_of("openai-api", server))
    assert (done.input_tokens, done.output_tokens) == (None, None)
    assert Price(input=1, output=1).cost(done) is None


def test_what_anthropic_counts_in_three_parts_is_bounded_as_a_whole(serve):
    usage = {"input_tokens": 2**53, "cache_read_input_tokens": 2**53, "output_tokens": 1}
    body = {"content": [{"type": "text", "text": "A"}], "usage": usage}
    server = serve(lambda _: Fault(status=200, raw=json.dumps(body).encode()))
    assert run(spec_of("anthropic", server)).input_tokens is None


CREDIBLE = [
    (("A", -0.1), ("B", -3.0)),
    (("A", 0.0), ("B", -9999.0)),
    (("A", 1e-7), ("B", -math.inf)),
    (("A", -0.8), ("A", -0.8), ("\ufffd", -9.0), ("\ufffd", -9.0)),  # "▁A" and "A" of one tokenizer
]
NOT_CREDIBLE = [
    (("A", 1000.0), ("B", -1.0)),
    (("A", 3.0), ("B", -1.0)),
    (("A", math.inf),),
    (("A", math.nan), ("B", -1.0)),
    (("A", -0.1), ("A", -0.1), ("B", -3.0)),
    (),
]


def test_log_probabilities_are_believed_where_they_can_be_some():
    assert [credible(listed) for listed in CREDIBLE] == CREDIBLE
    assert [credible(listed) for listed in NOT_CREDIBLE] == [None] * len(NOT_CREDIBLE)
    assert credible(None) is None


@pytest.mark.parametrize("listed", [*NOT_CREDIBLE[:-1], (("A", 10**400), ("B", -1.0))])
def test_what_cannot_be_log_probabilities_is_none(serve, listed):
    done = run(
        spec_of("openai-api", serve(lambda _: Reply(text="A", top=listed))), asked(top_logprobs=5)
    )
    assert isinstance(done, Completion), done
    assert done.logprobs is None


def test_whole_numbers_that_no_float_holds_are_impossible_tokens(serve):
    server = serve(lambda _: Reply(text="A", top=(("A", -1), ("B", -(10**400)))))
    done = run(spec_of("openai-api", server), asked(top_logprobs=5))
    assert done.logprobs == (("A", -1.0), ("B", -9999.0))


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("pairwise_logprob", lambda _: Reply(text="A", top=(("A", 1000.0), ("B", -1.0)))),
        ("pairwise_logprob", lambda _: Reply(text="A", top=(("A", 10**400),))),
        ("pairwise", lambda a: with_parts(a, usage={"prompt_tokens": 10**30})),
        ("pairwise", lambda a: with_parts(a, usage={"prompt_tokens": 10**400})),
    ],
)
def test_a_run_survives_them(serve, leaderboard, tmp_path, kind, odd):
    server = serve(lambda a: answer(a) if a.number < 2 else odd(a))
    served_board(tmp_path, judge_at(server, kind=kind), n=4)
    own = own_answers(tmp_path / "mine.jsonl", 4)
    for _ in range(2):  # the second time from what was stored
        run = leaderboard("eval", own, "--board", "toy", "--results", tmp_path, "--name", "mine")
        assert run.code == (0 if kind == "pairwise" else 3), run.err  # 3: verdicts are missing
        (tmp_path / "toy/mine/annotations.jsonl").unlink(missing_ok=True)
    verdicts = read_json(tmp_path / "toy/mine/summary.json")["verdicts"]
    assert set(verdicts["errors"]) == (set() if kind == "pairwise" else {NO_LOGPROBS})


def test_tokens_of_many_calls_add_up_beyond_whole_numbers(tmp_path):
    from judges.storage.database import open_database

    database = open_database(f"sqlite:///{tmp_path}/cache/herdbook.sqlite")
    ledger = Ledger(database)
    one = Entry(
        time=now(), folder="", board="b", row="", judge="j", purpose="judging", model="m",
        input_tokens=2**53, cached_tokens=2**53, output_tokens=2**53, reasoning_tokens=2**53,
    )  # fmt: skip
    ledger.record([one] * 1100)
    (group,) = ledger.spending("judge")
    assert group.input_tokens == 1100 * 2**53
    database.close()


# -------------------------------------------------------------------------------------------- costs
def test_a_cost_is_unknown_where_all_verdicts_are_ties_of_a_server_that_tells_nothing(
    serve, leaderboard, tmp_path
):
    def tie(said: Asked) -> Fault:
        text = json.dumps({"code": said.nonce, "verdict": "tie"})
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return Fault(status=200, raw=json.dumps({"choices": [choice]}).encode())

    server = serve(tie)
    judge = judge_at(server, reasoning=False)
    served_board(tmp_path, judge, n=4)
    own = own_answers(tmp_path / "mine.jsonl", 4)
    run = leaderboard("eval", own, "--board", "toy", "--results", tmp_path, "--name", "mine")
    assert run.code == 0, run.err
    lines = read_lines(tmp_path / "toy/mine/annotations.jsonl")
    assert {line["preference"] for line in lines} == {0.5}
    assert {line["n_calls"] for line in lines} == {1}
    assert read_json(tmp_path / "toy/mine/summary.json")["cost_usd"] is None


# ------------------------------------------------------------------------------------------- bodies
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("status", [200, 500])
def test_an_endless_reply_is_given_up(serve, provider, packed, status):
    body = b" " * (MOST_BYTES + 1)
    headers = {"content-encoding": "gzip"} if packed else {}
    fault = Fault(status=status, raw=gzip.compress(body) if packed else body, headers=headers)
    failed = run(spec_of(provider, serve(lambda _: fault)))
    assert isinstance(failed, CallFailed)
    assert (failed.reason, failed.retry) == ("the reply is too large", False)


def test_a_packed_reply_is_read_whole_however_large_it_is(serve):
    """A few kilobytes that unpack to several pieces."""
    said = "y" * 5_000_000

    def packed(asked: Asked) -> Fault:
        body = json.dumps(openai_reply(asked, Reply(text=said))).encode()
        return Fault(status=200, raw=gzip.compress(body), headers={"content-encoding": "gzip"})

    assert run(spec_of("openai", serve(packed))).text == said


def test_a_packed_reply_is_read_and_one_packed_in_another_way_is_not(serve):
    def packed(said: Asked, how: str) -> Fault:
        body = gzip.compress(json.dumps(openai_reply(said, Reply(text="Yes."))).encode())
        return Fault(status=200, raw=body, headers={"content-encoding": how})

    server = serve(lambda a: packed(a, "gzip"))
    assert run(spec_of("openai", server)).text == "Yes."
    assert server.log[0].headers["accept-encoding"] == "gzip"
    for how in ("br", "gzip, gzip"):
        failed = run(spec_of("openai", serve(lambda a, h=how: packed(a, h))))
        assert isinstance(failed, CallFailed)
    broken = Fault(status=200, raw=b"\x1f\x8bnothing", headers={"content-encoding": "gzip"})
    assert isinstance(run(spec_of("openai", serve(lambda _: broken))), CallFailed)


# ---------------------------------------------------------------------------------------------- key
ENCODED = [base64.b64encode(b"x" * shift + KEY.encode() + b"yy").decode() for shift in range(4)]


@pytest.mark.parametrize(
    "said",
    [
        KEY, KEY.upper(), f"x{KEY[5:11]}y", KEY[-6:].upper(), *ENCODED,
        base64.urlsafe_b64encode(f"Bearer {KEY}".encode()).decode(), ENCODED[0][6:20],
        " ".join(KEY), "-".join(KEY), f"{KEY[:18]} and {KEY[18:]}",
    ],
)  # fmt: skip
def test_no_spelling_of_the_key_gets_out(said):
    hidden = redacted(f"Wrong key: {said} (401)", KEY)
    assert "[key]" in hidden
    assert said not in hidden


def test_what_holds_no_part_of_the_key_is_left():
    said = "This model's maximum context length is 4096 tokens; Bearer dG9rZW4="
    assert redacted(said, KEY) == said
    assert redacted(said, "none") == said


def test_the_clients_use_it(serve):
    spec = spec_of("openai", serve())
    llm = open_model(spec)
    assert llm.endpoint.clean(f"no: {KEY.upper()}") == "no: [key]"
    asyncio.run(llm.close())


WITH_KEY = [
    KEY, KEY.upper(), f"{KEY[:4]}\u200b{KEY[4:]}", " ".join(KEY), "\n".join(KEY), KEY[:18], KEY[-15:],
    ENCODED[0], base64.urlsafe_b64encode(f"Bearer {KEY}".encode()).decode(),
]  # fmt: skip


@pytest.mark.parametrize("said", WITH_KEY)
def test_of_a_reply_the_key_alone_is_taken_out(said):
    given = {
        "a": [f"  An *answer*:\n{said}\t(***so***) ", {"b": said, "n": 3, "x": None}],
        "c": True,
    }
    found = parsed(json.dumps(given).encode(), KEY)
    assert found["a"][0].startswith("  An *answer*:\n")
    assert found["a"][0].endswith("\t(***so***) ")
    assert "[key]" in found["a"][0]
    assert not {KEY[n : n + 12].lower() for n in range(len(KEY) - 11)} & set(texts_of(found))
    assert (found["a"][1]["n"], found["a"][1]["x"], found["c"]) == (3, None, True)
    assert parsed(json.dumps(given).encode(), "none") == given
    assert parsed(json.dumps(given).encode(), "ollama") == given


def texts_of(found: dict) -> list[str]:
    """All stretches of 12 characters in a reply, without signs."""
    plain = "".join(c for c in json.dumps(found).lower() if c.isalnum() or c == "-")
    return [plain[n : n + 12] for n in range(len(plain))]


def test_what_is_no_key_stays_in_a_reply():
    said = f"sk-ant-api03-… and {KEY[:11]}, {KEY[-9:]}: \ud800 ü{'🔥' * 3} {'x' * 1000}"
    assert parsed(json.dumps([said]).encode(), KEY) == [said]
    assert parsed(b"{", KEY) is parsed(b"[" * 100_000, KEY) is None
    assert parsed(b"[" * 990 + b"]" * 990, KEY) is None


def echoing(said: Asked) -> Reply:
    """The key wherever a reply can hold it."""
    text = json.dumps({"reasoning": f"Your key: {KEY}.", "code": said.nonce, "verdict": "first"})
    top = ((KEY, -0.1), ("B", -3.0))
    thinking = "" if said.body.get("logprobs") else f"The key is {KEY}"
    return Reply(text=text, reasoning=thinking, served=f"m-{KEY}", top=top)


@pytest.mark.parametrize("provider", ["openai", "openai-api", "anthropic"])
@pytest.mark.parametrize("top_logprobs", [0, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_no_completion_holds_the_key(serve, batching, provider, top_logprobs, batched):  # noqa: F811
    if top_logprobs and provider == "anthropic":
        pytest.skip("Anthropic gives no log-probabilities")
    server = serve(echoing, batches=Batches())
    spec = spec_of(provider, server)
    if batched:
        (done,) = ask(batching(), spec, some(1, top_logprobs=top_logprobs)).values()
    else:
        done = run(spec, asked(top_logprobs=top_logprobs))
    assert KEY not in repr(done)
    assert json.loads(done.text)["reasoning"] == "Your key: [key]."
    assert (done.reasoning, done.served) == ("The key is [key]" * (not top_logprobs), "m-[key]")
    assert done.logprobs == ((("[key]", -0.1), ("B", -3.0)) if top_logprobs else None)


@pytest.mark.parametrize(
    "say",
    [
        echoing,
        lambda _: Reply(text=f"No verdict, but {KEY}"),
        lambda _: Reply(refusal=f"No: {KEY}", finish="refused"),
    ],
)
def test_no_file_of_a_run_holds_the_key(serve, leaderboard, tmp_path, monkeypatch, say):
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    served_board(tmp_path / "results", judge_at(serve(say)), n=4)
    own = own_answers(tmp_path / "mine.jsonl", 4)
    run = leaderboard("eval", own, "--board", "toy", "--results", tmp_path / "results")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    # A judge that cannot be read is refused, and its replies are taken out of the cache again.
    assert b"[key]" in written + (run.out + run.err).encode()
    for secret in (KEY, *ENCODED):
        assert secret.encode() not in written
        assert secret not in run.out + run.err
