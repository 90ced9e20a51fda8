"""A judge without a model, for demonstrations and tests: the longer answer is the better one.

It reads the prompts of our judges, what was asked and in which form, and its verdict follows from
the lengths alone. Nothing that an answer says can change how it replies.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from judges.backends.base import Request
from judges.prompting.quoting import pieces

_CHARACTERS = 400
"""At this length an answer is half as good as can be; so much more makes it e times as likely."""


def judge_reply(request: Request) -> str:
    """The reply in the form that is asked for, or a sentence where the prompt asks for none."""
    own, lengths = _taken_apart(request)
    asked = re.search(r"In place of the dots write (.*?)\. Write the code", own, re.DOTALL)
    nonce = re.search(r"VERDICT (\w+):" if asked else r'"code": "(\w+)"', own)
    reasons = ", ".join(f"{label}: {n} characters" for label, n in lengths.items())
    if request.schema is not None and nonce and lengths:
        properties = request.schema.get("properties", {})
        verdict = _verdict(json.dumps(properties.get("verdict")), lengths)
        if isinstance(verdict, list):
            verdict = {str(n): tick for n, tick in enumerate(verdict, 1)}
        whole: dict[str, Any] = {"code": nonce[1], "reasoning": reasons, "verdict": verdict}
        return json.dumps({key: whole[key] for key in properties if key in whole})
    if asked and nonce and lengths:
        verdict = _verdict(asked[1], lengths)
        if isinstance(verdict, list):
            verdict = ", ".join(f"{n} {'yes' if t else 'no'}" for n, t in enumerate(verdict, 1))
        line = f"VERDICT {nonce[1]}: {verdict}"
        return f"{reasons}\n{line}" if "First give your reasons" in own else line
    if labels := _labels(own):
        return labels[int(_lead(lengths) > 0)]
    return "This is no prompt of a judge."


def judge_logprobs(request: Request) -> tuple[tuple[str, float], ...]:
    """The two labels with their log-probabilities, the likelier first; none without labels."""
    own, lengths = _taken_apart(request)
    labels = _labels(own)
    if not labels:
        return ()
    lead = _lead(lengths) / _CHARACTERS
    likelier, other = labels if lead <= 0 else labels[::-1]
    surprise = math.log1p(math.exp(-abs(lead)))
    return ((likelier, -surprise), (other, -abs(lead) - surprise))[: request.top_logprobs]


def _taken_apart(request: Request) -> tuple[str, dict[str, int]]:
    """Our own text of the prompt, and the characters of each answer by the label of its frame."""
    own, lengths = "", {}
    for turn in request.messages:
        for text, is_data in pieces(turn.content):
            if not is_data:
                own += text
            elif label := re.search(r"\[begin ((?:first |second |)answer) \w+\]\n\Z", own):
                lengths[label[1]] = len(text)
    # An empty answer leaves no data behind in its frame.
    for label in re.findall(r"\[begin ((?:first |second |)answer) \w+\]", own):
        lengths.setdefault(label, 0)
    return own, lengths


def _lead(lengths: Mapping[str, int]) -> int:
    """How many characters more the second answer has."""
    return lengths.get("second answer", 0) - lengths.get("first answer", 0)


def _verdict(asked: str, lengths: Mapping[str, int]) -> Any:
    """A word, a number, or a list of ticks: whatever the form wants."""
    characters = lengths.get("answer", 0)
    if "whole number from" in asked or '"integer"' in asked:
        numbers = [int(number) for number in re.findall(r"-?\d+", asked)]
        share = characters / (characters + _CHARACTERS)
        return min(numbers) + round((max(numbers) - min(numbers)) * share)
    if "number from 1 to" in asked or '"boolean"' in asked:
        return [characters >= 40 * int(n) for n in _criteria(asked)]
    if _lead(lengths) == 0 and "tie" in asked:
        return "tie"
    return "second" if _lead(lengths) > 0 else "first"


def _criteria(asked: str) -> range:
    """The numbers of the criteria to be ticked."""
    return range(1, 1 + max(int(number) for number in re.findall(r"\d+", asked)))


def _labels(own: str) -> tuple[str, str] | None:
    found = re.search(
        r"one label and nothing else: (\S+) if the first answer is better, (\S+) if", own
    )
    return (found[1], found[2]) if found else None
