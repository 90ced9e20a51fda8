"""Expert iteration: supervised fine-tuning on the policy's own best-of-n answers.

    python -m train_baselines.expert_iteration --model-name-or-path SFT --reward-model RM \\
        --dataset prompts.jsonl --output-dir OUT

Of n samples of each prompt the one with the highest reward is a demonstration (AlpacaFarm,
arXiv:2305.14387, after Anthony et al. 2017, arXiv:1705.08439). The defaults are AlpacaFarm's: best of
16, drawn as its best-of-n decoding does (temperature 1, top_p 0.9, 300 new tokens), then its SFT 10k
recipe: 3 epochs of 128 examples, 2e-5, cosine with 3 % warm-up, 512 tokens; and one round. With
`--rounds 2 --num-train-epochs 6` the answers are drawn anew, by the policy as it is by then, after
three epochs. With one round the policy that answers is not trained yet, and vLLM can draw for it
(`--sampler vllm`); that of a later round is, and is left to the built-in sampler. Departures: the
tokens that were sampled are trained on as they are, and an answer that was cut off teaches no end;
prompts that leave no room for `max_new_tokens` are dropped and counted; the reward model reads with
its own tokenizer and template, and sees whether an answer ended.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar, Literal

from torch import Tensor

from judges.errors import UserError
from train_baselines import ops
from train_baselines.data.examples import Example, pad
from train_baselines.models.loading import load_policy
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run
from train_baselines.sampling import rounds
from train_baselines.sampling.sampler import BuiltIn, Sampler, Sampling
from train_baselines.sampling.selecting import Question, best_of
from train_baselines.sampling.vllm import VllmSampler


@dataclass(frozen=True, kw_only=True)
class ExpertIterationConfig(RunConfig):
    """Supervised fine-tuning on best-of-n answers."""

    full_learning_rate: ClassVar[float] = 2e-5  # AlpacaFarm, SFT 10k

    reward_model: str
    """A sequence classifier with one label: a folder, or ORG/NAME[@REVISION] on the Hub."""
    n: int = 16
    """Samples to choose from; AlpacaFarm."""
    temperature: float = 1.0
    """AlpacaFarm."""
    top_p: float = 0.9
    """AlpacaFarm's decoding."""
    max_new_tokens: int = 300
    """AlpacaFarm."""
    sampler: Literal["built_in", "vllm"] = "built_in"
    """vllm draws the answers of the first round, for which the policy is not trained yet."""
    vllm_args: tuple[str, ...] = ()
    """NAME=VALUE for vLLM: dtype, gpu_memory_utilization, max_model_len, tensor_parallel_size."""
    rounds: int = 1
    """How often answers are drawn; AlpacaFarm. Must divide num_train_epochs."""
    num_train_epochs: int = 3
    """Over the prompts, in all rounds together; AlpacaFarm, SFT 10k."""
    batch_size: int = 128
    """Prompts a step; AlpacaFarm, SFT 10k."""

    def check(self) -> None:
        super().check()
        for name in ("n", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}: at least 1 is needed")
        if self.num_train_epochs % self.rounds:
            raise UserError(
                f"rounds = {self.rounds}: they must divide num_train_epochs, {self.num_train_epochs}"
            )
        if self.sampler == "vllm" and self.rounds > 1:
            raise UserError(
                f"rounds = {self.rounds}: from the second round on the policy in training answers, "
                "which vLLM does not have; leave --sampler built_in"
            )
        if self.vllm_args and self.sampler != "vllm":
            raise UserError("vllm_args: they go with --sampler vllm")
        self.sampling()

    def sampling(self) -> Sampling:
        """How the answers are drawn."""
        return Sampling(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p
        )


@dataclass(frozen=True, slots=True)
class Expert:
    """The best answer to a prompt, behind it, with its score and the mean score of all samples."""

    example: Example
    score: float
    mean_score: float


def expert_loss(logprobs: Tensor, targets: Tensor) -> Tensor:
    """The mean negative log-likelihood of the best answers' tokens, -1/n Σ log π(y_t | x, y_<t).

    logprobs [B, L] of the tokens, targets [B, L] where a token is part of an answer.
    """
    return -ops.masked_mean(logprobs, targets)


def train(config: ExpertIterationConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("expert_iteration", config)
    rounds.refuse_sharded(run)
    policy = load_policy(config.model_name_or_path, config, run)
    scorer = rounds.load_scorer(config.reward_model, config, run)
    questions = rounds.read_questions(policy, config, run, config.max_new_tokens)

    def find_experts(mine: Sequence[Question], seed: int) -> Iterator[tuple[int, Expert]]:
        sampler: Sampler = BuiltIn(policy, config.tokens_per_device)
        if config.sampler == "vllm":
            sampler = VllmSampler.open(config, run, config.vllm_args)
        sampling = config.sampling()
        for place, (choice,) in best_of(sampler, mine, [config.n], sampling, scorer, seed=seed):
            one = mine[place]
            if choice.score is None or choice.mean is None:
                raise UserError(
                    f"{one.where}: no answer fits the window of {config.reward_model}: lower "
                    "--max-new-tokens"
                )
            ids = (*one.prompt, *choice.candidate.sample.tokens)
            example = Example(ids, len(one.prompt), one.where)
            yield place, Expert(example, choice.score, choice.mean)
        sampler.close()

    model = run.prepare(policy)
    current = range(0)
    experts: list[Expert] = []
    prompts = [Example(one.prompt, len(one.prompt), one.where) for one in questions]
    for chosen in run.steps(prompts):
        steps = rounds.round_of(run.step, run.total, rounds=config.rounds)
        if steps != current:
            current = steps
            experts = rounds.drawn(run, steps, questions, find_experts, Expert)
        if run.step == steps.start:
            run.log(
                reward=fmean(one.score for one in experts),
                mean_reward=fmean(one.mean_score for one in experts),
            )
        for batch in run.micro_batches([one.example for one in experts], chosen):
            tokens = pad(batch.rows, policy.encoder.pad, run.device)
            run.update(batch, expert_loss(model(*tokens), tokens.targets))
    return run.finish()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(ExpertIterationConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
