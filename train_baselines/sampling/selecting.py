"""The best of n answers to a prompt: drawn, scored and forgotten chunk by chunk.

The k-th sample of a prompt is the same whatever n is, so that the best of a smaller n is read off
the first samples of a larger one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from judges.schema import Instruction
from train_baselines import ops
from train_baselines.data.examples import Encoder, Example, pad
from train_baselines.data.sources import Turns
from train_baselines.models.wrapped import Policy, ScalarModel
from train_baselines.runtime import plan
from train_baselines.sampling.sampler import (
    Draw,
    Sample,
    Sampler,
    Sampling,
    sample_key,
    score,
    window_of,
)

AT_ONCE = 1024
"""Samples that are held at a time, whatever n and the number of prompts are."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt to be answered."""

    messages: Turns
    prompt: tuple[int, ...]
    key: str
    """The digest of the messages, on which its random numbers hang, beside the seed."""
    where: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sample of a question, as tokens and as text."""

    question: Question
    sample: Sample
    text: str


Scorer = Callable[[Sequence[Candidate]], Sequence[float]]
"""A score for each candidate, more is better; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The best of the first n samples of a question."""

    n: int
    k: int
    """Which sample it is, from 0; of equal scores the first one."""
    candidate: Candidate
    score: float | None
    """None where no sample has a score that is a number; the first sample is the best then."""
    mean: float | None
    """Of the scores of all n samples."""


def question(messages: Turns, encoder: Encoder, where: str) -> Question:
    """A conversation that ends with the user, as the policy reads it."""
    key = Instruction(id="", messages=messages).digest
    return Question(messages, tuple(encoder.prompt(messages)), key, where)


# ----------------------------------------------------------------------------------------- scores
def by_reward(model: ScalarModel, *, tokens_per_device: int) -> Scorer:
    """Scores of a reward model, which reads the texts as the judge of the kind reward_model does.

    Its tokenizer and template are its own, so that it may be of another family than the policy.
    Equal answers are scored once; what does not fit into its window has no score.
    """
    window = window_of(model)

    def scores(candidates: Sequence[Candidate]) -> list[float]:
        keys = [(one.question.key, one.text, one.sample.ended) for one in candidates]
        examples = {
            key: model.encoder.scored(
                one.question.messages, one.text, one.question.where, ended=one.sample.ended
            )
            for key, one in dict(zip(keys, candidates, strict=True)).items()
        }
        fitting = {k: e for k, e in examples.items() if window is None or e.length <= window}
        found = score(model, [*fitting.values()], tokens_per_device=tokens_per_device)
        known = dict(zip(fitting, found, strict=True))
        return [known.get(key, math.nan) for key in keys]

    return scores


def by_logprob(policy: Policy, *, tokens_per_device: int) -> Scorer:
    """Log-probabilities of whole answers under the policy, log π(y | x): the control that shows
    what choosing does without anything learnt from preferences."""

    @torch.inference_mode()
    def scores(candidates: Sequence[Candidate]) -> list[float]:
        rows = [
            Example((*c.question.prompt, *c.sample.tokens), len(c.question.prompt), "")
            for c in candidates
        ]
        device = next(policy.parameters()).device
        found = [0.0] * len(rows)
        lengths = [row.length for row in rows]
        for batch in plan.cut(range(len(rows)), lengths, tokens_per_device):
            tokens = pad([rows[n] for n in batch], policy.encoder.pad, device)
            sums = ops.masked_sum(policy(*tokens), tokens.targets, 1)
            for n, value in zip(batch, sums.tolist(), strict=True):
                found[n] = value
        return found

    return scores


# ---------------------------------------------------------------------------------------- choices
@dataclass(slots=True)
class _Running:
    """The best sample of a question so far, and what was chosen at each n that is passed."""

    sizes: frozenset[int]
    best: tuple[int, Candidate, float] | None = None
    total: float = 0.0
    n_scored: int = 0
    choices: list[Choice] = field(default_factory=list)

    def add(self, k: int, candidate: Candidate, score: float) -> None:
        is_scored = math.isfinite(score)
        if is_scored:
            self.total, self.n_scored = self.total + score, self.n_scored + 1
        rank = score if is_scored else -math.inf
        if self.best is None or rank > self.best[2]:
            self.best = k, candidate, rank
        if k + 1 in self.sizes:
            at, chosen, reached = self.best
            some = self.n_scored > 0
            mean = self.total / self.n_scored if some else None
            self.choices.append(Choice(k + 1, at, chosen, reached if some else None, mean))


def best_of(
    sampler: Sampler,
    questions: Sequence[Question],
    sizes: Sequence[int],
    sampling: Sampling,
    scorer: Scorer,
    *,
    seed: int,
) -> Iterator[tuple[int, list[Choice]]]:
    """The number of each question with its best of n for each of the sizes, smallest n first.

    In the order of `drawn`, which holds what is drawn; here only the best is kept.
    """
    most = max(sizes)
    running: dict[int, _Running] = {}
    for number, k, candidate, value in drawn(sampler, questions, most, sampling, scorer, seed=seed):
        if number not in running:
            running[number] = _Running(frozenset(sizes))
        running[number].add(k, candidate, value)
        if k == most - 1:
            yield number, running.pop(number).choices


def drawn(
    sampler: Sampler,
    questions: Sequence[Question],
    n: int,
    sampling: Sampling,
    scorer: Scorer | None,
    *,
    seed: int,
) -> Iterator[tuple[int, int, Candidate, float]]:
    """The number of each question, which of its n samples this is, the sample, and its score; NaN
    where there is no scorer.

    The samples of a question come in order, questions with long prompts first. Never more than
    AT_ONCE samples are held.
    """
    width = min(n, AT_ONCE)
    together = AT_ONCE // width
    order = sorted(range(len(questions)), key=lambda q: (-len(questions[q].prompt), q))
    for begin in range(0, len(order), together):
        for first in range(0, n, width):
            ks = range(first, min(first + width, n))
            wanted = [(q, k) for q in order[begin : begin + together] for k in ks]
            draws = [
                Draw(questions[q].prompt, sample_key(seed, questions[q].key, k)) for q, k in wanted
            ]
            candidates = [
                Candidate(questions[q], one, sampler.encoder.text(one.tokens))
                for (q, _), one in zip(wanted, sampler.sample(draws, sampling), strict=True)
            ]
            scores = [math.nan] * len(wanted) if scorer is None else scorer(candidates)
            for (q, k), candidate, value in zip(wanted, candidates, scores, strict=True):
                yield q, k, candidate, value
