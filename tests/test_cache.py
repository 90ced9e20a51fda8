"""A completion is found again for the same request to the same model, and for no other."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.backends.base import Completion, Request, Sampling
from judges.schema import Message
from judges.storage import cache as cache_module
from judges.storage.cache import Cache, Size, completion_key
from judges.storage.database import Database, open_database

MODEL = {"provider": "openai", "name": "m", "url": "https://x/v1"}
ASKED = Request(
    id="a",
    messages=(Message("system", "Judge."), Message("user", "One or two?")),
    sampling=Sampling(),
)
FULL = Completion(
    text='{"verdict": 1} \x00 \x1b \u202e half \ud83d of a pair, 🐄',
    reasoning="so\nit is",
    finish_reason="length",
    input_tokens=1200,
    output_tokens=80,
    cached_tokens=1024,
    reasoning_tokens=60,
    logprobs=(("1", -0.25), ("2", -1.5)),
    served="m-2026-01-01",
    seconds=0.5,
    cost_usd=0.000123,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(open_database(f"sqlite:///{tmp_path}/cache/herdbook.sqlite")) as found:
        yield found


def key(n: int = 0) -> str:
    return f"{n:064x}"


# ------------------------------------------------------------------------------------------- keys
def test_the_key_is_the_same_on_every_machine():
    known = "422e7ec434668f20e12059d024f0d974f3495d89ec8005c9b0563f85304ed516"
    assert completion_key(MODEL, ASKED) == known


def test_the_callers_name_for_a_request_is_no_part_of_it():
    assert completion_key(MODEL, ASKED) == completion_key(MODEL, replace(ASKED, id="b"))
    assert completion_key(dict(reversed(MODEL.items())), ASKED) == completion_key(MODEL, ASKED)
    warm = replace(ASKED, sampling=Sampling(temperature=0))
    assert completion_key(MODEL, warm) == completion_key(MODEL, ASKED)


CHANGES: list[dict[str, Any]] = [
    {"messages": ASKED.messages[1:]},
    {"messages": (Message("user", "Judge."), ASKED.messages[1])},
    {"messages": (Message("system", "Judge.One"), Message("user", " or two?"))},
    {"sampling": Sampling(max_tokens=None)},
    {"sampling": Sampling(temperature=None)},
    {"sampling": Sampling(temperature=1)},
    {"sampling": Sampling(top_p=1)},
    {"sampling": Sampling(top_k=1)},
    {"sampling": Sampling(repetition_penalty=1)},
    {"sampling": Sampling(seed=None)},
    {"sampling": Sampling(seed=1)},
    {"schema": {"type": "object"}},
    {"top_logprobs": 5},
    {"extra": {"reasoning_effort": "low"}},
    {"extra": {"reasoning": {"effort": "low"}}},
]


def test_everything_that_changes_a_completion_changes_the_key():
    requests = [ASKED, *(replace(ASKED, **change) for change in CHANGES)]
    keys = {completion_key(MODEL, request) for request in requests}
    keys |= {completion_key({**MODEL, part: "other"}, ASKED) for part in MODEL}
    assert len(keys) == len(requests) + len(MODEL)


REASONS, VERDICT = ("reasoning", {"type": "string"}), ("verdict", {"enum": ["first", "second"]})


@pytest.mark.parametrize("field", ["schema", "extra"])
def test_the_order_in_which_a_model_is_to_write_changes_the_key(field):
    forms = [{"form": {"properties": dict(o)}} for o in [(REASONS, VERDICT), (VERDICT, REASONS)]]
    one, other = (completion_key(MODEL, replace(ASKED, **{field: form})) for form in forms)
    assert one != other


def test_the_order_of_further_parameters_changes_nothing():
    one, other = {"a": 1, "b": {"c": 2}}, {"b": {"c": 2}, "a": 1}
    keys = {completion_key(MODEL, replace(ASKED, extra=extra)) for extra in (one, other)}
    assert len(keys) == 1


def test_no_field_of_a_request_is_forgotten():
    changed = {name for change in CHANGES for name in change}
    assert changed | {"id"} == {field.name for field in fields(Request)}
    sampled = [c["sampling"] for c in CHANGES if "sampling" in c]
    moved = {f.name for s in sampled for f in fields(s) if getattr(s, f.name) != f.default}
    assert moved == {field.name for field in fields(Sampling)}


# -------------------------------------------------------------------------------- what is stored
def test_a_completion_comes_back_as_it_was(database):
    cache = Cache(database)
    bare = Completion(text="")
    cache.put_many([(key(1), FULL), (key(2), bare)], "openai/m")
    assert cache.get_many([key(3), key(2), key(1)]) == {key(1): FULL, key(2): bare}
    assert cache.get_many([]) == {}


@given(st.text(), st.none() | st.integers(0, 2**40), st.none() | st.floats(allow_nan=False))
def test_any_text_and_number_comes_back(tmp_path_factory, text, tokens, seconds):
    path = tmp_path_factory.getbasetemp() / "any" / "cache.db"
    with contextlib.closing(open_database(f"sqlite:///{path}")) as database:
        cache = Cache(database)
        given = Completion(text=text, reasoning=text, output_tokens=tokens, seconds=seconds)
        own = completion_key(MODEL, replace(ASKED, extra={"n": [text, tokens, seconds]}))
        cache.put_many([(own, given)])
        assert cache.get_many([own]) == {own: given}


def test_the_first_completion_of_a_key_stays(database):
    cache = Cache(database)
    cache.put_many([(key(1), FULL)])
    cache.put_many([(key(1), replace(FULL, text="second")), (key(2), FULL)])
    assert cache.get_many([key(1), key(2)]) == {key(1): FULL, key(2): FULL}
    assert cache.size().completions == 2


def test_more_keys_than_fit_into_a_query(database):
    cache = Cache(database)
    entries = [(key(n), replace(FULL, output_tokens=n)) for n in range(1200)]
    cache.put_many(entries)
    assert cache.get_many([key(n) for n in range(-5, 1300)]) == dict(entries)


def test_a_row_says_what_was_asked_and_when(database):
    Cache(database).put_many([(key(), FULL)], "openai/m")
    ((model, served, created),) = database.read(
        "SELECT model, served, created FROM herdbook_completions"
    )
    assert (model, served) == ("openai/m", "m-2026-01-01")
    assert created.endswith("+00:00")


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("completion = ?", ('{"text": "forged"}',)),
        ("completion = ?", ("not JSON",)),
        ("check_sum = ?", ("",)),
    ],
)
def test_a_row_that_is_not_what_was_stored_counts_as_not_there(database, change, values):
    cache = Cache(database)
    cache.put_many([(key(1), FULL), (key(2), FULL)])
    database.write(f"UPDATE herdbook_completions SET {change} WHERE key = ?", [(*values, key(1))])
    assert cache.get_many([key(1), key(2)]) == {key(2): FULL}
    cache.put_many([(key(1), FULL)])
    assert cache.get_many([key(1)]) == {key(1): FULL}


def test_a_row_under_the_key_of_another_request_counts_as_not_there(database):
    cache = Cache(database)
    cache.put_many([(key(1), FULL)])
    database.write("UPDATE herdbook_completions SET key = ?", [(key(2),)])
    assert cache.get_many([key(1), key(2)]) == {}


def test_nothing_but_json_is_stored(database):
    Cache(database).put_many([(key(), FULL)])
    ((line,),) = database.read("SELECT completion FROM herdbook_completions")
    assert json.loads(line)["logprobs"] == [["1", -0.25], ["2", -1.5]]


def test_the_size_is_that_of_the_texts(database):
    cache = Cache(database)
    assert cache.size() == Size(0, 0)
    cache.put_many([(key(1), Completion(text="x" * 1000)), (key(2), Completion(text="y" * 1000))])
    assert cache.size().completions == 2
    assert 2000 < cache.size().bytes < 2100


@pytest.mark.parametrize(
    "line",
    ['{"text": 5}', '{"text": "x", "seconds": "soon"}', '["x"]', '{"reasoning": "x"}', '{"text": "x", "logprobs": [1]}'],
)  # fmt: skip
def test_a_row_of_other_types_counts_as_not_there(database, line):
    cache = Cache(database)
    cache.put_many([("k", Completion(text="x"))])
    database.write(
        "UPDATE herdbook_completions SET completion = ?, check_sum = ?",
        [(line, cache_module._check_sum("k", line))],
    )
    assert cache.get_many(["k"]) == {}
    assert cache.holding(["k"]) == set(), "it is removed"
