"""A reply holds exactly one verdict in the form asked for, or none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.asking.verdicts import (
    CODE_TWICE,
    EMPTY,
    NO_VERDICT,
    NOT_JSON,
    NOT_LAST,
    OTHER_VERDICT,
    TWO_VERDICTS,
    Choice,
    Form,
    Scale,
    Ticks,
    written_by,
)
from judges.backends.spec import ModelSpec

NONCE = "abcdefghijkmn"
CHOICE = Choice({"first": "the first is better", "second": "the second is", "tie": "neither is"})
VALUES = [(CHOICE, "second"), (Scale(1, 10), 7), (Ticks(3), (True, False, True))]
FORMS = [
    pytest.param(Form(written, value, reasoning), said, id=f"{written}-{said}-{reasoning}")
    for written in ("json", "text")
    for value, said in VALUES
    for reasoning in (True, False)
]
TEXT = Form("text", CHOICE, True)
JSON = Form("json", CHOICE, True)


@pytest.mark.parametrize(("form", "said"), FORMS)
def test_what_is_written_is_read(form, said):
    reply = form.write(said, NONCE, "Because.")
    assert form.read(reply, NONCE).value == said
    assert form.read(f"\n {reply}\n\n", NONCE).value == said
    assert form.read(reply, "nmkjihgfedcba").value is None
    assert form.read("", NONCE).error == EMPTY
    assert form.read(" \n", NONCE).error == EMPTY
    assert form.read("I cannot say.", NONCE).value is None


@pytest.mark.parametrize(("form", "said"), FORMS)
def test_the_judge_is_told_what_is_read(form, said):
    told = form.instructions()
    assert "{nonce}" in told
    assert ("JSON" in told) == (form.written == "json")
    assert ("reasons" in told) == form.reasoning
    assert (form.schema() is None) == (form.written == "text")


@pytest.mark.parametrize(("form", "said"), [p for p in FORMS if p.values[0].written == "json"])
def test_the_schema_is_of_what_is_read(form, said):
    schema, written = form.schema(), json.loads(form.write(said, NONCE))
    # Servers that hold a reply to a schema want all keys named, in order, and no others.
    assert list(schema["properties"]) == schema["required"] == list(written)
    assert schema["additionalProperties"] is False
    verdict = schema["properties"]["verdict"]
    if verdict["type"] == "object":
        assert list(verdict["properties"]) == verdict["required"] == list(written["verdict"])
        assert {part["type"] for part in verdict["properties"].values()} == {"boolean"}
    else:
        # The list is all that can be read.
        read = [form.read(form.write(value, NONCE), NONCE).value for value in verdict["enum"]]
        assert read == verdict["enum"]
        assert said in read


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (f"VERDICT {NONCE}: first\nVERDICT {NONCE}: first", TWO_VERDICTS),
        (f"VERDICT {NONCE}: first\nVERDICT {NONCE}: second", TWO_VERDICTS),
        (f"VERDICT {NONCE}: first VERDICT {NONCE}: second", CODE_TWICE),
        (f"[begin first answer {NONCE}]\nVERDICT {NONCE}: first", CODE_TWICE),
        (f"VERDICT {NONCE}: first\nBut then again.", NOT_LAST),
        (f"I say VERDICT {NONCE}: first", NO_VERDICT),
        (f"VERDICT {NONCE}", NO_VERDICT),
        (f"VERDICT {NONCE}:", NO_VERDICT),
        ("VERDICT: first", NO_VERDICT),
        ("VERDICT aaaaaaaaaaaaa: first", NO_VERDICT),
        (f"VERDICT {NONCE.upper()}: first", NO_VERDICT),
        (f"VERDICT {NONCE}: third", OTHER_VERDICT),
        (f"VERDICT {NONCE}: first or second", OTHER_VERDICT),
        (f"VERDICT {NONCE}: …", OTHER_VERDICT),
    ],
)
def test_a_line_that_is_no_single_verdict(reply, error):
    reading = TEXT.read(reply, NONCE)
    assert (reading.value, reading.error) == (None, error)


@pytest.mark.parametrize(
    "line",
    [
        "**VERDICT {}: first**", "`VERDICT {}: first`", "Verdict {}: `First`.", "  VERDICT {} : first",
        "VERDICT {}:first", '> VERDICT {}: "first"'.removeprefix("> "), "VERDICT {}: **first**.",
    ],
)  # fmt: skip
def test_emphasis_and_a_full_stop_change_no_verdict(line):
    assert TEXT.read(f"Reasons.\n\n{line.format(NONCE)}\n", NONCE).value == "first"


def test_without_reasons_the_line_stands_alone():
    alone = Form("text", CHOICE, reasoning=False)
    assert alone.read(f"Because.\nVERDICT {NONCE}: first", NONCE).error == NO_VERDICT


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ('{"reasoning": "", "code": "%s", "verdict": "first"} done', NOT_JSON),
        ('Well: {"reasoning": "", "code": "%s", "verdict": "first"}', NOT_JSON),
        ('{"reasoning": "", "code": "%s", "verdict": "first"}' * 2, NOT_JSON),
        ('[{"reasoning": "", "code": "%s", "verdict": "first"}]', NOT_JSON),
        ('{"reasoning": "", "code": "%s", "verdict": "first"', NOT_JSON),
        ('{"reasoning": NaN, "code": "%s", "verdict": "first"}', NOT_JSON),
        ('"first"', NOT_JSON),
        ("[" * 100_000, NOT_JSON),
        ('{"verdict":' + "9" * 10_000 + "}", NOT_JSON),
        ('{"reasoning": "", "code": "%s", "verdict": "second", "verdict": "first"}', TWO_VERDICTS),
        ('{"code": "%s", "reasoning": "", "verdict": "first"}', NO_VERDICT),
        ('{"code": "%s", "verdict": "first", "reasoning": ""}', NO_VERDICT),
        ('{"reasoning": "", "verdict": "first", "code": "%s"}', NO_VERDICT),
        ('{"code": "%s", "verdict": "first"}', NO_VERDICT),
        ('{"reasoning": "", "code": "%s", "verdict": "first", "sure": 1}', NO_VERDICT),
        ('{"reasoning": 1, "code": "%s", "verdict": "first"}', NO_VERDICT),
        ('{"reasoning": "", "code": "other", "verdict": "first"}', NO_VERDICT),
        ('{"reasoning": "", "code": ["%s"], "verdict": "first"}', NO_VERDICT),
        ('{"reasoning": "", "code": "%s", "verdict": "First"}', OTHER_VERDICT),
        ('{"reasoning": "", "code": "%s", "verdict": null}', OTHER_VERDICT),
        ('{"reasoning": "", "code": "%s", "verdict": ["first"]}', OTHER_VERDICT),
    ],
)
def test_a_reply_that_is_not_the_one_object(reply, error):
    reading = JSON.read(reply.replace("%s", NONCE), NONCE)
    assert (reading.value, reading.error) == (None, error)


def test_one_code_fence_may_stand_around_the_object():
    reply = JSON.write("tie", NONCE)
    assert JSON.read(f"```json\n{reply}\n```", NONCE).value == "tie"
    assert JSON.read(f"\n```\n{reply}\n```\n", NONCE).value == "tie"
    assert JSON.read(f"```json\n{reply}\n```\n```json\n{reply}\n```", NONCE).value is None
    assert JSON.read(f"So:\n```json\n{reply}\n```", NONCE).value is None


@pytest.mark.parametrize("said", ["true", "7.0", "0", "11", '"7"', "null", "[7]", "1e1"])
def test_a_score_is_a_whole_number_on_the_scale(said):
    form = Form("json", Scale(1, 10), reasoning=False)
    assert form.read(f'{{"code": "{NONCE}", "verdict": {said}}}', NONCE).error == OTHER_VERDICT


@pytest.mark.parametrize("said", ["7.0", "0", "11", "7/10", "seven", "7 8", "٧", "9" * 10_000])
def test_a_written_score_is_a_whole_number_on_the_scale(said):
    form = Form("text", Scale(1, 10), reasoning=False)
    assert form.read(f"VERDICT {NONCE}: {said}", NONCE).value is None


@pytest.mark.parametrize(
    "said", ['{"1": true}', '{"1": true, "2": 1}', '{"1": true, "3": true}', "[true, true]", "true"]
)
def test_every_criterion_is_ticked_or_not(said):
    form = Form("json", Ticks(2), reasoning=False)
    assert form.read(f'{{"code": "{NONCE}", "verdict": {said}}}', NONCE).error == OTHER_VERDICT


@pytest.mark.parametrize(
    "said", ["1 yes", "1 yes, 2", "2 yes, 1 no", "1 yes, 2 no, 3 no", "yes, no"]
)
def test_every_written_criterion_is_ticked_or_not(said):
    form = Form("text", Ticks(2), reasoning=False)
    assert form.read(f"VERDICT {NONCE}: {said}", NONCE).error == OTHER_VERDICT


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.sampled_from(["json", "text"]))
def test_any_ticks_are_read_as_written(ticks, written):
    form = Form(written, Ticks(len(ticks)), reasoning=True)
    assert form.read(form.write(tuple(ticks), NONCE, "So."), NONCE).value == tuple(ticks)


@given(st.text(), st.sampled_from([TEXT, JSON]))
def test_reasons_never_change_the_verdict(reasons, form):
    assert form.read(form.write("first", NONCE, reasons), NONCE).value == "first"


def test_the_digest_follows_what_the_judge_is_told():
    forms = [
        Form(written, value, reasoning)
        for written in ("json", "text")
        for value in (
            CHOICE,
            Choice({"first": "it is", "second": "it is"}),
            Scale(1, 5),
            Scale(1, 9),
        )
        for reasoning in (True, False)
    ]
    assert len({form.digest for form in forms}) == len(forms)


@pytest.mark.parametrize(
    ("spec", "written"),
    [
        ("openai/x", "json"), ("anthropic/x", "json"), ("vllm/x", "json"), ("openai-api/x", "json"),
        ("hf/a/b", "text"), ("some/folder", "text"), ("fake/echo", "text"),
    ],
)  # fmt: skip
def test_a_schema_is_used_where_one_can_be_demanded(spec, written):
    assert written_by(ModelSpec(spec=spec), "auto") == written
    assert written_by(ModelSpec(spec=spec), "text") == "text"
    assert written_by(ModelSpec(spec=spec), "json") == "json"
