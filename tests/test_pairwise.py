"""The judge that asks which of two answers is better."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.asking.verdicts import NO_VERDICT, OTHER_VERDICT
from judges.backends.base import Completion, Request
from judges.base import Shown, Verdict, annotate, presentations
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.kinds.pairwise import Pairwise
from judges.prompting.quoting import for_server
from judges.prompting.templates import packaged_prompts
from judges.records import digest
from judges.schema import Comparison, Instruction, Message

TASK = Task(board="toy", row="new")
PROMPTS = sorted(set(packaged_prompts()) & {
    "pairwise", "pairwise_direct", "pairwise_guidelines", "pairwise_example", "pairwise_brief",
})  # fmt: skip


@dataclass
class Scripted:
    """A model in this process whose completion is a function of the prompt."""

    answer: Callable[[Request], Completion]
    batch_size: int = 4
    asked: list[Request] = field(default_factory=list)

    @property
    def settings(self):
        return {}

    def fingerprint(self):
        return {"name": "scripted"}

    def render(self, messages):
        return "\n".join(turn.content for turn in messages)

    def length(self, request):
        return len(self.render(request.messages).split())

    def complete_batch(self, requests):
        self.asked += requests
        return [self.answer(request) for request in requests]

    def close(self):
        pass


def comparison(first: str = "Red.", second: str = "Blue.", **instruction) -> Comparison:
    asked = Instruction(id="i", messages=(Message("user", "A colour?"),), **instruction)
    return Comparison(
        id="c", instruction=asked, output_1=first, output_2=second, generator_1="a", generator_2="b"
    )


def prompt(judge: Pairwise, view: Shown) -> str:
    return "\n\n".join(for_server(turn.content) for turn in judge.requests(view)[0].messages)


def reply(judge: Pairwise, view: Shown, verdict: str) -> str:
    nonce = judge.nonce_about(view.instruction, {"first": view.first, "second": view.second})
    return judge.verdict_form.write(verdict, nonce, "Because.")


def judged(judge: Pairwise, view: Shown, text: str, **settings) -> Verdict:
    """What the judge makes of a reply, called as it is in a run."""
    model = Scripted(lambda _: Completion(text=text, **settings))
    with Caller(opener=lambda _: model) as caller:
        return next(iter(judge.judge([view], caller, TASK, fresh=True)))


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HERDBOOK_DATABASE", f"sqlite:///{tmp_path / 'cache.sqlite'}")


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("reasoning", [True, False])
def test_the_preference_is_for_the_second_shown(name, form, reasoning):
    judge = Pairwise(name="j", model="fake/x", prompt=name, form=form, reasoning=reasoning)
    for order in ("original", "swapped"):
        view = Shown(comparison(), order)
        for verdict, preference in (("first", 0.0), ("second", 1.0), ("tie", 0.5)):
            assert judged(judge, view, reply(judge, view, verdict)).preference == preference


def test_both_orders_come_back_as_one_preference():
    judge = Pairwise(name="j", model="fake/x")

    def prefers_blue(request: Request) -> Completion:
        text = request.messages[-1].content
        order = "original" if text.index("Blue") > text.index("Red") else "swapped"
        blue = "second" if order == "original" else "first"
        return Completion(text=reply(judge, Shown(comparison(), order), blue))

    model = Scripted(prefers_blue)
    shown = presentations(judge, [comparison()], "both", 0)
    with Caller(opener=lambda _: model) as caller:
        annotations = [annotation for annotation, _ in annotate(judge, shown, caller, TASK)]
    assert [(a.order, a.preference) for a in annotations] == [("original", 1.0), ("swapped", 1.0)]
    assert len(model.asked) == 2


def test_equal_answers_are_a_tie_without_a_call():
    judge = Pairwise(name="j", model="fake/x")
    model = Scripted(lambda _: Completion(text="never"))
    shown = presentations(judge, [comparison("Red.", "Red.")], "both", 0)
    with Caller(opener=lambda _: model) as caller:
        assert [v.preference for v in judge.judge(shown, caller, TASK)] == [0.5, 0.5]
    assert model.asked == []


def test_without_ties_a_tie_is_missing():
    judge = Pairwise(name="j", model="fake/x", ties=False)
    view = Shown(comparison(), "original")
    assert "tie" not in judge.verdict_form.instructions()
    verdict = judged(judge, view, reply(judge, view, "tie"))
    assert (verdict.preference, verdict.error) == (None, OTHER_VERDICT)


@pytest.mark.parametrize(
    ("text", "settings", "error"),
    [
        ("I like both.", {}, NO_VERDICT),
        ("", {}, "the reply is empty"),
        ("VERDICT", {"finish_reason": "length"}, "the reply ran into max_tokens"),
        ("", {"finish_reason": "refused"}, "the provider kept the reply back"),
    ],
)
def test_a_missing_verdict_says_why(text, settings, error):
    judge = Pairwise(name="j", model="fake/x")
    verdict = judged(judge, Shown(comparison(), "original"), text, **settings)
    assert (verdict.preference, verdict.error) == (None, error)
    assert len(verdict.calls) == 1


def test_a_verdict_on_other_answers_is_none_on_these():
    judge = Pairwise(name="j", model="fake/x")
    other = reply(judge, Shown(comparison(second="Green."), "original"), "second")
    assert judged(judge, Shown(comparison(), "original"), other).preference is None


def test_a_request_says_what_the_settings_say():
    judge = Pairwise(
        name="j",
        model="openai/m",
        temperature=0.0,
        max_tokens=300,
        extra={"reasoning_effort": "low"},
    )
    (request,) = judge.requests(Shown(comparison(), "original"))
    assert (request.sampling.temperature, request.sampling.max_tokens) == (0.0, 300)
    assert (request.sampling.top_p, request.sampling.seed) == (None, None)
    assert request.extra == {"reasoning_effort": "low"}
    assert list(request.schema["properties"]) == ["reasoning", "code", "verdict"]
    assert request.schema["properties"]["verdict"]["enum"] == ["first", "second", "tie"]
    # Servers compile a schema once: it is the same for every comparison.
    assert judge.requests(Shown(comparison("x", "y"), "original"))[0].schema == request.schema
    (plain,) = Pairwise(name="j", model="fake/m").requests(Shown(comparison(), "original"))
    assert plain.schema is None


@pytest.mark.parametrize("name", PROMPTS)
def test_what_the_judge_is_shown(name):
    view = Shown(comparison(gold_answer="Green.", checks=({"kind": "words", "max": 3},)), "swapped")
    bare = prompt(Pairwise(name="j", model="openai/m", prompt=name), view)
    assert "Green." not in bare
    assert "3 words" not in bare
    assert "[begin correct answer" not in bare
    assert "\n\n\n" not in bare
    # In the order shown, and what to do comes last.
    places = [bare.index(t) for t in ("A colour?", "Blue.", "Red.", '"verdict"')]
    assert places == sorted(places)
    full = prompt(
        Pairwise(
            name="j", model="openai/m", prompt=name, persona="You teach chemistry.",
            show_gold=True, show_criteria=True,
        ),
        view,
    )  # fmt: skip
    for text in ("[begin correct answer", "Green.", "1. The answer has at most 3 words."):
        assert text in full
    assert full.startswith("You teach chemistry.")


def test_settings_that_the_prompt_has_no_place_for(tmp_path):
    bare = "{conversation} {first} {second} {form}"
    (tmp_path / "bare.toml").write_text(f"user = '{bare}'", encoding="utf-8")
    Pairwise(name="j", model="openai/m", prompt="bare.toml", folder=tmp_path)
    for wanted, name in (
        ({"show_gold": True}, "gold"), ({"show_criteria": True}, "criteria"), ({"persona": "x"}, "persona"),
    ):  # fmt: skip
        with pytest.raises(
            UserError, match=rf"judge j: its prompt .*bare.toml must hold \{{{name}\}}"
        ):
            Pairwise(name="j", model="openai/m", prompt="bare.toml", folder=tmp_path, **wanted)
    for name in ("conversation", "first", "second", "form"):
        lacking = bare.replace(f"{{{name}}}", "")
        (tmp_path / "lacking.toml").write_text(f"user = '{lacking}'", encoding="utf-8")
        with pytest.raises(UserError, match=rf"must hold \{{{name}\}}"):
            Pairwise(name="j", model="openai/m", prompt="lacking.toml", folder=tmp_path)


def test_an_instruction_that_lacks_what_is_to_be_shown():
    judge = Pairwise(name="j", model="openai/m", show_gold=True)
    assert "gold" in judge.obstacle(comparison().instruction)
    assert judge.obstacle(comparison(gold_answer="x").instruction) is None


def test_the_identity_follows_all_that_changes_a_verdict(tmp_path):
    (tmp_path / "mine.toml").write_text(
        "user = '{conversation} {first} {second} {form}'", encoding="utf-8"
    )
    judges = [
        Pairwise(name="j", model="openai/m"),
        Pairwise(name="j", model="openai/n"),
        Pairwise(name="j", model="openai/m", reasoning=False),
        Pairwise(name="j", model="openai/m", ties=False),
        Pairwise(name="j", model="openai/m", form="text"),
        Pairwise(name="j", model="openai/m", prompt="pairwise_brief"),
        Pairwise(name="j", model="openai/m", prompt="mine.toml", folder=tmp_path),
        Pairwise(name="j", model="openai/m", temperature=0.0),
        Pairwise(name="j", model="openai/m", temperature=1.0),
        Pairwise(name="j", model="openai/m", seed=0),
        Pairwise(name="j", model="openai/m", persona="x"),
        Pairwise(name="j", model="openai/m", show_gold=True),
        Pairwise(name="j", model="openai/m", extra={"reasoning_effort": "low"}),
    ]
    identities = {json.dumps(judge.identity(), sort_keys=True) for judge in judges}
    assert len(identities) == len(judges)
    same = Pairwise(name="k", model="openai/m", form="json", base_url="http://x", api_key_env="K")
    assert same.identity() == judges[0].identity()


@given(st.text(), st.text(), st.sampled_from(["first", "second", "tie"]), st.booleans())
def test_any_two_answers_can_be_judged(first, second, said, reasoning):
    judge = Pairwise(name="j", model="fake/x", reasoning=reasoning)
    view = Shown(comparison(first, second), "original")
    if first == second:
        assert judge.requests(view) == []
        return
    verdict = judge.read(view, [Completion(text=reply(judge, view, said))])
    assert verdict.preference == {"first": 0.0, "second": 1.0, "tie": 0.5}[said]


def test_the_order_inside_a_further_parameter_is_another_judge():
    def identity(extra: dict) -> str:
        return digest(Pairwise(name="j", model="openai/m", extra=extra).identity())

    one, other = {"why": {"type": "string"}}, {"verdict": {"type": "string"}}
    first, second = ({"tools": [{"properties": p}]} for p in (one | other, other | one))
    assert identity(first) != identity(second)
    assert identity({"a": 1, "b": 2}) == identity({"b": 2, "a": 1})
    assert identity({"logit_bias": {1: 5, "x": 6}}) != identity({"logit_bias": {1: 5, "x": 7}})
