"""One answer of the policy to each of some prompts, with its score: what online methods learn from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from judges.errors import UserError
from train_baselines.data.examples import Example
from train_baselines.runtime.run import Run
from train_baselines.sampling.sampler import Sampler, Sampling
from train_baselines.sampling.selecting import Question, Scorer, drawn


@dataclass(frozen=True, slots=True)
class Rollout(Example):
    """A prompt with an answer that the policy drew, and the reward model's score for it."""

    number: int
    """Which of its step's rollouts it is."""
    score: float
    ended: bool


def roll_out(
    run: Run,
    sampler: Sampler,
    scorer: Scorer,
    questions: Sequence[Question],
    sampling: Sampling,
    *,
    seed: int,
) -> list[Rollout]:
    """An answer to each question, in their order, drawn and scored by all processes together, each
    of which has all of them in the end. A prompt that is there twice gets two answers. Raises
    UserError for an answer without a score."""
    from accelerate.utils import gather_object

    times: Counter[str] = Counter()
    asked = []
    for one in questions:
        asked.append(replace(one, key=f"{one.key} {times[one.key]}"))
        times[one.key] += 1
    own = []
    for place, _, candidate, score in drawn(
        sampler, asked[run.rank :: run.world], 1, sampling, scorer, seed=seed
    ):
        one, sample = candidate.question, candidate.sample
        if not math.isfinite(score):
            raise UserError(
                f"{one.where}: the reward model has no score for an answer of "
                f"{len(sample.tokens)} tokens. Where it does not fit its window, lower "
                "--max-new-tokens"
            )
        ids, number = (*one.prompt, *sample.tokens), place * run.world + run.rank
        own.append(Rollout(ids, len(one.prompt), one.where, number, score, sample.ended))
    return sorted(gather_object(own), key=lambda one: one.number)


def mean_score(rollouts: Sequence[Rollout]) -> float:
    """The mean of the scores."""
    return math.fsum(one.score for one in rollouts) / len(rollouts)
