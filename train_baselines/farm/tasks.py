"""The tasks of the farm: what is asked, what is true, and how a machine tells.

A task is of a kind (reverse these letters, sort these words, …), holds its own content, and may
come with wishes about the form (as a list, only the answer, …). Its checks are the farm's gold
utility: correctness weighs 4, each wish 2, to keep to the matter 2, and no repetition 2.

All texts are lower case, and made of a few hundred words, letters and numbers. An answer states its
result once, at its beginning or behind a courtesy, led in by words that end with "is" or "are", or
by none. What follows holds neither of these two words: with one of them a second result would come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

LETTERS = "bcdefghjklmnopqrstuvwxyz"  # without the words "a" and "i"
GROUPS = {
    "animals": "cat dog hen fox goat horse mouse tiger whale zebra",
    "fruits": "apple cherry fig grape kiwi lemon mango olive peach plum",
    "colours": "black blue brown green grey orange pink red violet white",
    "tools": "axe brush drill file hammer knife ladder nail rope saw",
}
WORDS = {name: words.split() for name, words in GROUPS.items()}
ALL_WORDS = [word for words in WORDS.values() for word in words]
MAX_NUMBER = 60
ORDINALS = ("first", "second", "third", "fourth")
OPENINGS = ("sure!", "of course!", "happy to help!", "hello!", "good question!")
"""Courtesies that may stand before a result."""
OFF_TOPIC = ("weather", "holiday", "music", "garden", "cousin", "football")
"""What no task is about; an idle remark holds one of these."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a task is about: the words that fill its phrasings, the true result, and the one of a
    common mistake."""

    slots: Mapping[str, str]
    truth: tuple[str, ...]
    mistake: tuple[str, ...]
    separator: str = ", "


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of task: how its content is drawn, how it is asked, and how an answer restates it."""

    draw: Callable[[Random], Content]
    phrasings: Sequence[str]
    restated: Sequence[str]


@dataclass(frozen=True, slots=True)
class Wish:
    """A wish about the form: how it is worded, the check, and whether a result is fit for it."""

    phrasings: Sequence[str]
    check: Callable[[tuple[str, ...]], dict[str, Any]]
    fits: Callable[[tuple[str, ...]], bool] = bool


