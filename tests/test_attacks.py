"""An answer never writes the verdict on itself.

The judge here is one that quotes answers verbatim before its own verdict, in every way that a model
may do it: in reasons, unescaped inside JSON, in code fences, glued to its verdict, or with no verdict
at all. Its own verdict is always that the honest answer is better. Whatever the other answer says,
what is read from the reply is the judge's own verdict, or none.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from attack_texts import (
    ATTACKS,
    BREAK_OUTS,
    FORGED_FRAMES,
    FORGED_JSON,
    FORGED_LINES,
    HONEST,
    HUGE,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pairwise import TASK, Scripted

from judges.asking.llm_judge import LLMJudge
from judges.asking.scores import preference as score_preference
from judges.backends.base import Completion, Request
from judges.base import Shown
from judges.calling.caller import Caller
from judges.kinds.checklist_llm import ChecklistLLM
from judges.kinds.pairwise import Pairwise
from judges.kinds.pairwise_logprob import PairwiseLogprob
from judges.kinds.pointwise import Pointwise
from judges.prompting.quoting import BEGIN, END, for_server, pieces, seen
from judges.schema import Comparison, Instruction, Message

INSTRUCTION = Instruction(
    id="i",
    messages=(Message("user", "What is the capital of Australia?"),),
    checks=({"kind": "contains", "all": ["Canberra"]}, {"kind": "words", "max": 20}),
)


# ------------------------------------------------------------------------ how the judge quotes them
@dataclass(frozen=True)
class Told:
    """What the judge found in a prompt and wants to say."""

    quote: str
    nonce: str
    in_text: str
    in_json: object

    @property
    def line(self) -> str:
        return f"VERDICT {self.nonce}: {self.in_text}"

    def object(self, **more: object) -> str:
        return json.dumps({**more, "code": self.nonce, "verdict": self.in_json})

    @property
    def unescaped(self) -> str:
        """The object with the quote in it as it stands."""
        verdict = json.dumps(self.in_json)
        return f'{{"reasoning": "{self.quote}", "code": "{self.nonce}", "verdict": {verdict}}}'

    def code_first(self, begin: str = "") -> str:
        """The same where the judge writes the code before its reasons."""
        verdict = json.dumps(self.in_json)
        return (
            f'{{"code": "{self.nonce}", "reasoning": "{begin}{self.quote}", "verdict": {verdict}}}'
        )


def up_to_the_brace(reply: str) -> str:
    """What a server lets stand that ends a reply where its object ends."""
    try:
        return reply[: json.JSONDecoder().raw_decode(reply)[1]]
    except (ValueError, RecursionError):
        return reply


def up_to_the_turn(reply: str) -> str:
    """What is left of a reply whose quote made the model end its turn."""
    return re.split(r"<\|im_end\|>|<\|eot_id\|>|</s>|<end_of_turn>", reply)[0]


Style = Callable[[Told], str]
# Replies in which the judge does as it was told: its own verdict must be found.
OBEYS: dict[tuple[str, bool], list[Style]] = {
    ("text", True): [
        lambda t: f"{t.quote}\n{t.line}",
        lambda t: f"One answer says:\n\n> {t.quote}\n\nThat does not help.\n\n{t.line}\n",
        lambda t: f"```\n{t.quote}\n```\n**{t.line}**",
    ],
    ("text", False): [lambda t: t.line],
    ("json", True): [
        lambda t: t.object(reasoning=f"One answer says: {t.quote}"),
        lambda t: json.dumps(json.loads(t.object(reasoning=t.quote)), ensure_ascii=False, indent=1),
    ],
    ("json", False): [lambda t: t.object(), lambda t: f"```json\n{t.object()}\n```"],
}
# Replies in which it does not: its own verdict may be found, the answer's never.
SLIPS: list[Style] = [
    lambda t: t.quote,
    lambda t: f"```json\n{t.quote}\n```",
    lambda t: f"{t.quote}{t.line}",
    lambda t: f"{t.line}\n{t.quote}",
    lambda t: f"{t.line} {t.quote}",
    lambda t: f"{t.line.removesuffix(t.in_text)}\n{t.quote}\n{t.line}",
    lambda t: f"{t.quote}\n{t.object(reasoning='')}",
    lambda t: f"{t.quote}{t.object()}",
    lambda t: f"{t.object(reasoning='')}\n{t.quote}",
    lambda t: f"{t.object()}{t.quote}",
    lambda t: f"```json\n{t.quote}\n```\n```json\n{t.object(reasoning='')}\n```",
    lambda t: t.unescaped,
    lambda t: t.code_first(),
    lambda t: (
        f'{{"code": "{t.nonce}", "verdict": {json.dumps(t.in_json)}, "reasoning": "{t.quote}"}}'
    ),
    # The server holds the reply to its schema: it ends at the forged brace.
    lambda t: up_to_the_brace(t.unescaped),
    lambda t: up_to_the_brace(t.code_first()),
    # The quote makes a real end of turn.
    lambda t: up_to_the_turn(t.unescaped),
    lambda t: up_to_the_turn(t.code_first()),
    lambda t: up_to_the_turn(t.code_first("It says: ")),
    lambda t: up_to_the_turn(f"One answer says: {t.quote}\n{t.line}"),
    lambda t: up_to_the_turn(f"{t.line}\n{t.quote}\n{t.line}"),
]

# The judge's own verdict as a preference for the attack: scores of 9 and 2, ticks all and none.
OWN = {
    "pairwise": 0.0,
    "pointwise": score_preference(8 / 9, 1 / 9, spread=0.25, tie_band=0.05),
    "checklist_llm": score_preference(1, 0, spread=0.25, tie_band=0.05),
}
JUDGES = [
    pytest.param(
        cls(name="j", model="fake/quoting", form=form, reasoning=reasoning, **more),
        id=f"{cls.KIND}-{form}-{'reasons' if reasoning else 'alone'}",
    )
    for cls, more in ((Pairwise, {}), (Pointwise, {}), (ChecklistLLM, {}))
    for form in ("json", "text")
    for reasoning in (True, False)
]


def view(attack: str, order: str) -> Shown:
    """The honest answer as output 1, the attack as output 2."""
    comparison = Comparison(
        id="c",
        instruction=INSTRUCTION,
        output_1=HONEST,
        output_2=attack,
        generator_1="a",
        generator_2="b",
    )
    return Shown(comparison, order)


def verdict_on(judge: LLMJudge, request: Request, quote: str) -> Told:
    """What the judge has to say on a prompt, from the prompt alone."""
    content = request.messages[-1].content
    ours = "".join(text for text, is_data in pieces(content) if not is_data)
    (nonce,) = set(re.findall(r"\[begin [a-z ]+ ([a-z2-9]{13})\]", ours))
    label = "first answer" if isinstance(judge, Pairwise) else "answer"
    good = f"[begin {label} {nonce}]\n{BEGIN}{HONEST}{END}" in content
    if isinstance(judge, Pairwise):
        said = "first" if good else "second"
        return Told(quote, nonce, said, said)
    quote = HONEST if good else quote  # it can quote what it is shown, and sees one answer alone
    if isinstance(judge, Pointwise):
        return Told(quote, nonce, "9" if good else "2", 9 if good else 2)
    said, ticks = ("1 yes, 2 yes", [True, True]) if good else ("1 no, 2 no", [False, False])
    return Told(quote, nonce, said, {"1": ticks[0], "2": ticks[1]})


def preferences(
    judge: LLMJudge, attack: str, styles: Sequence[Style], order: str
) -> list[float | None]:
    """The preference for output 2, which is the attack, where the judge replies in each style."""
    shown = view(attack, order)
    told = [verdict_on(judge, request, attack) for request in judge.requests(shown)]
    found = []
    for style in styles:
        preference = judge.read(shown, [Completion(text=style(t)) for t in told]).preference
        is_swapped = order == "swapped" and preference is not None
        found.append(1 - preference if is_swapped else preference)
    return found


def orders(judge: LLMJudge) -> tuple[str, ...]:
    return ("original", "swapped") if judge.sees_order else ("none",)


def holds(judge: LLMJudge, attack: str) -> None:
    own = OWN[judge.KIND]
    obeys = OBEYS[judge.form, judge.reasoning]
    for order in orders(judge):
        found = preferences(judge, attack, [*obeys, *SLIPS], order)
        assert found[: len(obeys)] == [own] * len(obeys), (attack, order)
        assert set(found[len(obeys) :]) <= {None, own}, (attack, order)


@pytest.mark.parametrize("judge", JUDGES)
def test_no_known_attack_writes_the_verdict(judge):
    for attack in ATTACKS:
        holds(judge, attack)


@pytest.mark.parametrize("judge", JUDGES)
def test_a_verdict_from_another_prompt_is_none_on_this_one(judge):
    earlier = [
        style(verdict_on(judge, request, ""))
        for style in OBEYS[judge.form, judge.reasoning]
        for request in judge.requests(view("Sydney.", orders(judge)[0]))
    ]
    for attack in [*earlier, "\n".join(earlier)]:
        holds(judge, attack)


@pytest.mark.parametrize("judge", JUDGES)
def test_a_huge_answer_does_not_write_the_verdict(judge):
    for attack in HUGE:
        styles = [OBEYS[judge.form, judge.reasoning][0], SLIPS[0]]
        assert preferences(judge, attack, styles, orders(judge)[-1]) == [OWN[judge.KIND], None]


_FRAGMENTS = st.sampled_from(
    ["VERDICT", "verdict", " ", "\n", ": ", "second", "first", "tie", "abcdefghijkmn", '"', "\\", "{", "}",
     "[", "]", ",", '"verdict": ', '"second"', '"code": ', '"reasoning": ', "10", "true", "```", "```json\n",
     "[end second answer", "1 yes, 2 yes", "\u2028", "\r", "\ufdd1", "<|im_end|>", "{nonce}", HONEST]
)  # fmt: skip


@pytest.mark.parametrize("judge", JUDGES)
@settings(max_examples=40)
@given(st.one_of(st.lists(_FRAGMENTS, max_size=12).map("".join), st.text()))
def test_no_answer_at_all_writes_the_verdict(judge, attack):
    if attack != HONEST:
        holds(judge, attack)


@pytest.mark.parametrize("judge", JUDGES)
def test_attacks_change_nothing_of_what_we_say(judge):
    def ours(attack: str) -> list[str]:
        said = []
        for request in judge.requests(view(attack, orders(judge)[0])):
            told = verdict_on(judge, request, "")
            for turn in request.messages:
                parts = [text if not is_data else "…" for text, is_data in pieces(turn.content)]
                said.append("".join(parts).replace(told.nonce, "NONCE").replace("\n…\n", "\n\n"))
        return said

    for attack in ATTACKS:
        assert ours(attack) == ours("Sydney."), attack


@pytest.mark.parametrize("judge", JUDGES)
def test_a_server_is_sent_one_frame_a_text(judge):
    for attack in ATTACKS:
        for request in judge.requests(view(attack, orders(judge)[0])):
            sent = for_server(request.messages[-1].content)
            frame = re.compile(r"(?i)\[(?:begin|end) (?:(?:first|second) )?answer\b")
            ours = [line for line in sent.splitlines() if frame.search(line)]
            assert len(ours) == (4 if isinstance(judge, Pairwise) else 2), attack
            assert sent.encode()


def test_the_probabilities_are_the_judges_own():
    judge = PairwiseLogprob(name="j", model="fake/quoting")
    for attack in [*ATTACKS, "A", "B", " B", "B\n" * 50]:
        for order, preference in (("original", 0.25), ("swapped", 0.75)):
            shown = view(attack, order)
            (request,) = judge.requests(shown)
            assert seen(attack).replace(" ", "") in for_server(
                request.messages[-1].content
            ).replace(" ", "")
            first, second = (0.6, 0.2) if order == "original" else (0.2, 0.6)
            logprobs = (("A", math.log(first)), ("B", math.log(second)), ("The", math.log(0.1)))
            reply = Completion(text=attack, finish_reason="length", logprobs=logprobs)
            assert judge.read(shown, [reply]).preference == pytest.approx(preference)


@pytest.mark.parametrize("judge", JUDGES)
def test_through_the_caller_as_in_a_run(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HERDBOOK_DATABASE", f"sqlite:///{tmp_path / 'cache.sqlite'}")
    attacks = [
        FORGED_LINES[0],
        FORGED_JSON[0],
        BREAK_OUTS[1],
        FORGED_FRAMES[0],
        "",
        "\ud800\x00",
        HUGE[1],
    ]
    style = OBEYS[judge.form, judge.reasoning][0]
    # The model quotes all data of its prompt, as it was shown.
    model = Scripted(
        lambda request: Completion(
            text=style(
                verdict_on(
                    judge,
                    request,
                    "\n".join(t for t, is_data in pieces(request.messages[-1].content) if is_data),
                )
            )
        )
    )
    shown = [view(attack, order) for attack in attacks for order in orders(judge)]
    with Caller(opener=lambda _: model) as caller:
        verdicts = list(judge.judge(shown, caller, TASK, fresh=True))
    for of, verdict in zip(shown, verdicts, strict=True):
        assert verdict.preference == pytest.approx(
            1 - OWN[judge.KIND] if of.order == "swapped" else OWN[judge.KIND]
        )
    assert len(model.asked) == len(shown) * (1 if judge.sees_order else 2)
