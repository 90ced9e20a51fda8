"""The judge that reads its preference from the probabilities of two labels."""

from __future__ import annotations

import json
import math

import pytest
from test_pairwise import TASK, Scripted, comparison, prompt

from judges.backends.base import Completion
from judges.base import Shown, Verdict
from judges.calling.caller import Caller
from judges.errors import UserError
from judges.kinds.pairwise_logprob import NO_LABEL, NO_LOGPROBS, PairwiseLogprob
from judges.prompting.quoting import for_server

VIEW = Shown(comparison(), "original")


def logs(**probabilities: float) -> tuple[tuple[str, float], ...]:
    return tuple((token, math.log(p)) for token, p in probabilities.items())


def read(judge: PairwiseLogprob, logprobs, text: str = "A") -> Verdict:
    return judge.read(VIEW, [Completion(text=text, finish_reason="length", logprobs=logprobs)])


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HERDBOOK_DATABASE", f"sqlite:///{tmp_path / 'cache.sqlite'}")


@pytest.mark.parametrize(
    ("listed", "preference"),
    [
        ([("A", 0.6), ("B", 0.2)], 0.25),
        ([("B", 0.9), ("A", 0.1)], 0.9),
        ([("A", 0.3), (" A", 0.2), ("B", 0.1), ("B\n", 0.15), ("a", 0.2), ("Both", 0.05)], 1 / 3),
        ([("A", 0.9), ("The", 0.1)], 0.0),
        ([("The", 0.9), ("B", 1e-9)], 1.0),
    ],
)
def test_the_preference_is_the_share_of_the_second_label(listed, preference):
    logprobs = tuple((token, math.log(p)) for token, p in listed)
    judge = PairwiseLogprob(name="j", model="openai/m")
    assert read(judge, logprobs).preference == pytest.approx(preference, abs=1e-12)
    # What was written in the end does not count.
    assert read(judge, logprobs, text="B is better").preference == pytest.approx(preference)


@pytest.mark.parametrize(
    ("logprobs", "error"),
    [
        (None, NO_LOGPROBS),
        ((), NO_LOGPROBS),
        (logs(a=0.5, b=0.5), NO_LABEL),
        (logs(The=0.5, AB=0.5), NO_LABEL),
        ((("A", -math.inf), ("B", -math.inf)), NO_LABEL),
        ((("A", math.nan), ("B", -1.0)), NO_LOGPROBS),
        ((("A", 1000.0), ("B", -1.0)), NO_LOGPROBS),
        ((("A", 3.0), ("B", -1.0)), NO_LOGPROBS),
        ((("A", -0.1), ("A", -0.1), ("B", -3.0)), NO_LOGPROBS),
        ((("A", -1e9), ("B", -1e9)), NO_LABEL),
    ],
)
def test_without_the_labels_there_is_no_verdict(logprobs, error):
    verdict = read(PairwiseLogprob(name="j", model="openai/m"), logprobs)
    assert (verdict.preference, verdict.error) == (None, error)


def test_a_reply_cut_after_its_first_token_is_whole():
    judge = PairwiseLogprob(name="j", model="fake/x")
    model = Scripted(
        lambda _: Completion(text="A", finish_reason="length", logprobs=logs(A=0.8, B=0.2))
    )
    with Caller(opener=lambda _: model) as caller:
        (verdict,) = judge.judge([VIEW], caller, TASK, fresh=True)
    assert verdict.preference == pytest.approx(0.2)
    (request,) = model.asked
    assert request.sampling.max_tokens == 1
    assert request.top_logprobs == 20
    assert request.schema is None


def test_labels_of_ones_own():
    judge = PairwiseLogprob(name="j", model="openai/m", first_label="1", second_label="2")
    said = prompt(judge, VIEW)
    assert said.rstrip().endswith(
        "1 if the first answer is better, 2 if the second answer is better."
    )
    verdict = read(judge, (("1", math.log(0.2)), ("2", math.log(0.6)), ("A", math.log(0.2))))
    assert verdict.preference == pytest.approx(0.75)


def test_equal_answers_are_a_tie_without_a_call():
    judge = PairwiseLogprob(name="j", model="openai/m")
    view = Shown(comparison("Red.", "Red."), "swapped")
    assert judge.requests(view) == []
    assert judge.read(view, []).preference == 0.5


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"first_label": "B"}, "two different texts"),
        ({"first_label": ""}, "two different texts"),
        ({"second_label": " B"}, "two different texts"),
        ({"top_logprobs": 4}, "must lie in 5..20, not 4"),
        ({"top_logprobs": 21}, "must lie in 5..20, not 21"),
        ({"prompt": "no_such"}, "no such file"),
    ],
)
def test_settings_that_cannot_be(settings, complaint):
    with pytest.raises(UserError, match=complaint):
        PairwiseLogprob(name="j", model="openai/m", **settings)


def test_the_identity_follows_all_that_changes_a_verdict():
    judges = [
        PairwiseLogprob(name="j", model="openai/m", **settings)
        for settings in ({}, {"first_label": "C"}, {"top_logprobs": 5}, {"max_tokens": 2})
    ]
    assert len({json.dumps(judge.identity(), sort_keys=True) for judge in judges}) == len(judges)


def test_what_the_judge_is_shown():
    view = Shown(comparison(gold_answer="Green.", checks=({"kind": "words", "max": 3},)), "swapped")
    said = prompt(
        PairwiseLogprob(name="j", model="openai/m", show_gold=True, show_criteria=True), view
    )
    places = [
        said.index(t) for t in ("A colour?", "3 words", "Green.", "Blue.", "Red.", "Reply with")
    ]
    assert places == sorted(places)
    assert for_server(said) == said
