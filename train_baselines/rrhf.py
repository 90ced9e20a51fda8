"""RRHF: answers ranked by their log-probabilities as their scores rank them (Yuan et al. 2023,
arXiv:2304.05302).

    python -m train_baselines.rrhf --model-name-or-path SFT --dataset candidates.jsonl \\
        --output-dir OUT
    python -m train_baselines.rrhf --model-name-or-path SFT --dataset prompts.jsonl \\
        --reward-model RM --resample-steps 32 --output-dir OUT

Offline, a line of the data is a `query` with `responses` of any source and their `scores`, as many as
there are (`python -m train_baselines.generate --form candidates` writes them); the paper's ablations,
sampled responses only or the data set's only, are files with the others left out. With a reward
model it is online: `n` answers of the policy itself to each prompt are scored and ranked, once
(`--rounds 1`), anew in each of several rounds (the paper's IP-n: `--rounds 3 --num-train-epochs 9`),
or every so many steps (its OP-k: `--resample-steps k`), where `--kl-coef` keeps the policy near the
model that it began with.

The defaults are the paper's: 3 epochs of 64 queries, 2e-5, linear to 0 with 3 % warm-up; 4 samples of
temperature 0.8, its SP. Departures: samples are drawn independently, not by diverse beam search; an
online run ranks them alone, without the data set's responses; the learning rate falls once over all
rounds; 512 tokens, as its Wombat, and what is longer is dropped and counted, never cut. Its code
takes one query a device and divides the SFT term by the padded length; here a step's queries are
batched, means are over an answer's own tokens with its end, and the term is the sum of the paper's
equation, or such a mean (`--sft-loss mean`).
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar, Literal

import torch
from torch import Tensor

from judges.errors import UserError
from train_baselines import ops
from train_baselines.data.examples import Example, RankedExample, encode_candidates, pad
from train_baselines.data.sources import read_candidates
from train_baselines.models.loading import load_policy, load_reference
from train_baselines.models.wrapped import Policy
from train_baselines.runtime import plan
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run
from train_baselines.sampling import rounds
from train_baselines.sampling.sampler import BuiltIn, Sampling
from train_baselines.sampling.selecting import Candidate, Question, by_logprob, drawn

SFTLoss = Literal["sum", "mean", "none"]


@dataclass(frozen=True, kw_only=True)
class RRHFConfig(RunConfig):
    """Ranking by log-probabilities, and fine-tuning on the best answer."""

    full_learning_rate: ClassVar[float] = 2e-5  # the paper

    num_train_epochs: int = 3
    """The paper."""
    batch_size: int = 64
    """Queries a step; the paper: 8 devices × 1 × 8."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "linear"
    """The paper; its scripts have cosine."""

    ranking_weight: float = 1.0
    """Of the ranking term; the paper, where 10 and 100 were worse. 0 leaves the term out."""
    sft_loss: SFTLoss = "sum"
    """The log-likelihood of the best answer: summed over its tokens, which is the paper's, or their
    mean, or left out."""

    reward_model: str | None = None
    """Makes the run online: a sequence classifier with one label, a folder or ORG/NAME[@REVISION] on
    the Hub. The dataset is prompts then."""
    n: int = 4
    """Samples of each prompt; the paper."""
    temperature: float = 0.8
    """The paper's SP."""
    top_p: float = 1.0
    """The paper's SP."""
    max_new_tokens: int = 128
    """The paper."""
    rounds: int = 1
    """How often samples are drawn; the paper's IP-n. Must divide num_train_epochs."""
    resample_steps: int | None = None
    """Draw anew every so many steps instead, for the prompts of these; the paper's OP-k."""
    kl_coef: float = 0.0
    """A sample's score is its reward minus so much of log π(y|x) - log π_ref(y|x), when it is drawn;
    the paper's runs with KL have 0.01 to 0.1."""

    def check(self) -> None:
        super().check()
        for name in ("n", "rounds", "resample_steps"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} = {value}: at least 1 is needed")
        for name in ("ranking_weight", "kl_coef"):
            if (value := getattr(self, name)) < 0:
                raise UserError(f"{name} = {value}: it cannot be negative")
        if not self.ranking_weight and self.sft_loss == "none":
            raise UserError("ranking_weight = 0, sft_loss = none: nothing is left to be learnt")
        if self.reward_model is None:
            for name, default in (("rounds", 1), ("resample_steps", None), ("kl_coef", 0)):
                if (value := getattr(self, name)) != default:
                    raise UserError(
                        f"{name} = {value}: answers are drawn where a --reward-model scores them; "
                        "name one"
                    )
        if self.resample_steps is not None and self.rounds > 1:
            raise UserError("rounds, resample_steps: samples are drawn by one of them, not by both")
        if self.num_train_epochs % self.rounds:
            raise UserError(
                f"rounds = {self.rounds}: they must divide num_train_epochs, {self.num_train_epochs}"
            )
        if self.temperature == 0 and self.n > 1:
            raise UserError(
                "temperature = 0: all samples of a prompt would be one; set one above 0"
            )
        self.sampling()

    def sampling(self) -> Sampling:
        """How the answers are drawn."""
        return Sampling(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p
        )