@dataclass(frozen=True, slots=True)
class Task:
    """One task as it is asked."""

    kind: str
    content: Content
    prompt: str
    wishes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Names the content, whatever the wording and the wishes: splits are parted by it."""
        return f"{self.kind}: {'; '.join(self.content.slots.values())}"

    @property
    def checks(self) -> list[dict[str, Any]]:
        """The gold utility, as weighted criteria of `judges.criteria`."""
        wishes = [WISHES[name].check(self.content.truth) for name in self.wishes]
        return [
            {"kind": "regex", "pattern": result_pattern(self.content.truth), "weight": 4},
            *({**check, "weight": 2} for check in wishes),
            {"kind": "omits", "terms": list(OFF_TOPIC), "weight": 2},
            {"kind": "no_repetition", "weight": 2},
        ]


def result_pattern(truth: Sequence[str]) -> str:
    """Found where the answer states this result, in a line or as a list, and no second one."""
    items = r"(?:,? |\n- )".join(map(re.escape, truth))
    opening = rf"(?:(?:{'|'.join(text[:-1] for text in OPENINGS)})!\s)*"
    lead = r"(?:[a-z ]*\b(?:is|are):?\s)?"
    end = r"(?:\Z|[.\n](?!- )(?![\s\S]*(?:\b(?:is|are)\b|\n- )))"
    return rf"\A{opening}{lead}\(?(?:- )?{items}\)?{end}"


def draw_task(random: Random, kind: str | None = None) -> Task:
    """A task of this kind, or of any."""
    name = kind or random.choice(list(KINDS))
    chosen = KINDS[name]
    content = chosen.draw(random)
    while content.truth == content.mistake:
        content = chosen.draw(random)
    wishes = _draw_wishes(random, content.truth)
    sentences = [random.choice(chosen.phrasings).format(**content.slots)]
    sentences += [random.choice(WISHES[wish].phrasings) for wish in wishes]
    return Task(name, content, " ".join(sentences), wishes)


# ------------------------------------------------------------------------------- wishes about form
WISHES = {
    "only": Wish(
        ("give only the answer.", "no other words, please.", "write nothing else."),
        lambda truth: {"kind": "words", "max": len(truth)},
    ),
    "list": Wish(
        ("write it as a list.", "make a list of it.", "use one line for each, as a list."),
        lambda truth: {"kind": "items", "min": len(truth), "max": len(truth)},
        lambda truth: len(truth) > 1,
    ),
    "brackets": Wish(
        ("put the answer in brackets.", "use brackets for the answer."),
        lambda _: {"kind": "contains", "all": ["(", ")"]},
    ),
    "hello": Wish(
        ("begin with hello.", "say hello first."),
        lambda _: {"kind": "starts_with", "accept": ["hello"]},
    ),
    "thanks": Wish(
        ("end with thank you.", "say thank you last."),
        lambda _: {"kind": "ends_with", "accept": ["thank you.", "thank you"]},
    ),
    "sentence": Wish(
        ("answer in one sentence.", "one sentence, please."),
        lambda _: {"kind": "sentences", "min": 1, "max": 1},
    ),
}
TOGETHER = (
    ("hello", "thanks"), ("list", "hello"), ("only", "list"), ("only", "brackets"),
    ("brackets", "hello"), ("brackets", "thanks"), ("list", "thanks"),
)  # fmt: skip


def _draw_wishes(random: Random, truth: tuple[str, ...]) -> tuple[str, ...]:
    """None for two tasks in five, one, or for one in six two at once."""
    u = random.random()
    if u < 0.4:
        return ()
    options: list[tuple[str, ...]] = [(name,) for name in WISHES] if u < 5 / 6 else list(TOGETHER)
    return random.choice([o for o in options if all(WISHES[name].fits(truth) for name in o)])


# ------------------------------------------------------------------------------------ kinds of task
def _letters(random: Random, low: int = 3, high: int = 5) -> list[str]:
    return random.sample(LETTERS, random.randint(low, high))


def _words(random: Random, low: int = 3, high: int = 4) -> list[str]:
    return random.sample(ALL_WORDS, random.randint(low, high))


def _numbers(random: Random, low: int = 3, high: int = 4) -> list[int]:
    return random.sample(range(1, MAX_NUMBER + 1), random.randint(low, high))


def _text(items: Sequence[object], separator: str = ", ") -> str:
    return separator.join(map(str, items))


def _strings(items: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(str, items))


def _copy(random: Random) -> Content:
    x = _letters(random, 3, 6)
    return Content({"x": _text(x, " ")}, tuple(x), tuple(x[:-1]), " ")


def _reverse(random: Random) -> Content:
    x = _letters(random)
    mistake = [x[-1], *x[1:-1], x[0]] if len(x) > 3 else x
    return Content({"x": _text(x, " ")}, tuple(x[::-1]), tuple(mistake), " ")


def _reverse_words(random: Random) -> Content:
    x = _words(random)
    return Content({"x": _text(x)}, tuple(x[::-1]), (x[-1], *x[:-1]))


def _sort_words(random: Random) -> Content:
    x = _words(random, 3, 3)
    return Content({"x": _text(x)}, tuple(sorted(x)), tuple(sorted(x, reverse=True)))


def _sort_numbers(random: Random) -> Content:
    x = _numbers(random)
    return Content({"x": _text(x)}, _strings(sorted(x)), _strings(sorted(x, reverse=True)))


def _count(random: Random) -> Content:
    x = [random.choice(ALL_WORDS) for _ in range(random.randint(2, 7))]
    return Content({"x": _text(x)}, (str(len(x)),), (str(len(x) - 1),))


def _count_letter(random: Random) -> Content:
    letter, *others = random.sample(LETTERS, 4)
    n = random.randint(1, 4)
    x = [letter] * n + others[: random.randint(1, 3)]
    random.shuffle(x)
    return Content({"x": _text(x, " "), "n": letter}, (str(n),), (str(len(x)),))


def _pick(random: Random) -> Content:
    x, n = _words(random, 4, 4), random.randrange(4)
    return Content({"x": _text(x), "n": ORDINALS[n]}, (x[n],), (x[(n + 1) % 4],))


def _largest(random: Random) -> Content:
    x = _numbers(random)
    return Content({"x": _text(x)}, (str(max(x)),), (str(x[-1]),))


def _join(random: Random) -> Content:
    x, y = _letters(random, 2, 3), _letters(random, 2, 3)
    slots = {"x": _text(x, " "), "y": _text(y, " ")}
    return Content(slots, (*x, *y), (*y, *x), " ")


def _fill(random: Random) -> Content:
    step, start, gap = random.randint(1, 6), random.randint(1, 40), random.randint(1, 2)
    x = [start + step * i for i in range(4)]
    shown = [*x[:gap], "blank", *x[gap + 1 :]]
    return Content({"x": _text(shown)}, (str(x[gap]),), (str(x[gap] + 1),))


def _add(random: Random) -> Content:
    x, y = random.randint(1, 30), random.randint(1, 30)
    return Content({"x": str(x), "y": str(y)}, (str(x + y),), (str(x + y - 1),))


def _subtract(random: Random) -> Content:
    x = random.randint(2, MAX_NUMBER)
    y = random.randint(1, x - 1)
    return Content({"x": str(x), "y": str(y)}, (str(x - y),), (str(x - y + 1),))


def _filter(random: Random) -> Content:
    group, other = random.sample(list(WORDS), 2)
    own = random.sample(WORDS[group], 2)
    x = [*own, *random.sample(WORDS[other], 2)]
    random.shuffle(x)
    kept = tuple(word for word in x if word in own)
    return Content({"x": _text(x), "n": group}, kept, tuple(w for w in x if w not in own))


def _swap(random: Random) -> Content:
    x, new = _words(random, 3, 3), random.choice(ALL_WORDS)
    old = random.randrange(3)
    truth = [new if i == old else word for i, word in enumerate(x)]
    return Content({"x": _text(x), "n": x[old], "y": new}, tuple(truth), (*x, new))


KINDS = {
    "copy": Kind(
        _copy,
        ("copy these letters: {x}.", "write {x} once more.", "repeat the letters {x} as they are."),
        ("the letters are", "the copy is"),
    ),
    "reverse": Kind(
        _reverse,
        ("write {x} backwards.", "reverse the letters {x}.", "turn these letters around: {x}."),
        ("backwards it is", "the letters in reverse are"),
    ),
    "reverse words": Kind(
        _reverse_words,
        ("write these words in reverse order: {x}.", "turn the order of {x} around."),
        ("in reverse the words are", "the new order is"),
    ),
    "sort words": Kind(
        _sort_words,
        ("sort these words by the alphabet: {x}.", "put {x} in the order of the alphabet."),
        ("by the alphabet they are", "the sorted words are"),
    ),
    "sort numbers": Kind(
        _sort_numbers,
        ("sort these numbers, the smallest first: {x}.", "put {x} in order from small to large."),
        ("from small to large they are", "the sorted numbers are"),
    ),
    "count": Kind(
        _count,
        ("how many words are there: {x}?", "count these words: {x}."),
        ("the number of words is", "the count is"),
    ),
    "count a letter": Kind(
        _count_letter,
        ("how often do you see {n} in {x}?", "count the letter {n} in {x}."),
        ("the count is", "the number of times is"),
    ),
    "pick": Kind(
        _pick,
        ("what is the {n} word of {x}?", "pick the {n} of these words: {x}."),
        ("that word is", "the word you want is"),
    ),
    "largest": Kind(
        _largest,
        ("which number is the largest: {x}?", "pick the largest number of {x}."),
        ("the largest number is", "the largest one is"),
    ),
    "join": Kind(
        _join,
        ("put {y} behind {x}.", "join {x} and {y}.", "write {x} and then {y} in one line."),
        ("joined they are", "the line is"),
    ),
    "fill": Kind(
        _fill,
        ("which number is missing in {x}?", "fill in the blank: {x}."),
        ("the missing number is", "in the blank there is"),
    ),
    "add": Kind(
        _add,
        ("what is {x} plus {y}?", "add {y} to {x}.", "{x} plus {y}, what does it make?"),
        ("the sum is", "together it is"),
    ),
    "subtract": Kind(
        _subtract,
        ("what is {x} minus {y}?", "take {y} from {x}.", "{x} minus {y}, what does it make?"),
        ("the difference is", "the rest is"),
    ),
    "filter": Kind(
        _filter,
        ("keep only the {n}: {x}.", "which of these are {n}: {x}?"),
        ("those words are", "what you keep is"),
    ),
    "swap": Kind(
        _swap,
        ("write {x}, but {y} for {n}.", "in {x}, put {y} in place of {n}."),
        ("the new words are", "with the change it is"),
    ),
}
