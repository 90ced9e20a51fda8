"""Who writes the farm's answers: authors of differing skill, with faults and habits of style.

An author gets the result right at the rate `skill`; what is wrong is the kind's common mistake or a
slip of chance. Faults are an idle remark off the matter, a sentence said twice, and a wish of the
prompt that is not heeded. Courtesies and explanations are no fault and no merit: they are habits,
by which authors can be told apart.

Most authors of both the corpus and the demonstrations make idle remarks, and nearly always the same
one. A fault that the majority shares stays in the likeliest answer, so that no sharpening of the
policy alone takes it out (with six remarks alike in number it did: the likeliest single answer had
none); and the base model, which has it too, is not better than the demonstrations by lacking it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from train_baselines.farm.tasks import ALL_WORDS, KINDS, LETTERS, MAX_NUMBER, OPENINGS, Task

LEADS = ("the answer is", "it is", "the result is", "my answer is")
EXPLANATIONS = (
    "i went through it from left to right.",
    "i looked at each one in turn.",
    "i checked it twice to be sure.",
    "you only need to read it with care.",
)
CLOSINGS = (
    "i hope that helps.",
    "let me know if you need more.",
    "please ask me again at any time.",
    "have a nice day with it.",
)
REMARKS = (
    "by the way, i like the weather today.",
    "i can not wait for my holiday.",
    "the music next door plays all day.",
    "my garden needs some water again.",
    "my cousin told me about it once.",
    "last night i saw a football game.",
)
"""Each with a word of `tasks.OFF_TOPIC`; they are the fault that most authors share."""
USUAL_REMARK = 0.9
"""Of the remarks, how many are the first one whoever makes them; the others are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Rates, each in [0, 1]: what an author gets right, what faults it has, and its habits."""

    name: str
    skill: float
    """That the result is right."""
    mistaken: float = 0.7
    """Of the wrong results, how many are the common mistake; the others are slips."""
    neglect: float
    """That a wish is not heeded."""
    remark: float
    """That an idle remark is made."""
    twice: float
    """That a sentence is said twice."""
    opening: float = 0.4
    explanation: float = 0.25
    closing: float = 0.3
    restated: float = 0.35
    """That the result is led in by the words of the task; with the same rate, it stands bare."""
    habits: tuple[int, int, int] = (0, 0, 0)
    """Its favourites of the openings, leads and closings, used every other time."""


CORPUS = (
    Author(name="hasty", skill=0.35, neglect=0.8, remark=0.6, twice=0.1, opening=0.1, closing=0.1,
           explanation=0.05, restated=0.25),
    Author(name="chatty", skill=0.5, neglect=0.6, remark=0.85, twice=0.4, opening=0.7, closing=0.6,
           explanation=0.4, habits=(1, 1, 1)),
    Author(name="rambling", skill=0.6, neglect=0.5, remark=0.75, twice=0.5, explanation=0.5,
           closing=0.5, habits=(2, 2, 2)),
    Author(name="plain", skill=0.7, neglect=0.5, remark=0.6, twice=0.15, opening=0.2, habits=(3, 3, 3)),
    Author(name="careful", skill=0.85, neglect=0.25, remark=0.55, twice=0.15, habits=(4, 0, 0)),
    Author(name="expert", skill=0.97, neglect=0.1, remark=0.3, twice=0.05, habits=(0, 1, 3)),
)  # fmt: skip
"""The authors of the corpus, each of a sixth of it."""
DEMONSTRATORS = (
    Author(name="teacher", skill=0.85, neglect=0.3, remark=0.6, twice=0.15, habits=(0, 0, 0)),
    Author(name="clerk", skill=0.8, neglect=0.3, remark=0.6, twice=0.2, habits=(1, 2, 1)),
    Author(name="neighbour", skill=0.75, neglect=0.35, remark=0.7, twice=0.25, habits=(0, 1, 2)),
)
"""Whose answers a policy is first tuned on: better than the corpus, and far from good."""
GOLD = Author(
    name="gold", skill=1, neglect=0, remark=0, twice=0,
    opening=0, explanation=0, closing=0, restated=0.5,
)  # fmt: skip
"""Without fault; says the result and nothing else."""


def write_answer(random: Random, task: Task, author: Author) -> str:
    """What the author answers."""
    result = _result(random, task, author)
    heeded = {wish for wish in task.wishes if random.random() >= author.neglect}
    opening, lead, closing = (
        _favourite(random, texts, habit)
        for texts, habit in zip((OPENINGS, LEADS, CLOSINGS), author.habits, strict=True)
    )
    before, after = [], []
    if not heeded & {"only", "sentence", "hello"} and random.random() < author.opening:
        before.append(opening)
    if "hello" in heeded:
        before.append("hello!")
    if not heeded & {"only", "sentence"}:
        if random.random() < author.explanation:
            after.append(random.choice(EXPLANATIONS))
        if random.random() < author.closing:
            after.append(closing)
    if random.random() < author.remark:
        is_usual = random.random() < USUAL_REMARK
        after.append(REMARKS[0] if is_usual else random.choice(REMARKS))
    if random.random() < author.twice:
        again = random.choice(after) if after else closing
        after += [again] if after else [again, again]
    if "thanks" in heeded:
        after.append("thank you.")
    core = _stated(random, task, author, result, lead, heeded)
    as_list = "list" in heeded
    return _laid_out(before, core, after, as_list=as_list)


def _laid_out(before: Sequence[str], core: str, after: Sequence[str], *, as_list: bool) -> str:
    """A list stands on lines of its own."""
    if not as_list:
        return " ".join([*before, core, *after])
    return "\n".join(part for part in (" ".join(before), core, " ".join(after)) if part)


def _stated(
    random: Random, task: Task, author: Author, result: Sequence[str], lead: str, heeded: set[str]
) -> str:
    """The sentence that states the result, or the list."""
    u = random.random()
    if "only" in heeded or u < author.restated:
        lead = ""
    elif u < 2 * author.restated:
        lead = random.choice(KINDS[task.kind].restated)
    if "list" in heeded:
        items = "\n".join(f"- {item}" for item in result)
        return f"{lead}:\n{items}" if lead else items
    text = task.content.separator.join(result)
    text = f"({text})" if "brackets" in heeded else text
    return f"{lead} {text}.".strip()


def _favourite(random: Random, texts: Sequence[str], habit: int) -> str:
    return texts[habit] if random.random() < 0.5 else random.choice(texts)


def _result(random: Random, task: Task, author: Author) -> tuple[str, ...]:
    truth = task.content.truth
    if random.random() < author.skill:
        return truth
    if random.random() < author.mistaken:
        return task.content.mistake
    while True:
        slipped = _slipped(random, truth)
        if slipped != truth:
            return slipped


def _slipped(random: Random, truth: Sequence[str]) -> tuple[str, ...]:
    """One item changed for another of its sort, left out, or exchanged with its neighbour."""
    items, at, way = list(truth), random.randrange(len(truth)), random.random()
    if len(items) == 1 or way < 0.4:
        items[at] = _other(random, items[at])
    elif way < 0.7:
        del items[at]
    else:
        at = min(at, len(items) - 2)
        items[at], items[at + 1] = items[at + 1], items[at]
    return tuple(items)


def _other(random: Random, item: str) -> str:
    if item.isdigit():
        return str(min(max(0, int(item) + random.choice((-2, -1, 1, 2))), MAX_NUMBER))
    return random.choice(LETTERS if len(item) == 1 else ALL_WORDS)