def rrhf_loss(
    logprobs: Tensor,
    targets: Tensor,
    scores: Tensor,
    *,
    ranking_weight: float = 1.0,
    sft_loss: SFTLoss = "sum",
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of queries, and how well the policy ranks their answers.

    logprobs [A, L] of all answers' tokens, those of a query side by side; targets [A, L] where a token
    is part of an answer. scores [B, K]: a row for each query, NaN behind its last answer. The mean
    over the queries of ranking_weight · L_rank + L_ft (Yuan et al., section 3.1), with
    p_i = 1/|y_i| Σ_t log π(y_i,t | x, y_i,<t), equation 1;
    L_rank = Σ_{r_i < r_j} max(0, p_i - p_j), equation 2, so that equal scores make no pair;
    L_ft = -Σ_t log π(y_i',t | x, y_i',<t), i' = argmax_i r_i, equation 3, the first of equal ones;
    it is -p_i' where sft_loss is `mean`.
    """
    held = ~scores.isnan()

    def by_query(values: Tensor) -> Tensor:
        return values.new_zeros(scores.shape).masked_scatter(held, values)  # [A] → [B, K]

    p = by_query(ops.masked_mean(logprobs, targets, 1))
    ahead = p[:, :, None] - p[:, None, :]
    pairs = scores[:, :, None] < scores[:, None, :]  # i is worse than j; never so for NaN
    ranking = torch.where(pairs, ahead.relu(), 0).sum((1, 2))
    losses = ranking_weight * ranking
    if sft_loss != "none":
        best = scores.nan_to_num(-math.inf).argmax(1, keepdim=True)
        likelihood = p if sft_loss == "mean" else by_query(ops.masked_sum(logprobs, targets, 1))
        losses = losses - likelihood.gather(1, best)[:, 0]
    n_pairs = pairs.sum((1, 2))
    told_apart = (pairs & (ahead < 0)).sum((1, 2)) / n_pairs.clamp(min=1)
    metrics = {
        "ranking_loss": ranking.mean(),
        "accuracy": torch.where(n_pairs > 0, told_apart, 0.5).mean(),
    }
    return losses.mean(), metrics


def ranks(queries: Sequence[RankedExample]) -> Tensor:
    """Scores [B, K] that order each query's answers as their own do, NaN where it has fewer than K.

    Whole numbers, since scores may differ by less than a float32 holds.
    """
    most = max(len(query.scores) for query in queries)
    found = torch.full((len(queries), most), math.nan)
    for row, query in zip(found, queries, strict=True):
        place = {score: n for n, score in enumerate(sorted(set(query.scores)))}
        row[: len(query.scores)] = torch.tensor([float(place[one]) for one in query.scores])
    return found


# ---------------------------------------------------------------------------------- the candidates
def read_ranked(policy: Policy, config: RRHFConfig, run: Run) -> list[RankedExample]:
    """The candidates of the dataset; says what was dropped, and what has nothing to be ranked."""
    encoded = encode_candidates(read_candidates(config.dataset), policy.encoder, config.max_length)
    unranked = sum(not row.is_ranked for row in encoded.rows)
    run.note(
        f"{encoded}; {sum(len(row.answers) for row in encoded.rows):,} answers"
        + (f"; {unranked:,} have no two scores that differ: nothing to rank" if unranked else ""),
        dropped=dict(encoded.dropped),
        unranked=unranked,
    )
    if encoded.rows and unranked == len(encoded.rows) and config.sft_loss == "none":
        raise UserError(
            f"{config.dataset}: no query has two answers with different scores, and without the "
            "SFT term nothing can be learnt"
        )
    return encoded.rows


@dataclass(frozen=True, slots=True)
class Samples:
    """What the policy answered to a prompt, but for answers that the reward model cannot read."""

    answers: tuple[tuple[int, ...], ...]
    rewards: tuple[float, ...]
    kls: tuple[float, ...]
    """Log π(y|x) - log π_ref(y|x) when they were drawn; 0 where no coefficient asks for it."""

    def scores(self, kl_coef: float) -> tuple[float, ...]:
        """What the samples are ranked by."""
        return tuple(r - kl_coef * kl for r, kl in zip(self.rewards, self.kls, strict=True))


class Online:
    """The candidates of an online run: samples of the policy as it is when a round begins."""

    def __init__(self, run: Run, policy: Policy, config: RRHFConfig, reward_model: str) -> None:
        rounds.refuse_sharded(run)
        self._run, self._policy, self._config = run, policy, config
        self._reward = rounds.load_scorer(reward_model, config, run)
        self._reference = policy  # with LoRA the same weights, adapter off
        if config.kl_coef and not config.use_peft:
            self._reference = load_reference(config.model_name_or_path, config, run)
        self._questions = rounds.read_questions(policy, config, run, config.max_new_tokens)
        self.prompts = [Example(q.prompt, len(q.prompt), q.where) for q in self._questions]
        self._steps = range(0)
        self._held: dict[int, RankedExample] = {}

    def candidates(self, chosen: Sequence[int]) -> list[RankedExample]:
        """Those of these prompts, by their numbers, for the step that comes."""
        run, config = self._run, self._config
        steps = rounds.round_of(run.step, run.total, rounds=config.rounds)
        if (every := config.resample_steps) is not None:
            begin = run.step // every * every
            steps = range(begin, min(begin + every, run.total))
        if steps != self._steps:
            self._steps = steps
            due = plan.rows_of_steps(len(self.prompts), config.batch_size, steps, seed=config.seed)
            numbers = sorted({number for step in due for number in step})
            questions = [self._questions[number] for number in numbers]
            found = rounds.drawn(run, steps, questions, self._draw, Samples)
            rows = map(self._ranked, questions, found)
            self._held = dict(zip(numbers, rows, strict=True))
            if run.step == steps.start:
                self._log(found)
        return [self._held[number] for number in chosen]

    def _draw(self, questions: Sequence[Question], seed: int) -> Iterator[tuple[int, Samples]]:
        config = self._config
        kls: deque[float] = deque()

        def scorer(candidates: Sequence[Candidate]) -> Sequence[float]:
            kls.extend(self._log_ratios(candidates))
            return self._reward(candidates)

        scored: list[tuple[tuple[int, ...], float, float]] = []
        sampler = BuiltIn(self._policy, config.tokens_per_device)
        for number, k, candidate, reward in drawn(
            sampler, questions, config.n, config.sampling(), scorer, seed=seed
        ):
            kl = kls.popleft()
            if math.isfinite(reward):
                scored.append((candidate.sample.tokens, reward, kl))
            if k == config.n - 1:
                if not scored:
                    raise UserError(
                        f"{questions[number].where}: no answer fits the window of "
                        f"{config.reward_model}: lower --max-new-tokens"
                    )
                yield number, Samples(*zip(*scored, strict=True))
                scored = []

    def _log_ratios(self, candidates: Sequence[Candidate]) -> list[float]:
        """Log π(y|x) - log π_ref(y|x) of each; 0 where no coefficient asks for it.

        To four digits: those behind them hang on the batch, and would rank equal answers.
        """
        if not self._config.kl_coef:
            return [0.0] * len(candidates)
        size = self._config.tokens_per_device
        self._policy.eval()
        now = by_logprob(self._policy, tokens_per_device=size)(candidates)
        with self._policy.adapter_off() if self._config.use_peft else nullcontext():
            before = by_logprob(self._reference, tokens_per_device=size)(candidates)
        self._policy.train()
        return [round(one - other, 4) for one, other in zip(now, before, strict=True)]

    def _ranked(self, question: Question, samples: Samples) -> RankedExample:
        n = len(question.prompt)
        answers = (Example((*question.prompt, *t), n, question.where) for t in samples.answers)
        return RankedExample(tuple(answers), samples.scores(self._config.kl_coef), self._config.n)

    def _log(self, found: Sequence[Samples]) -> None:
        """The rewards of a round: of the best sample of each prompt, and of all samples."""
        coef = self._config.kl_coef
        best = [max(zip(one.scores(coef), one.rewards, strict=True))[1] for one in found]
        every = [reward for one in found for reward in one.rewards]
        self._run.log(reward=fmean(best), mean_reward=fmean(every))
        if coef:
            self._run.log(kl=fmean(kl for one in found for kl in one.kls))


# --------------------------------------------------------------------------------------- the method
def train(config: RRHFConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("rrhf", config)
    policy = load_policy(config.model_name_or_path, config, run)
    rows: Sequence[Example | RankedExample]
    if config.reward_model is None:
        rows = ranked = read_ranked(policy, config, run)

        def candidates(chosen: Sequence[int]) -> list[RankedExample]:
            return [ranked[number] for number in chosen]
    else:
        online = Online(run, policy, config, config.reward_model)
        rows, candidates = online.prompts, online.candidates

    model = run.prepare(policy)
    for chosen in run.steps(rows):
        queries = candidates(chosen)
        for batch in run.micro_batches(queries, range(len(queries))):
            answers = [answer for query in batch.rows for answer in query.answers]
            tokens = pad(answers, policy.encoder.pad, run.device)
            loss, metrics = rrhf_loss(
                model(*tokens), tokens.targets, ranks(batch.rows).to(run.device),
                ranking_weight=config.ranking_weight, sft_loss=config.sft_loss,
            )  # fmt: skip
            run.update(batch, loss, metrics)
    return run.finish()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(RRHFConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
