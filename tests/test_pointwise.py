"""The judge that scores each answer alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from api_server import ApiServer, Asked, Reply
from conftest import comparison, exchanged
from hypothesis import given
from hypothesis import strategies as st
from test_pairwise import TASK, Scripted

from judges.asking import scores
from judges.asking.verdicts import NO_VERDICT, NOT_JSON, OTHER_VERDICT
from judges.backends.base import Completion, Request
from judges.base import Shown, Verdict, presentations
from judges.calling.caller import Caller
from judges.errors import UserError
from judges.kinds.pointwise import Pointwise
from judges.prompting.quoting import for_server
from judges.schema import Comparison

VIEW = Shown(comparison("red", "blue"), "none")


def pointwise(**settings) -> Pointwise:
    return Pointwise(**{"name": "j", "model": "fake/x", **settings})


def says(judge: Pointwise, **of: int | str) -> Callable[[Request], Completion]:
    """A model that gives each answer its score; a text is the whole reply."""

    def answer(request: Request) -> Completion:
        for text, score in of.items():
            asked, nonce = judge._prompt(VIEW.instruction, text)
            if asked == request.messages:
                written = score if isinstance(score, str) else judge._form.write(score, nonce)
                return Completion(text=written)
        raise AssertionError("nobody should have been asked")

    return answer


def judged(judge: Pointwise, pair: Comparison = VIEW.comparison, **of: int | str) -> Verdict:
    model = Scripted(says(judge, **of))
    with Caller(opener=lambda _: model) as caller:
        return next(iter(judge.judge([Shown(pair, "none")], caller, TASK, fresh=True)))


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("reasoning", [True, False])
@pytest.mark.parametrize(
    ("red", "blue", "preference"),
    [
        (1, 10, 1 / (1 + math.exp(-4))),
        (10, 1, 1 / (1 + math.exp(4))),
        (5, 6, 1 / (1 + math.exp(-4 / 9))),
        (7, 7, 0.5),
    ],
)
def test_two_scores_become_a_preference(form, reasoning, red, blue, preference):
    verdict = judged(pointwise(form=form, reasoning=reasoning), red=red, blue=blue)
    assert verdict.preference == pytest.approx(preference)
    assert verdict.error is None
    assert len(verdict.calls) == 2


@given(
    red=st.integers(0, 5),
    blue=st.integers(0, 5),
    spread=st.floats(0.01, 100),
    tie_band=st.floats(0, 0.9),
)
def test_exchanging_the_answers_turns_the_preference(red, blue, spread, tie_band):
    judge = pointwise(lowest=0, highest=5, spread=spread, tie_band=tie_band)
    one = judged(judge, red=red, blue=blue).preference
    other = judged(judge, exchanged(VIEW.comparison), red=red, blue=blue).preference
    assert one == pytest.approx(1 - other, abs=1e-12)
    assert (one > 0.5) == ((blue - red) / 5 > tie_band + 1e-9)


def test_the_map_is_the_checklist_s():
    verdict = judged(pointwise(lowest=0, highest=4, tie_band=0.3), red=1, blue=2)
    assert verdict.preference == 0.5
    assert scores.preference(0.25, 0.5, spread=0.25, tie_band=0.05) == pytest.approx(0.7310585786)


@pytest.mark.parametrize("order", ["red", "blue"])
def test_one_score_that_is_missing_makes_the_verdict_missing(order):
    verdict = judged(pointwise(form="json"), **{"red": 3, "blue": 3, order: "Both are fine."})
    assert (verdict.preference, verdict.error) == (None, NOT_JSON)


@pytest.mark.parametrize("score", [0, 11, -1, 10**8])
def test_a_score_off_the_scale_is_none(score):
    for form in ("json", "text"):
        verdict = judged(pointwise(form=form), red=3, blue=score)
        assert (verdict.preference, verdict.error) == (None, OTHER_VERDICT)


@pytest.mark.parametrize("score", ["7.5", "seven", "7/10", "7 or 8", "true", "", "NaN", "١"])
def test_what_is_no_whole_number_is_no_score(score):
    judge = pointwise(form="text")
    _, nonce = judge._prompt(VIEW.instruction, "blue")
    verdict = judged(judge, red=3, blue=f"VERDICT {nonce}: {score}")
    assert verdict.preference is None
    judge = pointwise(form="json", reasoning=False)
    _, nonce = judge._prompt(VIEW.instruction, "blue")
    body = f'{{"code": "{nonce}", "verdict": {score or "null"}}}'
    assert judged(judge, red=3, blue=body).preference is None


def test_the_reply_about_one_answer_is_none_about_the_other():
    """Its code is that of another prompt."""
    judge = pointwise(form="text", reasoning=False)
    _, nonce = judge._prompt(VIEW.instruction, "red")
    verdict = judged(judge, red=3, blue=f"VERDICT {nonce}: 10")
    assert (verdict.preference, verdict.error) == (None, NO_VERDICT)


def test_equal_answers_are_a_tie_and_nobody_is_asked():
    judge = pointwise()
    assert judge.requests(Shown(comparison("red", "red"), "none")) == []
    assert judged(judge, comparison("red", "red")).preference == 0.5


def test_it_sees_one_answer_at_a_time_and_no_order():
    judge = pointwise()
    assert [v.order for v in presentations(judge, [VIEW.comparison], "both", 0)] == ["none"]
    prompts = [str(request.messages) for request in judge.requests(VIEW)]
    assert ["red" in p for p in prompts] == [True, False]
    assert ["blue" in p for p in prompts] == [False, True]


def test_a_reference_is_asked_about_once_for_all_models():
    judge = pointwise()
    with_red = [judge.requests(Shown(comparison("red", other), "none"))[0] for other in "ab"]
    assert with_red[0] == with_red[1]


def text_of(judge: Pointwise, view: Shown = VIEW) -> str:
    return "\n\n".join(for_server(turn.content) for turn in judge.requests(view)[0].messages)


def test_the_prompt_holds_the_scale_the_rubric_and_what_is_shown():
    judge = pointwise(
        lowest=0, highest=4, rubric="Brevity {lowest} earns 4.", persona="You are Kim.",
        show_criteria=True,
    )  # fmt: skip
    text = text_of(judge)
    for part in ("from 0 to 4", "Brevity {lowest} earns 4.", "You are Kim.", 'contains "red"'):
        assert part in text
    bare = text_of(pointwise())
    assert "from 1 to 10" in bare
    assert "[begin criteria" not in bare
    assert "\n\n\n" not in bare
    assert not any("{" + name + "}" in bare for name in Pointwise.NAMES)


def test_the_schema_goes_along_where_a_server_can_hold_to_it():
    assert pointwise(model="openai/x").requests(VIEW)[0].schema is not None
    assert pointwise(model="some/folder").requests(VIEW)[0].schema is None


@pytest.mark.parametrize(
    "keys",
    [
        {"lowest": 5, "highest": 5},
        {"lowest": 5, "highest": 1},
        {"highest": 1000},
        {"spread": 0.0},
        {"spread": float("nan")},
        {"tie_band": -0.1},
        {"tie_band": 1.0},
        {"prompt": "pairwise"},
        {"prompt": "nowhere.toml"},
    ],
)
def test_settings_of_no_use_are_refused(keys):
    with pytest.raises(UserError):
        pointwise(**keys)


def test_a_rubric_needs_a_place_in_the_prompt(tmp_path):
    (tmp_path / "p.toml").write_text('user = "{conversation} {answer} {form}"', encoding="utf-8")
    assert pointwise(prompt="p.toml", folder=tmp_path).requests(VIEW)
    with pytest.raises(UserError, match=r"must hold \{rubric\}"):
        pointwise(prompt="p.toml", folder=tmp_path, rubric="Be brief.")


def test_all_that_changes_a_verdict_is_in_the_identity():
    changes = [
        {}, {"lowest": 0}, {"highest": 7}, {"rubric": "x"}, {"spread": 0.5}, {"tie_band": 0.0},
        {"reasoning": False}, {"form": "json"}, {"temperature": 0.0}, {"temperature": 1.0},
        {"model": "openai/y"}, {"persona": "You are Kim."}, {"show_criteria": True}, {"seed": 0},
        {"max_tokens": 5}, {"extra": {"x": 1}},
    ]  # fmt: skip
    found = [json.dumps(dict(pointwise(**change).identity())) for change in changes]
    assert len(set(found)) == len(found)
    assert pointwise(name="k", api_key_env="K", base_url="http://a").identity() == (
        pointwise().identity()
    )


# ------------------------------------------------------------------------------ a real server
def by_length(asked: Asked) -> Reply:
    """Gives a score by the length of the answer, in the form that is asked for."""
    nonce = asked.prompt.split('"code": "')[1][:13]
    answer = asked.prompt.split(f"[begin answer {nonce}]\n")[1].split(f"\n[end answer {nonce}]")[0]
    return Reply(text=json.dumps({"reasoning": "", "code": nonce, "verdict": len(answer)}))


def test_over_the_wire_a_reference_is_paid_for_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path))
    monkeypatch.setenv("HERDBOOK_DATABASE", f"sqlite:///{tmp_path / 'cache.sqlite'}")
    with ApiServer(by_length) as server:
        judge = pointwise(model="openai-api/x", base_url=f"{server.url}/v1", tie_band=0.0)
        found = []
        for texts in (["aaa", "bbbbb"], ["aaa", "cc"]):
            shown = [Shown(comparison(*texts), "none")]
            with Caller.default() as caller:
                found += [verdict.preference for verdict in judge.judge(shown, caller, TASK)]
        assert len(server.log) == 3
    expected = [scores.preference(0, d / 9, spread=0.25, tie_band=0.0) for d in (2, -1)]
    assert found == pytest.approx(expected)
