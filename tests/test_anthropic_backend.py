"""Anthropic's messages: what is sent, and what is read."""

from __future__ import annotations

import json

import pytest
from api_wire import Fault, Reply
from servers import KEY, asked, described, run, spec_of

from judges.backends.base import CallFailed, Completion, ParameterRefused, Request, Sampling
from judges.backends.spec import ModelSpec
from judges.schema import Message

pytestmark = pytest.mark.usefixtures("api_keys")
ALL = Sampling(max_tokens=7, temperature=0.5, top_p=0.9, top_k=4, seed=None)
SCHEMA = {"type": "object", "properties": {"winner": {"enum": ["first", "second"]}}}


def raw(*blocks, **more) -> Fault:
    """A reply with exactly these blocks."""
    body = {"type": "message", "model": "m", "stop_reason": "end_turn", "content": blocks, **more}
    return Fault(status=200, raw=json.dumps(body).encode())


def test_what_is_sent(serve):
    server = serve()
    turns = [("system", "Be fair."), ("system", "Be brief."), ("user", "one"), ("assistant", "two")]
    turns.append(("user", "three"))
    request = Request(
        id="q", messages=tuple(Message(*turn) for turn in turns), sampling=ALL, schema=SCHEMA,
        extra={"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}},
    )  # fmt: skip
    run(spec_of("anthropic", server), request)
    assert server.log[0].body == {
        "model": "m",
        "max_tokens": 7,
        "messages": [{"role": role, "content": text} for role, text in turns[2:]],
        "system": "Be fair.\n\nBe brief.",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "output_config": {
            "format": {"type": "json_schema", "schema": SCHEMA},
            "effort": "low",
        },
        "thinking": {"type": "adaptive"},
    }
    assert server.log[0].headers["anthropic-version"]


def test_the_limit_that_the_api_wants_is_set_where_none_is_given(serve):
    server = serve()
    run(spec_of("anthropic", server))
    assert server.log[0].body["max_tokens"] == 4096


def test_a_large_limit_is_the_users_business(serve):
    done = run(
        spec_of("anthropic", serve()), asked(sampling=Sampling(max_tokens=128_000, seed=None))
    )
    assert isinstance(done, Completion)


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (asked(sampling=Sampling(seed=0)), "seed"),
        (asked(sampling=Sampling(seed=None, repetition_penalty=1.1)), "repetition_penalty"),
        (asked(top_logprobs=5), "top_logprobs"),
    ],
    ids=["seed", "repetition_penalty", "log-probabilities"],
)
def test_what_the_api_does_not_know_is_refused_before_a_call(serve, request_, key):
    server = serve()
    refused = run(spec_of("anthropic", server), request_)
    assert isinstance(refused, ParameterRefused)
    assert refused.parameter == key
    assert server.calls == 0


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_address_with_and_without_v1(serve, suffix):
    server = serve()
    spec = ModelSpec(spec="anthropic/m", base_url=f"{server.url}{suffix}")
    assert isinstance(run(spec), Completion)


def test_nothing_but_the_named_key_is_sent(serve, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "other-token")
    server = serve()
    run(spec_of("anthropic", server))
    assert "other-token" not in str(server.log[0].headers)
    assert KEY in str(server.log[0].headers)


# -------------------------------------------------------------------------------------- what is read
def test_blocks_of_thinking_and_of_text(serve):
    blocks = [
        {"type": "thinking", "thinking": "One.", "signature": "x"},
        {"type": "redacted_thinking", "data": "zzz"},
        {"type": "thinking", "thinking": "Two.", "signature": "x"},
        {"type": "text", "text": "Yes, "},
        {"type": "text", "text": "first."},
        {"type": "new", "text": "unknown"},
        "odd",
    ]
    done = run(spec_of("anthropic", serve(lambda _: raw(*blocks))))
    assert (done.text, done.reasoning) == ("Yes, first.", "One.\n\nTwo.")


def test_the_prompt_is_counted_in_three_parts(serve):
    usage = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 300,
        "output_tokens": 9,
    }
    done = run(
        spec_of("anthropic", serve(lambda _: raw({"type": "text", "text": "A"}, usage=usage)))
    )
    assert (done.input_tokens, done.cached_tokens, done.output_tokens) == (325, 300, 9)
    assert done.reasoning_tokens is None


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refused"),
        (None, "stop"),
    ],
)
def test_why_it_stopped(serve, stop, finish):
    server = serve(lambda _: raw({"type": "text", "text": "A"}, stop_reason=stop))
    assert run(spec_of("anthropic", server)).finish_reason == finish


def test_a_reply_without_blocks(serve):
    failed = run(spec_of("anthropic", serve(lambda _: raw(content=None))))
    assert isinstance(failed, CallFailed)
    assert (failed.reason, failed.retry) == ("the reply holds no answer", True)
    assert run(spec_of("anthropic", serve(lambda _: raw()))).text == ""


def test_an_error_with_the_status_of_a_success(serve):
    fault = Fault(status=200, type="overloaded_error", message="Overloaded")
    failed = run(spec_of("anthropic", serve(lambda _: fault)))
    assert (failed.reason, failed.detail) == ("the server replied with an error", "Overloaded")


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("temperature: range: 0..1", "temperature"),
        ("`temperature` and `top_p` cannot both be specified for this model.", "temperature"),
        ("top_k: Input should be greater than 0", "top_k"),
        ("max_tokens: 500000 > 64000, which is the maximum allowed number", "max_tokens"),
        ("output_config.format.schema: unsupported keyword", "schema"),
        ("thinking: adaptive thinking is not supported on this model", "thinking"),
    ],
)
def test_a_refused_parameter_is_named_as_in_a_panel_file(serve, message, key):
    server = serve(lambda _: Fault(status=400, type="invalid_request_error", message=message))
    request = asked(sampling=ALL, schema=SCHEMA, extra={"thinking": {"type": "adaptive"}})
    refused = run(spec_of("anthropic", server), request)
    assert isinstance(refused, ParameterRefused), refused
    assert refused.parameter == key
    assert message.split(":")[0] in str(refused)


def test_a_spend_limit_is_no_pace_to_be_slowed_down_to(serve):
    body = {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "Your organisation has reached its limit.",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
    }
    fault = Fault(status=429, raw=json.dumps(body).encode())
    assert "has no credit" in str(run(spec_of("anthropic", serve(lambda _: fault))))


def test_facts(serve):
    told = {"max_input_tokens": 200_000, "retires_at": "2027-05-14T00:00:00Z"}
    facts = described(spec_of("anthropic", serve(models={"m": told})))
    assert (facts.served, facts.context) == ("m", 200_000)
    assert facts.shutdown == "2027-05-14T00:00:00Z"


def test_a_quick_look_at_a_judge_with_a_schema(serve):
    server = serve()
    done = run(spec_of("anthropic", server), asked(schema=SCHEMA))
    assert json.loads(done.text)["winner"] in ("first", "second")
    assert run(spec_of("anthropic", serve(lambda _: Reply(text="B")))).text == "B"
