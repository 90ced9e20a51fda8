"""Takes a reasoning model's thinking apart from its answer."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

_BEGIN = r"(<think>|<thinking>|\[THINK\])"
_END = r"(</think>|</thinking>|\[/THINK\])"
_OPEN = re.compile(rf"\s*{_BEGIN}", re.IGNORECASE)
_ANY_CLOSE = re.compile(_END, re.IGNORECASE)
_ANY_TAG = re.compile(f"{_BEGIN}|{_END}", re.IGNORECASE)
_OPEN_AT_END = re.compile(rf"{_BEGIN}\s*\Z", re.IGNORECASE)

TAGS = ("<think>", "</think>", "<thinking>", "</thinking>", "[THINK]", "[/THINK]")
"""The tags around thinking; where they are special tokens, they must survive the decoding."""


class Split(NamedTuple):
    """A completion taken apart; `finished` is False where the thinking never ended."""

    reasoning: str
    answer: str
    finished: bool


def opens_thinking(prompt: str) -> bool:
    """Whether the prompt ends with an opening tag, so that the model begins inside its thinking."""
    return _OPEN_AT_END.search(prompt) is not None


def begins_inside(text: str) -> bool:
    """Whether the first tag of a text is a closing one, as in an answer whose prompt is not known
    and held the opening one."""
    if "</" not in text and "[/" not in text:  # most texts hold no closing tag
        return False
    first = _ANY_TAG.search(text)
    return first is not None and first[2] is not None


def split_thinking(text: str, opened: bool) -> Split:
    """The thinking at the start of a completion, and the answer behind it.

    Thinking is every `<think>…</think>`, `<thinking>…</thinking>` or `[THINK]…[/THINK]` block, in
    any case, before any other text, and with `opened` (see `opens_thinking`, and `begins_inside`
    for the answers of others) all up to the first closing tag. Several blocks are joined by an
    empty line. Thinking without an end leaves an empty answer. A tag after the answer
    has begun is part of the answer, and a text without thinking is given back as it is.
    """
    thoughts: list[str] = []
    rest, close = text, _ANY_CLOSE
    if opened and (again := _OPEN.match(rest)):
        rest = rest[again.end() :]  # some models write the tag that the prompt has already
    inside = opened
    while True:
        if not inside:
            begin = _OPEN.match(rest)
            if begin is None:
                return Split(_join(thoughts), rest.lstrip() if thoughts else text, True)
            rest = rest[begin.end() :]
            tag = begin[1]
            close = re.compile(re.escape(f"{tag[0]}/{tag[1:]}"), re.IGNORECASE)
        end = close.search(rest)
        if end is None:
            return Split(_join([*thoughts, rest]), "", False)
        thoughts.append(rest[: end.start()])
        rest, inside = rest[end.end() :], False


def answer_begins(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], str], opened: bool
) -> int | None:
    """The place of the answer's first token that is not blank; None where there is no answer.

    In an answer that is all blank it is the first one, where no thinking stands before it.
    """
    text = decode(tokens)
    split = split_thinking(text, opened)
    if not tokens or not split.finished:
        return None
    if not split.answer.strip():
        return 0 if split.answer == text else None
    begin = len(text) - len(split.answer.lstrip())
    counts = range(1, len(tokens) + 1)
    return bisect_right(counts, begin, key=lambda n: len(decode(tokens[:n])))


def _join(thoughts: list[str]) -> str:
    return "\n\n".join(stripped for thought in thoughts if (stripped := thought.strip()))
