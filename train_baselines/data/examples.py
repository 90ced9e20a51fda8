"""Texts to token ids, token ids to tensors.

Prompts and judged conversations are rendered by `judges.prompting`, so that a trainer, `leaderboard
eval` and a reward model that judges see the same ids. The answer behind a prompt is encoded by
itself, as a model writes it, and ends with the token that ends a turn; no control token comes out
of its text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from judges.errors import UserError
from judges.prompting.chat import ChatTemplate
from judges.prompting.quoting import quote
from judges.prompting.thinking import TAGS
from judges.schema import Message
from train_baselines.data.sources import Candidates, Demonstration, Pair, Turns


# ------------------------------------------------------------------------------------ token ids
@dataclass(frozen=True)
class Encoder:
    """A tokenizer with its chat template."""

    tokenizer: Any
    template: ChatTemplate

    @cached_property
    def end(self) -> int:
        """The token that ends an answer: that of the template's turns, else the tokenizer's own."""
        own = self.template.end_of_turn(self.tokenizer)
        end = self.tokenizer.eos_token_id if own is None else own
        if end is None:
            raise UserError("the tokenizer has no end-of-text token: an answer could not end")
        return int(end)

    @property
    def pad(self) -> int:
        """A token for padding; it is masked, so any will do."""
        own = self.tokenizer.pad_token_id
        return self.end if own is None else int(own)

    def prompt(self, messages: Turns) -> list[int]:
        """What a model reads before it answers."""
        return self.template.encode(self.template.render(messages, self.tokenizer), self.tokenizer)

    def answer(self, text: str) -> list[int]:
        """What a model writes, with the token that ends it."""
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return [*encoded["input_ids"], self.end]

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens say, control tokens left out, as `leaderboard eval` reads an answer."""
        added = self.tokenizer.added_tokens_decoder
        kept = [
            t for t in tokens if t not in added or not added[t].special or str(added[t]) in TAGS
        ]
        return str(
            self.tokenizer.decode(
                kept, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def judged(self, messages: Turns, answer: str, *, ended: bool = True) -> list[int]:
        """What a reward model reads: the conversation with its answer, all of it data of others.

        An answer that was cut off has no end of turn: the reward model can see that.
        """
        turns = [Message(turn.role, quote(turn.content)) for turn in messages]
        turns.append(Message("assistant", quote(answer)))
        text = self.template.render(turns, self.tokenizer, add_generation_prompt=False)
        ids = self.template.encode(text, self.tokenizer)
        if not ended and self.end in ids:
            return ids[: len(ids) - 1 - ids[::-1].index(self.end)]
        return ids

    def scored(self, messages: Turns, answer: str, where: str, *, ended: bool = True) -> Example:
        """What a reward model reads, with its last token, where the score is, as the target."""
        ids = self.judged(messages, answer, ended=ended)
        return Example(tuple(ids), len(ids) - 1, where)


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with an answer as token ids; only the answer and its end are targets."""

    ids: tuple[int, ...]
    n_prompt: int
    where: str

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def n_tokens(self) -> int:
        return len(self.ids)

    @property
    def weight(self) -> float:
        """The tokens of the answer."""
        return len(self.ids) - self.n_prompt


@dataclass(frozen=True, slots=True)
class PairExample:
    """The better and the worse answer to one prompt. A pair weighs 1, whatever its length."""

    chosen: Example
    rejected: Example
    probability: float
    number: int
    """Which of the run's pairs it is: what is computed once for each is found by it."""

    @property
    def length(self) -> int:
        return 2 * max(self.chosen.length, self.rejected.length)

    @property
    def n_tokens(self) -> int:
        return self.chosen.length + self.rejected.length

    @property
    def weight(self) -> float:
        return 1.0

    @property
    def where(self) -> str:
        return self.chosen.where


@dataclass(frozen=True, slots=True)
class RankedExample:
    """Answers to one prompt, each with its score. A prompt weighs 1, however many answers it has."""

    answers: tuple[Example, ...]
    scores: tuple[float, ...]
    most: int
    """As many answers as any prompt of the run has. Each is taken to have so many, so that a batch
    of several is never larger than planned."""

    @property
    def length(self) -> int:
        return self.most * max(answer.length for answer in self.answers)

    @property
    def n_tokens(self) -> int:
        return sum(answer.length for answer in self.answers)

    @property
    def weight(self) -> float:
        return 1.0

    @property
    def where(self) -> str:
        return self.answers[0].where

    @property
    def is_ranked(self) -> bool:
        """Whether one answer is better than another."""
        return len(set(self.scores)) > 1


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Encoded(Generic[T]):
    """The examples that can be trained on, and why how many others were dropped."""

    rows: list[T]
    dropped: Mapping[str, int]

    def __str__(self) -> str:
        dropped = "".join(f"; dropped {n:,}: {why}" for why, n in self.dropped.items())
        return f"{len(self.rows):,} examples{dropped}"


def encode_demonstrations(
    demonstrations: Iterable[Demonstration], encoder: Encoder, max_length: int
) -> Encoded[Example]:
    """Examples for supervised training; those longer than `max_length` are dropped and counted."""
    rows = []
    dropped: Counter[str] = Counter()
    for one in demonstrations:
        prompt, answer = encoder.prompt(one.messages), encoder.answer(one.completion)
        if why := _too_long(len(prompt), len(prompt) + len(answer), max_length):
            dropped[why] += 1
        else:
            rows.append(Example((*prompt, *answer), len(prompt), one.where))
    return Encoded(rows, dropped)


def encode_pairs(
    pairs: Iterable[Pair],
    encoder: Encoder,
    max_length: int,
    *,
    judged: bool = False,
    ties: bool = False,
) -> Encoded[PairExample]:
    """Pairs of examples for a policy; or as a reward model reads them where they are `judged`, and
    then the last token is the target, at which the score is read.

    Ties say nothing of which answer is better, and are dropped and counted unless `ties` is set.
    """
    rows: list[PairExample] = []
    dropped: Counter[str] = Counter()
    for pair in pairs:
        if pair.probability == 0.5 and not ties:
            dropped["ties"] += 1
            continue
        if judged:
            one, two = (
                encoder.scored(pair.messages, text, pair.where)
                for text in (pair.chosen, pair.rejected)
            )
            n_prompt = 0
        else:
            prompt = encoder.prompt(pair.messages)
            n_prompt = len(prompt)
            one, two = (
                Example((*prompt, *encoder.answer(text)), n_prompt, pair.where)
                for text in (pair.chosen, pair.rejected)
            )
        if why := _too_long(n_prompt, max(one.length, two.length), max_length):
            dropped[why] += 1
        else:
            rows.append(PairExample(one, two, pair.probability, len(rows)))
    return Encoded(rows, dropped)


def encode_candidates(
    candidates: Iterable[Candidates], encoder: Encoder, max_length: int
) -> Encoded[RankedExample]:
    """Prompts with all their answers that fit; the others are dropped and counted."""
    found: list[tuple[list[Example], list[float]]] = []
    dropped: Counter[str] = Counter()
    for one in candidates:
        prompt = encoder.prompt(one.messages)
        if why := _too_long(len(prompt), 0, max_length):
            dropped[why] += 1
            continue
        answers, scores = [], []
        for text, score in zip(one.responses, one.scores, strict=True):
            answer = Example((*prompt, *encoder.answer(text)), len(prompt), one.where)
            if answer.length > max_length:
                dropped[f"answers longer than max_length {max_length} with the prompt"] += 1
            else:
                answers.append(answer)
                scores.append(score)
        if answers:
            found.append((answers, scores))
        else:
            dropped["prompts of which no answer is left"] += 1
    most = max((len(answers) for answers, _ in found), default=0)
    rows = [RankedExample(tuple(answers), tuple(scores), most) for answers, scores in found]
    return Encoded(rows, dropped)


def _too_long(n_prompt: int, n_all: int, max_length: int) -> str | None:
    if n_prompt >= max_length:
        return f"prompts that fill max_length {max_length}"
    return f"longer than max_length {max_length} with the answer" if n_all > max_length else None


# --------------------------------------------------------------------------------------- tensors
class Tokens(NamedTuple):
    """A batch as a model takes it; B rows of L places."""

    ids: Tensor
    """[B, L]"""
    attention: Tensor | None
    """[B, L], 1 for a token and 0 for padding; None where rows are packed."""
    positions: Tensor | None
    """[B, L]; None where tokens stand from the left, so that the place is the position."""
    targets: Tensor
    """[B, L], True for the tokens that are trained on."""


def pad(
    examples: Sequence[Example],
    pad_id: int,
    device: torch.device | str = "cpu",
    *,
    side: Literal["left", "right"] = "right",
) -> Tokens:
    """One example a row, padded to the longest."""
    width = max(len(example.ids) for example in examples)
    ids, attention, targets = [], [], []
    for example in examples:
        n, spare = len(example.ids), width - len(example.ids)
        left, right = (spare, 0) if side == "left" else (0, spare)
        ids.append([pad_id] * left + [*example.ids] + [pad_id] * right)
        attention.append([0] * left + [1] * n + [0] * right)
        begin = left + example.n_prompt
        targets.append([False] * begin + [True] * (n - example.n_prompt) + [False] * right)
    mask = torch.tensor(attention, device=device)
    return Tokens(
        torch.tensor(ids, device=device),
        mask,
        (mask.cumsum(-1) - 1).clamp(min=0) if side == "left" else None,
        torch.tensor(targets, device=device),
    )


def pack(examples: Sequence[Example], device: torch.device | str = "cpu") -> Tokens:
    """All examples in one row, end to end; positions begin anew with each, which parts them."""
    ids: list[int] = []
    positions: list[int] = []
    targets: list[bool] = []
    for example in examples:
        n = len(example.ids)
        ids += example.ids
        positions += range(n)
        targets += [place >= max(1, example.n_prompt) for place in range(n)]
    return Tokens(
        torch.tensor([ids], device=device),
        None,
        torch.tensor([positions], device=device),
        torch.tensor([targets], device=device),
    )
