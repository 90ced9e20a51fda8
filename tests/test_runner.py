"""The runner: batches longest first, halved where memory lacks; and the fake models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from judges.backends.base import Completion, LocalLLM, OutOfMemory, Request, Sampling
from judges.backends.fake import KNOWN, FakeLLM
from judges.backends.runner import complete_batches
from judges.errors import UserError
from judges.schema import Message


def request(name: str, text: str, **sampling) -> Request:
    return Request(id=name, messages=(Message("user", text),), sampling=Sampling(**sampling))


def complete_all(
    llm: LocalLLM, requests: Sequence[Request]
) -> Iterator[tuple[Request, Completion]]:
    for batch in complete_batches(llm, requests):
        yield from batch


@dataclass
class Recorder:
    """A model that holds `memory` tokens, and remembers its batches."""

    batch_size: int
    memory: int = 10**6
    batches: list[list[str]] = field(default_factory=list)

    def fingerprint(self):
        return {}

    def render(self, messages):
        return messages[-1].content

    def length(self, request):
        return len(self.render(request.messages))

    def complete_batch(self, requests):
        self.batches.append([r.id for r in requests])
        if sum(map(self.length, requests)) > self.memory:
            raise OutOfMemory("full")
        return [Completion(text=f"to {r.id}") for r in requests]


def test_longest_first_and_equals_in_the_order_they_came():
    llm = Recorder(batch_size=2)
    requests = [request(name, "x" * n) for name, n in zip("abcde", (1, 3, 2, 3, 2), strict=True)]
    done = list(complete_all(llm, requests))
    assert llm.batches == [["b", "d"], ["c", "e"], ["a"]]
    assert [(r.id, c.text) for r, c in done] == [(i, f"to {i}") for i in "bdcea"]


def test_results_come_batch_by_batch():
    llm = Recorder(batch_size=2)
    stream = complete_all(llm, [request(str(n), "x") for n in range(5)])
    next(stream)
    assert len(llm.batches) == 1
    next(stream)
    assert len(llm.batches) == 1
    next(stream)
    assert len(llm.batches) == 2


def test_a_batch_that_does_not_fit_is_halved_for_good():
    llm = Recorder(batch_size=8, memory=30)
    requests = [request(str(n), "x" * 10) for n in range(9)]
    done = list(complete_all(llm, requests))
    assert [len(batch) for batch in llm.batches] == [8, 4, 2, 2, 2, 2, 1]
    assert [r.id for r, _ in done] == [str(n) for n in range(9)]
    assert llm.batch_size == 8


def test_a_last_batch_is_halved_by_what_is_in_it():
    llm = Recorder(batch_size=16, memory=10)
    done = list(complete_all(llm, [request(str(n), "x" * 5) for n in range(3)]))
    assert [len(batch) for batch in llm.batches] == [3, 1, 1, 1]
    assert len(done) == 3


def test_one_prompt_that_does_not_fit_is_named():
    llm = Recorder(batch_size=2, memory=5)
    with pytest.raises(UserError, match=r"'long', 6 tokens, max_tokens 7"):
        list(complete_all(llm, [request("short", "x"), request("long", "x" * 6, max_tokens=7)]))


def test_no_requests_and_no_missing_answers():
    assert list(complete_all(Recorder(batch_size=2), [])) == []
    llm = Recorder(batch_size=2)
    llm.complete_batch = lambda requests: [Completion(text="only one")]
    with pytest.raises(ValueError, match="zip"):
        list(complete_all(llm, [request("a", "x"), request("b", "x")]))


@pytest.mark.parametrize("name", KNOWN)
def test_fake_answers_depend_on_the_request_alone(name):
    requests = [request(str(n), f"Question {n}", max_tokens=50) for n in range(20)]
    llm, other = FakeLLM(f"fake/{name}"), FakeLLM(name)
    other.batch_size = 3
    first = {r.id: c for r, c in complete_all(llm, requests)}
    assert first == {r.id: c for r, c in complete_all(other, requests[::-1])}
    assert llm.fingerprint() == other.fingerprint()
    assert llm.fingerprint()["name"] == f"fake/{name}"
    assert all(c.output_tokens == len(c.text.split()) <= 50 for c in first.values())


def test_fake_answers():
    (echo,) = FakeLLM("echo").complete_batch([request("a", "Say  it\nagain")])
    assert (echo.text, echo.finish_reason) == ("Say  it\nagain", "stop")
    (cut,) = FakeLLM("echo").complete_batch([request("a", "Say  it\nagain", max_tokens=2)])
    assert (cut.text, cut.finish_reason, cut.output_tokens) == ("Say  it", "length", 2)
    one, two = FakeLLM("constant").complete_batch([request("a", "x"), request("b", "y")])
    assert one.text == two.text != ""
    words = FakeLLM("words").complete_batch([request(str(n), str(n)) for n in range(30)])
    assert len({c.text for c in words}) == 30
    assert len({c.output_tokens for c in words}) > 10


def test_fake_words_use_the_seed_only_where_tokens_are_drawn():
    llm, greedy = FakeLLM("words"), request("a", "x", seed=1)
    drawn = replace(greedy, sampling=Sampling(temperature=1.0, seed=1))
    again = replace(greedy, sampling=Sampling(temperature=1.0, seed=2))
    other = replace(greedy, sampling=Sampling(seed=2))
    texts = [c.text for c in llm.complete_batch([greedy, other, drawn, again])]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_an_unknown_fake_names_the_known():
    with pytest.raises(UserError, match=r"'fake/what'.*fake/echo"):
        FakeLLM("what")
