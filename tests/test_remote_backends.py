"""What the backends for servers share: real clients, a real server, and all that goes wrong between."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import socket
import threading
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from api_server import HTML, at_most, failing, in_turn
from api_wire import Fault, Reply
from servers import KEY, asked, described, run, spec_of

from judges.backends.base import CallFailed, Completion, Sampling, ServerFacts
from judges.backends.opening import open_model
from judges.backends.spec import ModelSpec
from judges.errors import MissingKeyError, UserError
from judges.prompting.quoting import quote

PROVIDERS = ("openai", "openai-api", "anthropic")
pytestmark = pytest.mark.usefixtures("api_keys")


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


# ----------------------------------------------------------------------------------------- replies
def test_a_completion_holds_what_the_server_said(provider, serve):
    server = serve(lambda _: Reply(text="Yes.", cached=1, served="m-2025-01-01"))
    done = run(spec_of(provider, server), asked("two words"))
    assert done.seconds > 0
    assert done == Completion(
        text="Yes.",
        input_tokens=2,
        output_tokens=1,
        cached_tokens=1,
        reasoning_tokens=0,
        served="m-2025-01-01",
        seconds=done.seconds,
    )


def test_nothing_is_sent_that_was_not_set(provider, serve):
    server = serve()
    run(spec_of(provider, server))
    assert set(server.log[0].body) - {"max_tokens"} == {"model", "messages"}


def test_marks_are_taken_out_and_control_tokens_in_data_defused(provider, serve):
    server = serve()
    run(spec_of(provider, server), asked(f"Ours <|im_end|> {quote('theirs <|im_end|>')}"))
    assert server.log[0].prompt == "Ours <|im_end|> theirs < |im_end|>"


def test_half_a_surrogate_pair_and_any_other_text_gets_through(provider, serve):
    server = serve()
    texts = ["cut \ud83d emoji", 'naïve 日本 🐄 \u2028 \x00 \\ "', "x" * 2_000_000]
    done = run(spec_of(provider, server), *(asked(text) for text in texts))
    assert all(isinstance(one, Completion) for one in done), done
    assert {call.prompt for call in server.log} == {"cut ? emoji", *texts[1:]}


def test_refusals_are_completions_of_their_own_kind(provider, serve):
    server = serve(lambda _: Reply(text=None, finish="refused"))
    done = run(spec_of(provider, server))
    assert (done.text, done.finish_reason) == ("", "refused")


def test_an_answer_that_ran_into_the_limit_says_so(provider, serve):
    done = run(spec_of(provider, serve(lambda _: Reply(text="so", finish="length"))))
    assert (done.text, done.finish_reason) == ("so", "length")


def test_thinking_is_kept_apart_and_counted(provider, serve):
    server = serve(lambda _: Reply(text="Yes.", reasoning="Let me see."))
    done = run(spec_of(provider, server))
    assert (done.text, done.reasoning) == ("Yes.", "Let me see.")
    assert (done.output_tokens, done.reasoning_tokens) == (4, 3)


def test_without_usage_the_tokens_are_unknown(provider, serve):
    done = run(spec_of(provider, serve(lambda _: Reply(usage=False))))
    assert done.text == "A"
    assert done.input_tokens is done.output_tokens is done.cached_tokens is None
    assert done.reasoning_tokens is None


def test_an_empty_answer_is_an_empty_text(provider, serve):
    done = run(spec_of(provider, serve(lambda _: Reply(text=None))))
    assert (done.text, done.finish_reason) == ("", "stop")


# ------------------------------------------------------------------------------------- failed calls
OVERLOAD = "the server has too much to do ({})"


@pytest.mark.parametrize(
    ("fault", "reason", "retry", "slow_down", "after"),
    [
        (Fault(status=429), OVERLOAD.format(429), True, True, None),
        (Fault(status=429, headers={"retry-after": "7"}), OVERLOAD.format(429), True, True, 7.0),
        (
            Fault(status=429, headers={"retry-after": "9", "retry-after-ms": "1500"}),
            OVERLOAD.format(429), True, True, 1.5,
        ),
        (Fault(status=429, headers={"retry-after": "soon"}), OVERLOAD.format(429), True, True, None),
        (Fault(status=429, headers={"retry-after-ms": "-1"}), OVERLOAD.format(429), True, True, 0.0),
        (
            Fault(status=429, headers={"x-should-retry": "false"}),
            OVERLOAD.format(429), False, True, None,
        ),
        (
            Fault(status=429, code="rate_limit_exceeded", message="Add a card at /account/billing."),
            OVERLOAD.format(429), True, True, None,
        ),
        (Fault(status=503), OVERLOAD.format(503), True, True, None),
        (Fault(status=529, type="overloaded_error"), OVERLOAD.format(529), True, True, None),
        (Fault(status=500), "the server failed (500)", True, False, None),
        (Fault(status=502, raw=HTML), "the server failed (502)", True, False, None),
        (Fault(status=408), "the server failed (408)", True, False, None),
        (Fault(status=418), "the server refused the request (418)", False, False, None),
        (Fault(status=400, type="x", message="no"), "the server refused the request (400)", False, False, None),
        (Fault(status=200, raw=b'{"id": "tr'), "the reply is not in the API's form", True, False, None),
        (Fault(status=200, raw=HTML), "the reply is not in the API's form", True, False, None),
        (Fault(status=200, raw=b"\xff\xfe"), "the reply is not in the API's form", True, False, None),
        (Fault(status=200, raw=b"[1]"), "the reply is not in the API's form", True, False, None),
        (Fault(status=200, raw=b"[" * 100_000), "the reply is not in the API's form", True, False, None),
        (Fault(status=200, raw=b""), "the reply is not in the API's form", True, False, None),
        (Fault(status=200, raw=b"{}"), "the reply holds no answer", True, False, None),
        (Fault(status=200), "the server replied with an error", True, False, None),
        (Fault(how="reset"), "the connection failed", True, False, None),
        (Fault(status=200, raw=b'{"choices": []', how="cut"), "the connection failed", True, False, None),
    ],
)  # fmt: skip
def test_a_failed_call_says_whether_to_try_again(
    provider, serve, fault, reason, retry, slow_down, after
):
    failed = run(spec_of(provider, serve(lambda _: fault)))
    assert isinstance(failed, CallFailed), failed
    assert (failed.reason, failed.retry, failed.slow_down) == (reason, retry, slow_down)
    assert failed.after == after
    assert str(failed) == reason


def test_a_time_to_retry_at_becomes_seconds(provider, serve):
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    failed = run(spec_of(provider, serve(lambda _: Fault(status=503, headers={"retry-after": at}))))
    assert 0 < failed.after <= 90
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    server = serve(lambda _: Fault(status=503, headers={"retry-after": past}))
    assert run(spec_of(provider, server)).after == 0.0


def test_nothing_listens(provider):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        spec = spec_of(provider, f"http://127.0.0.1:{taken.getsockname()[1]}")
        failed = run(spec)
        assert (failed.reason, failed.retry) == ("the connection failed", True)
        assert "127.0.0.1" in failed.detail
        with pytest.raises(UserError, match=r"no connection to http://127.*Is the server running"):
            described(spec)


def test_what_answers_is_no_web_server(provider):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ESMTP ready\r\n\r\n")

        threading.Thread(target=talk, daemon=True).start()
        failed = run(spec_of(provider, f"http://127.0.0.1:{listening.getsockname()[1]}"))
    assert isinstance(failed, CallFailed), failed
    assert (failed.reason, failed.retry) == ("the connection failed", True)


def test_the_clients_make_no_retries_of_their_own(provider, serve):
    server = serve(in_turn(Fault(status=429), Fault(status=500), Fault(how="reset")))
    for _ in range(3):
        assert isinstance(run(spec_of(provider, server)), CallFailed)
    assert server.calls == 3


def test_a_prompt_that_is_too_long(provider, serve):
    for message in (
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "You passed 5000 input tokens. However, the model's context length is only 4096 tokens.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 198000 + 4096 > 200000",
        "the request exceeds the available context size, try increasing it",
    ):
        server = serve(lambda _, m=message: Fault(status=400, type="invalid_request", message=m))
        failed = run(spec_of(provider, server), asked(sampling=Sampling(seed=None)))
        assert isinstance(failed, CallFailed), failed
        assert (failed.reason, failed.retry) == ("too long for the model's window", False)
    server = serve(lambda _: Fault(status=413, type="request_too_large", message="too big"))
    assert run(spec_of(provider, server)).reason == "too long for the model's window"


def test_a_prompt_that_the_rules_forbid_is_refused_and_stops_no_one_else(provider, serve):
    for fault in (
        Fault(status=400, message="Output blocked by content filtering policy"),
        Fault(status=400, message="Invalid prompt: flagged under our usage policy"),
        Fault(status=403, message="your input was flagged by moderation"),
    ):
        done = run(spec_of(provider, serve(lambda _, f=fault: f)))
        assert (done.text, done.finish_reason) == ("", "refused")


# ------------------------------------------------------------------------- what the user can put right
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=401, message="bad key"), "does not take the key in"),
        (Fault(status=402, message="Payment required"), "has no credit"),
        (
            Fault(status=429, code="insufficient_quota", type="insufficient_quota", message="Pay"),
            "has no credit",
        ),
        (Fault(status=400, message="Your credit balance is too low"), "has no credit"),
        (Fault(status=403, message="not in your region"), "not in your region"),
        (Fault(status=404, message="The model `m` does not exist"), "knows no such model"),
        (Fault(status=404, raw=HTML), "knows no such model, or no such address"),
        (Fault(status=307, headers={"location": "http://127.0.0.1:9/"}), "base_url"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Fault) else None,
)
def test_what_the_user_can_put_right(provider, serve, fault, says):
    server = serve(lambda _: fault)
    with pytest.raises(UserError, match=says) as raised:
        raise run(spec_of(provider, server))
    assert str(raised.value).startswith(f"{provider}/m: ")
    assert "\n" not in str(raised.value)


def test_a_missing_key_names_the_variable_and_the_ways_out(monkeypatch, serve):
    for provider, variable in (("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")):
        for value in ("", "  "):
            monkeypatch.setenv(variable, value)
            with pytest.raises(MissingKeyError, match=f"{variable}.*openai-api/NAME"):
                open_model(ModelSpec(spec=f"{provider}/m"))
    monkeypatch.delenv("MINE", raising=False)
    with pytest.raises(MissingKeyError, match="environment variable MINE"):
        open_model(ModelSpec(spec="openai/m", api_key_env="MINE"))
    server = serve()
    assert isinstance(run(spec_of("openai-api", server)), Completion)
    assert server.log[0].headers["authorization"] == "Bearer none"


def test_another_variable_can_hold_the_key(provider, serve, monkeypatch):
    monkeypatch.setenv("MINE", f" {KEY}mine\n")
    server = serve()
    run(spec_of(provider, server, api_key_env="MINE"))
    sent = server.log[0].headers
    assert f"{KEY}mine" in (sent.get("authorization", "") + " " + sent.get("x-api-key", "")).split()


@pytest.mark.parametrize("key", ["sk-\nx", "sk-ключ", "sk-\x7f"])
def test_a_key_with_odd_characters_is_none(provider, monkeypatch, key):
    monkeypatch.setenv("MINE", key)
    with pytest.raises(UserError, match="MINE") as raised:
        open_model(spec_of(provider, "http://127.0.0.1:9", api_key_env="MINE"))
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://127.0.0.1/v1?key=1", "nonsense"],
)
def test_an_address_that_is_none(provider, address):
    with pytest.raises(UserError, match="is no address"):
        open_model(ModelSpec(spec=f"{provider}/m", base_url=address))


def test_a_password_in_the_address_is_refused_and_not_shown(provider):
    with pytest.raises(UserError, match="api_key_env") as raised:
        open_model(ModelSpec(spec=f"{provider}/m", base_url="http://me:hunter2@127.0.0.1/v1"))
    assert "hunter2" not in str(raised.value)


def test_args_are_for_models_in_this_process(provider):
    with pytest.raises(UserError, match=r"'dtype'.*extra"):
        open_model(spec_of(provider, "http://127.0.0.1:9", args={"dtype": "bfloat16"}))


def test_further_parameters_replace_none_of_ours(provider, serve):
    server = serve()
    run(spec_of(provider, server), asked(extra={"service_tier": "auto", "metadata": {"a": 1}}))
    assert server.log[0].body["service_tier"] == "auto"
    assert server.log[0].body["metadata"] == {"a": 1}
    for key in ("stream", "n", "messages", "model", "temperature"):
        request = asked(sampling=Sampling(seed=None, max_tokens=None), extra={key: 1})
        with pytest.raises(UserError, match=key):
            raise run(spec_of(provider, server), request)
    assert server.calls == 1


# ------------------------------------------------------------------------------------------ facts
def test_a_server_without_a_models_endpoint_tells_nothing(provider, serve):
    assert described(spec_of(provider, serve())) == ServerFacts()


def test_a_model_that_is_not_listed(provider, serve):
    assert described(spec_of(provider, serve(models={"other": {}}))) == ServerFacts()


def test_a_sunset_header_and_names_with_slashes(provider, serve):
    listed = {"org/m": {"shutdown_date": "2027-03-01", "retires_at": "2027-03-01"}}
    facts = described(spec_of(provider, serve(models=listed), name="org/m"))
    assert (facts.served, facts.shutdown) == ("org/m", "2027-03-01")


# ---------------------------------------------------------------------------------------- the key
ECHOES = (
    Fault(status=401, message=f"Incorrect API key provided: {KEY}. Find yours at the site."),
    Fault(status=401, message=f"Incorrect API key provided: {KEY[:8]}********{KEY[-4:]}."),
    Fault(status=403, message=f"key={KEY}, not allowed"),
    Fault(status=404, message=f"no model for Bearer {KEY}"),
    Fault(status=429, code="insufficient_quota", message=f"quota of '{KEY}' is used up"),
    Fault(status=400, param="temperature", message=f"temperature is not for {KEY[:12]}"),
    Fault(status=400, message=f"{'x' * 190}{KEY}"),
    Fault(status=500, message=f"panic: {KEY}"),
    Fault(status=500, raw=KEY.encode()),
    Fault(status=200, raw=KEY.encode()),
    Fault(status=200, message=KEY),
    Fault(status=307, headers={"location": "http://127.0.0.1:9/"}),
    Fault(how="reset"),
    Fault(how="cut", raw=KEY.encode()),
)


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_no_part_of_the_key_gets_out(provider, serve, level):
    """Not in an exception or what stands behind it, nor a repr, nor a record of any logger.

    At DEBUG, which nobody but a user switches on, Anthropic's client logs whole prompts, and the
    headers of replies: a server that put the key into one of those would be seen there.
    """
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        for fault in ECHOES:
            spec = spec_of(provider, serve(lambda _, f=fault: f))
            raised = run(spec, asked(sampling=Sampling(seed=None)))
            assert isinstance(raised, Exception)
            said = [repr(raised), *map(str, vars(raised).values())]
            said += traceback.format_exception(raised, chain=True)
            assert raised.__cause__ is None
            assert raised.__context__ is None
            assert_clean("\n".join(said))
        spec = spec_of(provider, serve(models={"m": {}}))
        llm = open_model(spec)
        assert_clean(f"{spec!r} {spec.key} {llm!r} {vars(llm)!r} {vars(llm.endpoint)!r}")
        asyncio.run(llm.close())
        described(spec)
        run(spec)
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert_clean(written.getvalue())


def assert_clean(said: str) -> None:
    pieces = [KEY[n : n + 8] for n in range(len(KEY) - 7)]
    assert not [piece for piece in pieces if piece in said], said


def test_opening_switches_no_logging_on(provider, serve):
    names = ("", "openai", "anthropic", "httpx2", "aiohttp")
    before = [(logging.getLogger(n).level, list(logging.getLogger(n).handlers)) for n in names]
    run(spec_of(provider, serve()))
    assert before == [
        (logging.getLogger(n).level, list(logging.getLogger(n).handlers)) for n in names
    ]


# ---------------------------------------------------------------------------------- many at a time
def test_many_calls_at_once(provider, serve):
    server = serve(latency=0.3)
    done = run(spec_of(provider, server), *(asked(f"number {n}") for n in range(300)), seconds=60)
    assert all(isinstance(one, Completion) for one in done)
    assert server.calls == 300
    assert server.most_in_flight > 150
    assert [one.text for one in done] == [
        one.text for one in run(spec_of(provider, server), *(asked(f"number {n}") for n in range(300)), seconds=60)
    ]  # fmt: skip


def test_failing_calls_leave_the_others_alone(provider, serve):
    server = serve(failing(0.2, 0, lambda asked: Reply(text=asked.prompt)))
    done = run(spec_of(provider, server), *(asked(f"number {n}") for n in range(100)))
    failed = [one for one in done if isinstance(one, CallFailed)]
    assert 5 <= len(failed) <= 40
    for n, one in enumerate(done):
        assert isinstance(one, CallFailed) or one.text == f"number {n}"


def test_a_server_that_takes_few_at_a_time_says_so(provider, serve):
    server = serve(at_most(10, lambda _: Reply(latency=0.2)))
    done = run(spec_of(provider, server), *(asked(str(n)) for n in range(50)))
    failed = [one for one in done if isinstance(one, CallFailed)]
    assert {(one.slow_down, one.after) for one in failed} == {(True, 0.05)}
    assert len(failed) >= 10


def test_a_cancelled_call_ends_at_once_and_the_next_one_works(provider, serve):
    server = serve(in_turn(*[Fault(how="hang")] * 20, Reply(text="here")))

    async def story():
        llm = open_model(spec_of(provider, server))
        tasks = [asyncio.create_task(llm.complete(asked(str(n)))) for n in range(20)]
        while server.calls < 20:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await llm.complete(asked("late"))
        done = await llm.complete(asked("again"))
        await llm.close()
        return done

    assert asyncio.run(asyncio.wait_for(story(), 20)).text in ("here", "A")


@pytest.mark.filterwarnings("error")
def test_closing_leaves_nothing_open(provider, serve, recwarn):
    server = serve()
    run(spec_of(provider, server), *(asked(str(n)) for n in range(5)))

    async def unused():
        await open_model(spec_of(provider, server)).close()

    asyncio.run(unused())
    gc.collect()
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning)]
