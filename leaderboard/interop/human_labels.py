"""Files of human labels as other projects publish them, row by row in our terms.

One reader a kind of file, and only here is a foreign encoding of labels converted: everything
behind it holds the preference for output 2, with 0.5 for a tie. Which kind a file is, and what its
rows are together, is told in `leaderboard.validity.human_files`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from judges.errors import UserError
from judges.schema import Message, Order, Role
from leaderboard.interop.labelled import (
    UNNAMED,
    Classes,
    Kind,
    LabelledPair,
    Row,
    Verdict,
    both,
    label,
    name_of,
    question,
    text,
)
from leaderboard.user_files import read_rows

# ------------------------------------------------------------------------------------- AlpacaEval
_ALPACA_EVAL: Classes = {1: 0.0, 2: 1.0, 1.5: 0.5, 0: 0.5}


def _alpaca_eval(row: Row, where: str) -> LabelledPair:
    annotator = name_of(row, where, "annotator", "annotator_index")
    preference = label(row, where, "preference", _ALPACA_EVAL)
    return LabelledPair(
        where=where,
        messages=question(row, where, "instruction"),
        outputs=both(row, where, "output_1", "output_2"),
        generators=_generators(row, where, "generator_1", "generator_2"),
        category=str(row.get("dataset") or ""),
        labels={annotator: preference},
    )


def _generators(row: Row, where: str, first: str, second: str) -> tuple[str, str]:
    one, two = (
        text(row, where, name) if row.get(name) else unnamed
        for name, unnamed in zip((first, second), UNNAMED, strict=True)
    )
    return one, two


# ------------------------------------------------------------------------------------------ Arena
_WINNERS: Classes = {"model_a": 0.0, "model_b": 1.0, "tie": 0.5, "tie (bothbad)": 0.5}
ARENA_LEFT_OUT = (
    "the turns before the last answer differ, so that they are no two answers to one conversation"
)


def _arena(row: Row, where: str) -> LabelledPair | None:
    if "conversation_a" in row:
        one, two = (_conversation(row, where, f"conversation_{side}") for side in "ab")
    else:
        turns = question(row, where, "prompt")
        one, two = ((*turns, Message("assistant", text(row, where, f"response_{s}"))) for s in "ab")
    judge = name_of(row, where, "judge", "annotator")
    preference = label(row, where, "winner", _WINNERS)
    if one[:-1] != two[:-1]:
        return None
    return LabelledPair(
        where=where,
        messages=one[:-1],
        outputs=(one[-1].content, two[-1].content),
        generators=_generators(row, where, "model_a", "model_b"),
        category=str(row.get("category") or ""),
        labels={judge: preference},
    )


def _conversation(row: Row, where: str, name: str) -> tuple[Message, ...]:
    """The turns up to the answer that was judged: all, or the first `turn` rounds."""
    turns = row.get(name)
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: {name} is not valid JSON ({error})") from None
    rounds = row.get("turn")
    if isinstance(rounds, str) and rounds.isdecimal():
        rounds = int(rounds)
    if isinstance(turns, list) and isinstance(rounds, int) and rounds > 0:
        turns = turns[: 2 * rounds]
    if not isinstance(turns, list) or len(turns) < 2 or len(turns) % 2:
        raise UserError(f"{where}: {name} must be a list of turns, question and answer in turn")
    read: list[Message] = []
    for number, turn in enumerate(turns):
        role: Role = "assistant" if number % 2 else "user"
        if not isinstance(turn, dict) or turn.get("role") != role:
            raise UserError(f"{where}: turn {number + 1} of {name} must have the role {role}")
        read.append(Message(role, text(turn, f"{where}: {name}", "content")))
    return tuple(read)


# ---------------------------------------------------------------------------------------- PandaLM
_TWO_AND_TIE: Classes = {1: 0.0, 2: 1.0, 0: 0.5, "tie": 0.5}
_PANDALM_ANNOTATOR = re.compile(r"annotator_?\d+")
_PANDALM_JUDGES = ("gpt_3_5_turbo", "pandalm_7b", "gpt_result", "pandalm_result")


def _pandalm(row: Row, where: str) -> LabelledPair:
    row = {name: _pandalm_cell(value) for name, value in row.items()}
    models = str(row.get("model_pair") or row.get("cmp_key") or "").split("_")
    people = [name for name in row if _PANDALM_ANNOTATOR.fullmatch(name)]
    return LabelledPair(
        where=where,
        id=name_of(row, where, "idx"),
        messages=question(row, where, "instruction"),
        outputs=both(row, where, "response_1", "response_2"),
        generators=(models[0], models[1]) if len(models) == 2 else UNNAMED,
        category=str(row.get("source_app") or row.get("motivation_app") or ""),
        labels={name: label(row, where, name, _TWO_AND_TIE) for name in people},
        verdicts=[
            Verdict(judge=name, order="none", preference=_verdict(row, where, name, _TWO_AND_TIE))
            for name in _PANDALM_JUDGES
            if name in row
        ],
    )


def _pandalm_cell(value: object) -> object:
    """Its texts went through a table on their way: there an answer "True" became true, and an
    empty one NaN."""
    if isinstance(value, bool):
        return str(value)
    return "" if isinstance(value, float) and math.isnan(value) else value


def _verdict(row: Row, where: str, name: str, classes: Classes) -> float | None:
    """A judge's verdict; empty, and in PandaLM's own files "garbage", is one that was not read."""
    return None if row[name] in (None, "", "garbage") else label(row, where, name, classes)


# ------------------------------------------------------------------------------ Auto-J, FairEval
_FROM_ZERO: Classes = {0: 0.0, 1: 1.0, 2: 0.5}


def _auto_j(row: Row, where: str) -> LabelledPair:
    orders: Mapping[str, Order] = {"auto_j": "original", "auto_j_swapped": "swapped"}
    named = "human_label" if "human_label" in row else "label"
    return LabelledPair(
        where=where,
        id=name_of(row, where, "idx"),
        messages=question(row, where, "prompt"),
        outputs=both(row, where, "response_1", "response_2"),
        category=text(row, where, "scenario_group", "scenario"),
        labels={None: label(row, where, named, _FROM_ZERO)},
        verdicts=[
            Verdict(judge="auto_j", order=order, preference=_verdict(row, where, name, _FROM_ZERO))
            for name, order in orders.items()
            if name in row
        ],
    )


def _fair_eval(row: Row, where: str) -> LabelledPair:
    return LabelledPair(
        where=where,
        id=name_of(row, where, "question_id"),
        messages=question(row, where, "question"),
        outputs=both(row, where, "response_1", "response_2"),
        generators=_generators(row, where, "model_1", "model_2"),
        category=str(row.get("category") or ""),
        labels={None: label(row, where, "human_label", _TWO_AND_TIE)},
    )


# ----------------------------------------------------------------------------------------- LLMBar
_ONE_OR_TWO: Classes = {1: 0.0, 2: 1.0}


def _llmbar(row: Row, where: str) -> LabelledPair:
    named = "gold" if "gold" in row else "label"
    subset, number = row.get("subset"), row.get("example_id")
    return LabelledPair(
        where=where,
        id=None if number is None else f"{subset}-{number}" if subset else number,
        messages=question(row, where, "input"),
        outputs=both(row, where, "output_1", "output_2"),
        category=str(subset or ""),
        labels={"gold": label(row, where, named, _ONE_OR_TWO)},
    )


def llmbar_verdicts(path: Path) -> list[tuple[str, str, Verdict]]:
    """Place, pair's id and verdict of every row of the file that lies beside LLMBar's pairs.

    A judge is a model with a way of asking it. `verdict` names the output whatever the order.
    """
    found = []
    for where, row in read_rows(path):
        order = text(row, where, "order")
        if order not in ("original", "swapped"):
            raise UserError(f"{where}: order is {order!r}; known: original, swapped")
        judge = f"{text(row, where, 'judge')} {text(row, where, 'strategy')}"
        preference = _verdict(row, where, "verdict", _ONE_OR_TWO)
        verdict = Verdict(
            judge=judge,
            order="original" if order == "original" else "swapped",
            preference=preference,
        )
        found.append((where, f"{text(row, where, 'subset')}-{row.get('example_id')}", verdict))
    return found


_ONE_LABEL = "There is one label an item; how many people stand behind it, the file does not say."
_RESPONSES = (("response_1", "response1", "response 1"), ("response_2", "response2", "response 2"))
_PROMPTS = ("instruction", "messages", "prompt", "query", "question")

LLMBAR = Kind(
    name="LLMBar",
    needs=(("input",), ("output_1",), ("output_2",), ("gold", "label")),
    without=_PROMPTS,
    read=_llmbar,
    note="The labels are gold labels: one of the two answers follows the instruction.",
)
KINDS = (
    Kind(
        name="model_a/model_b/winner, as of Chatbot Arena",
        needs=(
            ("model_a",), ("model_b",), ("winner",),
            ("conversation_a", "prompt"), ("conversation_b", "response_b"),
        ),
        read=_arena,
    ),
    Kind(
        name="PandaLM",
        needs=(("instruction",), *_RESPONSES, ("annotator_1", "annotator1")),
        read=_pandalm,
    ),
    Kind(
        name="Auto-J",
        needs=(("scenario",), ("prompt",), *_RESPONSES, ("human_label", "label")),
        read=_auto_j,
        note=_ONE_LABEL,
    ),
    Kind(
        name="FairEval",
        needs=(("question",), *_RESPONSES, ("human_label",)),
        read=_fair_eval,
        note=_ONE_LABEL,
    ),
    LLMBAR,
    Kind(
        name="AlpacaEval",
        needs=(("instruction",), ("output_1",), ("output_2",), ("preference",)),
        without=("label", "messages"),
        read=_alpaca_eval,
    ),
)  # fmt: skip
"""Every foreign kind. What a file is called by must tell it from all others."""
