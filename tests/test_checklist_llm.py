"""The judge that ticks criteria, and the criterion that only a reader can tick."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from conftest import comparison, exchanged, make_board, toy_instructions
from test_pairwise import TASK, Scripted

from judges.asking import scores
from judges.asking.verdicts import NO_VERDICT, OTHER_VERDICT
from judges.backends.base import Completion, Request
from judges.base import Shown, Verdict
from judges.calling.caller import Caller
from judges.criteria.share import Ask, is_question, parse, score
from judges.criteria.wording import describe
from judges.errors import UserError
from judges.kinds.checklist import Checklist
from judges.kinds.checklist_llm import ChecklistLLM
from judges.prompting.quoting import for_server
from judges.schema import Comparison, Instruction, Message

ASK = {"kind": "ask", "question": "Is the tone polite?"}
CHECKS = ({"kind": "contains", "all": ["red"], "weight": 3}, ASK, {"kind": "words", "max": 3})
PAIR = replace(
    comparison("red", "blue"),
    instruction=Instruction(id="i", messages=(Message("user", "A colour?"),), checks=CHECKS),
)
VIEW = Shown(PAIR, "none")
Ticks = tuple[bool, ...] | str


def ticking(**settings) -> ChecklistLLM:
    return ChecklistLLM(**{"name": "j", "model": "fake/x", **settings})


def judged(judge: ChecklistLLM, pair: Comparison = PAIR, **of: Ticks) -> Verdict:
    """The verdict on a pair whose answers get these ticks; a text is the whole reply."""

    def answer(request: Request) -> Completion:
        for text, ticks in of.items():
            asked, nonce = judge._prompt(pair.instruction, text)
            if asked == request.messages:
                form = judge.verdict_form(pair.instruction)
                return Completion(
                    text=ticks if isinstance(ticks, str) else form.write(ticks, nonce)
                )
        raise AssertionError("nobody should have been asked")

    model = Scripted(answer)
    with Caller(opener=lambda _: model) as caller:
        return next(iter(judge.judge([Shown(pair, "none")], caller, TASK, fresh=True)))


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("reasoning", [True, False])
@pytest.mark.parametrize(
    ("red", "blue", "shares"),
    [
        ((True, True, True), (False, True, True), (1, 0.4)),
        ((False, False, False), (True, False, False), (0, 0.6)),
        ((False, True, False), (False, False, True), (0.2, 0.2)),
    ],
)
def test_weighted_shares_of_ticks_become_a_preference(form, reasoning, red, blue, shares):
    verdict = judged(ticking(form=form, reasoning=reasoning), red=red, blue=blue)
    expected = scores.preference(*shares, spread=0.25, tie_band=0.05)
    assert verdict.preference == pytest.approx(expected)
    other = judged(ticking(form=form, reasoning=reasoning), exchanged(PAIR), red=red, blue=blue)
    assert other.preference == pytest.approx(1 - expected)


def test_with_the_ticks_of_the_program_it_says_what_the_checklist_says():
    pair = comparison("red", "a rather blue one")
    ticks = {
        text: tuple(score(text, [check]) == 1 for check in pair.instruction.checks)
        for text in (pair.output_1, pair.output_2)
    }
    found = judged(ticking(), pair, **ticks).preference
    (theirs,) = Checklist().judge([Shown(pair, "none")], Caller(), TASK)
    assert found == pytest.approx(theirs.preference)


ALL = (True, True, True)


@pytest.mark.parametrize("ticks", [(), (True,), (True, True), (True,) * 4])
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_tick_too_few_or_too_many_makes_the_verdict_missing(form, ticks):
    judge = ticking(form=form)
    _, nonce = judge._prompt(PAIR.instruction, "blue")
    numbered = {str(n): tick for n, tick in enumerate(ticks, 1)}
    said = ", ".join(f"{n} yes" for n in numbered)
    body = json.dumps({"reasoning": "", "code": nonce, "verdict": numbered})
    text = body if form == "json" else f"Because.\nVERDICT {nonce}: {said}"
    verdict = judged(judge, red=ALL, blue=text)
    assert verdict.preference is None
    assert verdict.error in (OTHER_VERDICT, NO_VERDICT)


@pytest.mark.parametrize(
    "ticks",
    [
        [True, True, True],
        {"1": True, "2": True, "4": True},
        {"1": True, "2": True, "3": "yes"},
        {"1": 1, "2": 1, "3": 1},
        {"1": True, "2": True, "3": None},
        "1 yes, 2 yes, 3 yes",
        True,
        None,
    ],
)
def test_ticks_that_are_none_are_not_guessed(ticks):
    judge = ticking(form="json", reasoning=False)
    _, nonce = judge._prompt(PAIR.instruction, "blue")
    body = json.dumps({"code": nonce, "verdict": ticks})
    verdict = judged(judge, red=ALL, blue=body)
    assert (verdict.preference, verdict.error) == (None, OTHER_VERDICT)


@pytest.mark.parametrize(
    "said", ["1 yes, 2 yes, 3 maybe", "1 yes, 3 yes, 2 yes", "yes, yes, yes", "1 yes 2 yes 3 yes"]
)
def test_a_line_of_ticks_is_in_order_and_whole(said):
    judge = ticking(form="text", reasoning=False)
    _, nonce = judge._prompt(PAIR.instruction, "blue")
    verdict = judged(judge, red=ALL, blue=f"VERDICT {nonce}: {said}")
    assert (verdict.preference, verdict.error) == (None, OTHER_VERDICT)


def test_the_prompt_lists_every_criterion_in_words_and_one_answer():
    first, second = ticking().requests(VIEW)
    text = "\n".join(for_server(turn.content) for turn in first.messages)
    for n, criterion in enumerate(CHECKS, 1):
        assert f"{n}. {describe(criterion)}" in text
    assert "Is the tone polite?" in text
    assert "weight" not in text
    assert "\nblue\n" not in text
    assert first.messages != second.messages


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("form", ["json", "text"])
def test_as_many_criteria_as_there_are_are_asked_for(form, count):
    asked = Instruction(id="i", messages=(Message("user", "Go"),), checks=CHECKS[:1] * count)
    judge = ticking(form=form, model="fake/judge")
    instructions = judge.verdict_form(asked).instructions()
    assert ("2" in instructions) == (count == 2 or (form == "text" and count > 1))
    pair = replace(PAIR, instruction=asked, output_1="x", output_2="x" * 400)
    with Caller() as caller:
        (verdict,) = judge.judge([Shown(pair, "none")], caller, TASK)
    assert verdict.preference > 0.9  # that model ticks more of a longer answer


def test_equal_answers_are_a_tie_and_nobody_is_asked():
    assert judged(ticking(), comparison("red", "red")).preference == 0.5


def test_it_needs_criteria(tmp_path):
    bare = Instruction(id="i", messages=(Message("user", "Go"),))
    assert "no criteria" in (ticking().obstacle(bare) or "")
    assert ticking().obstacle(PAIR.instruction) is None
    (tmp_path / "p.toml").write_text('user = "{conversation} {answer} {form}"', encoding="utf-8")
    with pytest.raises(UserError, match=r"must hold \{criteria\}"):
        ticking(prompt="p.toml", folder=tmp_path)


def test_all_that_changes_a_verdict_is_in_the_identity():
    changes = [{}, {"spread": 0.5}, {"tie_band": 0.0}, {"reasoning": False}, {"form": "json"},
               {"model": "openai/y"}, {"temperature": 0.0}, {"show_gold": True}]  # fmt: skip
    found = [json.dumps(dict(ticking(**change).identity())) for change in changes]
    assert len(set(found)) == len(found)


# ------------------------------------------------------------------------------- the kind `ask`
def test_a_question_is_a_criterion_like_any_other():
    assert parse({**ASK, "weight": 2}) == (Ask(question="Is the tone polite?"), 2.0)
    assert is_question(ASK)
    assert not is_question(CHECKS[0])
    assert describe(ASK) == 'A reader answers "Is the tone polite?" with yes.'


@pytest.mark.parametrize(
    ("criterion", "complaint"),
    [
        ({"kind": "ask"}, "missing parameter question"),
        ({"kind": "ask", "question": " "}, "must not be empty"),
        ({"kind": "ask", "question": 5}, "question must be a text"),
        ({"kind": "ask", "question": "x", "all": ["x"]}, "unknown parameter all"),
        ({"kind": "ask", "question": "x", "weight": 0}, "weight must be a positive number"),
        ({"kind": "asks"}, "known: .*ask"),
    ],
)
def test_a_question_that_is_none_is_refused(criterion, complaint):
    with pytest.raises(UserError, match=complaint):
        parse(criterion)


def test_no_program_answers_a_question():
    assert "only a reader" in (Checklist().obstacle(PAIR.instruction) or "")
    with pytest.raises(UserError, match="only a reader"):
        score("Thank you.", CHECKS)


def test_an_eval_set_may_ask_but_a_checklist_board_may_not(tmp_path):
    asked = [replace(i, checks=(*i.checks, ASK)) for i in toy_instructions(2)]
    with pytest.raises(UserError, match=r"judge checklist cannot judge 2 of 2.*only a reader"):
        make_board(tmp_path / "results" / "toy", asked)
    reader = {"judges": [{"kind": "checklist_llm", "name": "reader", "model": "fake/judge"}]}
    board = make_board(tmp_path / "results" / "other", asked, reader)
    assert board.instructions[0].checks[-1] == ASK
