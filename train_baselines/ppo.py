"""Proximal policy optimisation against a reward model (Schulman et al. 2017, arXiv:1707.06347).

    python -m train_baselines.ppo --model-name-or-path SFT --reward-model RM \\
        --dataset prompts.jsonl --output-dir OUT

A step is a rollout (one answer to each of `batch_size` prompts), its rewards (the reward model's
score at the last token, and at every token a penalty for leaving the model that training begins with;
Stiennon et al. 2020, arXiv:2009.01325; Ouyang et al. 2022, arXiv:2203.02155), advantages (Schulman
et al. 2016, arXiv:1506.02438), and `noptepochs` passes of updates. The defaults are AlpacaFarm's
(arXiv:2305.14387; its scripts and trainer): 10 epochs of 512 answers, updates of 256, 1e-5, linear
with 5 of 390 steps of warm-up. Departures: only tokens of answers enter means and whitening, where
AlpacaFarm has pads too; rewards are divided by their root mean square, since taking the mean from
every token would pay by the token once answers end where they end; an answer that is cut off loses
`missing_eos_penalty`, and the reward model sees that it has no end; the reward model reads with its
own tokenizer and template; an adaptive coefficient is led by the plain estimate of the KL,
log π/π_ref, whatever the reward holds; prompts that leave no room for `max_new_tokens` are dropped
and counted. With `eval_dataset` the run ends with the best policy by its mean score there, which may
be the one that it began with.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from judges.errors import UserError
from train_baselines import ops
from train_baselines.data.examples import Example, pad
from train_baselines.models.loading import (
    check_same_tokenizer,
    load_policy,
    load_reference,
    load_value_model,
)
from train_baselines.models.wrapped import ActorCritic, Policy
from train_baselines.runtime import plan
from train_baselines.runtime.best import Best
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run
from train_baselines.sampling.rollouts import Rollout, mean_score, roll_out
from train_baselines.sampling.rounds import load_scorer, read_questions, refuse_sharded
from train_baselines.sampling.sampler import BuiltIn, Sampling
from train_baselines.sampling.selecting import Question


@dataclass(frozen=True, kw_only=True)
class PPOConfig(RunConfig):
    """Proximal policy optimisation. What names no source is AlpacaFarm's."""

    full_learning_rate: ClassVar[float] = 1e-5

    reward_model: str
    """A sequence classifier with one label: a folder, or ORG/NAME[@REVISION] on the Hub."""
    value_model: Literal["separate", "shared"] = "separate"
    """separate begins as the reward model with a new head; shared is a head on the policy's states."""
    num_train_epochs: int = 10
    """Over the prompts."""
    batch_size: int = 512
    """Prompts of a step, one answer each."""
    step_batch_size: int = 256
    """Answers behind one update of the weights."""
    noptepochs: int = 2
    """Passes over the answers of a step."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "linear"
    warmup_ratio: float = 0.0125
    adam_epsilon: float = 1e-5
    save_steps: int = 20
    temperature: float = 1.0
    """Of sampling and of all log-probabilities."""
    max_new_tokens: int = 300
    missing_eos_penalty: float = 1.0
    """Taken from the score of an answer that was cut off; ours, AlpacaFarm has it switched off."""
    standardise_scores: bool = False
    """Scores are centred and scaled by their mean and deviation in the first step, so that the other
    settings mean the same whatever the reward model; ours."""
    whiten_rewards: bool = True
    """Divide rewards by their root mean square over the tokens of a step."""
    kl_coef: float = 0.0067
    """Its own for simulated preferences; 0.02 for people's."""
    kl_estimator: ops.KLEstimator = "clamped"
    """In the reward (`ops.kl_estimate`). Of k1 alone the policy gradient is that of the KL, so that
    the best policy is π_ref exp(r / β), normalised."""
    kl_target: float | None = None
    """Nats an answer that an adaptive coefficient steers to; unset it is fixed. Ziegler et al. 2019."""
    gamma: float = 1.0
    lam: float = 1.0
    cliprange: float = 0.2
    cliprange_value: float = 0.2
    vf_coef: float = 0.1
    eval_dataset: str | None = None
    """Prompts that are not trained on: one answer each, scored, chooses the best policy."""
    eval_steps: int = 20
    """Steps between two looks at them; ours, as often as AlpacaFarm saves."""
    early_stopping_patience: int | None = None
    """Stop behind so many looks in a row without a better one; unset it trains to the end."""

    def check(self) -> None:
        super().check()
        for name in ("step_batch_size", "noptepochs", "eval_steps", "early_stopping_patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} = {value}: at least 1 is needed")
        for name in ("temperature", "cliprange", "cliprange_value", "kl_target"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise UserError(f"{name} = {value}: a positive number is needed")
        for name in ("kl_coef", "vf_coef", "missing_eos_penalty"):
            if (value := getattr(self, name)) < 0:
                raise UserError(f"{name} = {value}: it cannot be negative")
        for name in ("gamma", "lam"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UserError(f"{name} = {value}: a share from 0 to 1 is needed")
        if self.early_stopping_patience and self.eval_dataset is None:
            raise UserError("early_stopping_patience needs prompts to look at: set eval_dataset")
        self.sampling()

    def sampling(self) -> Sampling:
        """How answers are drawn: from the whole distribution, as the maths asks."""
        return Sampling(max_new_tokens=self.max_new_tokens, temperature=self.temperature)


# ------------------------------------------------------------------------------------- 1. rollout
def mask_of(rollouts: Sequence[Rollout], width: int, device: torch.device) -> Tensor:
    """[rollouts, width], True for the tokens of the answers, which stand from the left."""
    lengths = torch.tensor([one.length - one.n_prompt for one in rollouts], device=device)
    return torch.arange(width, device=device) < lengths[:, None]


@torch.no_grad()
def measure(
    run: Run,
    rollouts: Sequence[Rollout],
    reference: Callable[..., Tensor],
    config: PPOConfig,
    pad_id: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities of the policy and of the reference, and values, of every token; the mask.

    All [N, T], T the longest answer; one forward pass of each model.
    """
    width = max(one.length - one.n_prompt for one in rollouts)

    def looked_at(rows: Sequence[Rollout]) -> Tensor:
        tokens = pad(rows, pad_id, run.device)
        logprobs, values = run.model(*tokens, config.temperature)
        known = reference(*tokens, config.temperature)[tokens.targets]
        found = torch.zeros(3, len(rows), width, device=run.device)
        found[:, mask_of(rows, width, run.device)] = torch.stack([logprobs, known, values])
        return found.transpose(0, 1)

    found = run.each(rollouts, looked_at, what="rollout").to(run.device)
    logprobs, known, values = found.unbind(1)
    return logprobs, known, values, mask_of(rollouts, width, run.device)


# -------------------------------------------------------------------------------------- 2. reward
def answer_rewards(rollouts: Sequence[Rollout], state: dict[str, Any], config: PPOConfig) -> Tensor:
    """What each answer as a whole is rewarded with, [N]; the scale stays that of the first step."""
    scores = torch.tensor([one.score for one in rollouts])
    if config.standardise_scores:
        spread = scores.std(correction=0).item() or 1.0
        mean, spread = state.setdefault("scores", [scores.mean().item(), spread])
        scores = (scores - mean) / spread
    cut_off = torch.tensor([not one.ended for one in rollouts])
    return scores - config.missing_eos_penalty * cut_off


def token_rewards(
    scores: Tensor, logprobs: Tensor, reference: Tensor, mask: Tensor, *,
    kl_coef: float, kl_estimator: ops.KLEstimator,
) -> Tensor:  # fmt: skip
    """r_t = -β KL_t, and the answer's score on top at its last token, [N, T].

    scores [N], the others [N, T]. Summed up it is R(x, y) = r(x, y) - β log π(y|x) / π_ref(y|x) for
    the estimator k1 (Stiennon et al. 2020, section 3.4).
    """
    rewards = -kl_coef * ops.kl_estimate(logprobs, reference, kl_estimator)
    last = mask.sum(1, keepdim=True) - 1
    return torch.where(mask, rewards.scatter_add(1, last, scores[:, None]), 0.0)


def adapted(kl_coef: float, kl: float, target: float) -> float:
    """The coefficient after a step that was `kl` nats an answer away (Ziegler et al. 2019,
    arXiv:1909.08593, section 2.2, their gain of 0.1)."""
    return kl_coef * (1 + 0.1 * min(max(kl / target - 1, -0.2), 0.2))


# --------------------------------------------------------------------------------- 3. advantage
def advantages_of(
    rewards: Tensor, values: Tensor, mask: Tensor, config: PPOConfig
) -> tuple[Tensor, Tensor]:
    """Whitened advantages, and what the value model learns, all [N, T] (`ops.gae`)."""
    if config.whiten_rewards:
        rewards = ops.masked_whiten(rewards, mask, shift_mean=False)
    advantages, returns = ops.gae(rewards, values, mask, gamma=config.gamma, lam=config.lam)
    return ops.masked_whiten(advantages, mask), returns


# ------------------------------------------------------------------------------------- 4. update
def policy_loss(
    logprobs: Tensor, old: Tensor, advantages: Tensor, *, cliprange: float
) -> tuple[Tensor, Tensor]:
    """-mean min(ρ A, clip(ρ, 1 - ε, 1 + ε) A) with ρ = π/π_old (Schulman et al. 2017, equation 7).

    All [n]: tokens of answers. Also the share of them at which the clipped term is the smaller one.
    """
    ratio = (logprobs - old).exp()
    plain = ratio * advantages
    clipped = ratio.clamp(1 - cliprange, 1 + cliprange) * advantages
    return -torch.minimum(plain, clipped).mean(), (clipped < plain).float().mean()


def value_loss(values: Tensor, old: Tensor, returns: Tensor, *, cliprange: float) -> Tensor:
    """½ mean max((V - R)², (clip(V, V_old ± ε) - R)²), all [n]: equation 9's squared error, which
    the authors' code clips as the policy is."""
    clipped = torch.clamp(values, old - cliprange, old + cliprange)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean()


def update(
    run: Run,
    rollouts: Sequence[Rollout],
    stored: Tensor,
    mask: Tensor,
    config: PPOConfig,
    pad_id: int,
) -> None:
    """The passes over a step's rollouts. stored [4, N, T]: log-probabilities, values, advantages and
    returns, all as they are before the first of them; mask [N, T]."""
    for number in range(config.noptepochs):
        for chosen in plan.steps_of_epoch(
            len(rollouts), config.step_batch_size, seed=config.seed + 1 + run.step, epoch=number
        ):
            for batch in run.micro_batches(rollouts, chosen):
                rows = [row.number for row in batch.rows]
                old, old_values, advantages, returns = stored[:, rows][:, mask[rows]]
                tokens = pad(batch.rows, pad_id, run.device)
                logprobs, values = run.model(*tokens, config.temperature)
                surrogate, clipped = policy_loss(
                    logprobs, old, advantages, cliprange=config.cliprange
                )
                error = value_loss(values, old_values, returns, cliprange=config.cliprange_value)
                figures = {
                    "policy_loss": surrogate,
                    "value_error": ((values - returns) ** 2).mean(),
                    "clip_fraction": clipped,
                }
                run.update(batch, surrogate + config.vf_coef * error, figures)


# --------------------------------------------------------------------------------------- training
def train(config: PPOConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("ppo", config)
    refuse_sharded(run)
    policy = load_policy(config.model_name_or_path, config, run)
    scorer = load_scorer(config.reward_model, config, run)
    critic = None
    if config.value_model == "separate":
        critic = load_value_model(config.reward_model, config, run)
        check_same_tokenizer(policy.encoder, critic.encoder, config.reward_model)
    reference = _reference(policy, config, run)
    held_out = []
    if config.eval_dataset is not None:
        other = replace(config, dataset=config.eval_dataset)
        held_out = read_questions(policy, other, run, config.max_new_tokens)
        if not held_out:
            raise UserError(f"{config.eval_dataset}: no prompts are left to look at")
    questions = read_questions(policy, config, run, config.max_new_tokens)

    run.prepare(ActorCritic(policy, critic))
    best = Best(run, policy, config.early_stopping_patience)
    sampler = BuiltIn(policy, config.tokens_per_device)

    def answers(asked: Sequence[Question], draw: int) -> list[Rollout]:
        seed = config.seed + (draw << 32)
        return roll_out(run, sampler, scorer, asked, config.sampling(), seed=seed)

    for chosen in run.steps([Example(one.prompt, len(one.prompt), one.where) for one in questions]):
        if best.is_over:
            break
        if held_out and run.step == 0:
            best.add(mean_score(answers(held_out, 0)), 0)
        began = time.monotonic()
        rollouts = answers([questions[n] for n in chosen], run.step + 1)
        logprobs, known, values, mask = measure(
            run, rollouts, reference, config, policy.encoder.pad
        )
        seconds_rollout = time.monotonic() - began

        kl_coef = run.state.setdefault("kl_coef", config.kl_coef)
        scores = answer_rewards(rollouts, run.state, config).to(run.device)
        rewards = token_rewards(
            scores, logprobs, known, mask, kl_coef=kl_coef, kl_estimator=config.kl_estimator
        )
        advantages, returns = advantages_of(rewards, values, mask, config)
        kl = ops.masked_sum(logprobs - known, mask, 1).mean().item()
        if config.kl_target is not None:
            run.state["kl_coef"] = adapted(kl_coef, kl, config.kl_target)

        began = time.monotonic()
        stored = torch.stack([logprobs, values, advantages, returns])
        update(run, rollouts, stored, mask, config, policy.encoder.pad)
        run.log(
            reward=mean_score(rollouts),
            kl=kl,
            kl_coef=kl_coef,
            entropy=-ops.masked_mean(logprobs, mask).item(),
            response_length=mask.sum().item() / len(rollouts),
            missing_eos=sum(not one.ended for one in rollouts) / len(rollouts),
            seconds_rollout=round(seconds_rollout, 4),
            seconds_update=round(time.monotonic() - began, 4),
        )
        step = run.step + 1
        if held_out and (step % config.eval_steps == 0 or step == run.total):
            figure = mean_score(answers(held_out, 0))
            best.add(figure, step)
            run.log(eval_reward=figure)
    if held_out:
        best.restore()
        told = f"the best policy is that after {best.step} steps: {best.figure:.4g} on held-out prompts"
        run.note(told, best_step=best.step, eval_reward=best.figure)
    return run.finish()


def _reference(policy: Policy, config: PPOConfig, run: Run) -> Callable[..., Tensor]:
    """Log-probabilities of the model that training begins with."""
    if not config.use_peft:
        return load_reference(config.model_name_or_path, config, run)

    def without_adapter(*tokens: Any) -> Tensor:
        with policy.adapter_off():
            found: Tensor = policy(*tokens)
        return found

    return without_adapter


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(PPOConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
