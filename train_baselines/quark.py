"""Quark, quantised reward conditioning (Lu et al. 2022, arXiv:2205.13636), in two variants.

    python -m train_baselines.quark --model-name-or-path SFT --reward-model RM \\
        --dataset prompts.jsonl --output-dir OUT

A step draws an answer to each of `batch_size` prompts, has a reward model score them, cuts what is in
the pool into quantiles by reward, and takes `num_gradient_steps` updates on it: supervised
fine-tuning, held to the model that training begins with by the KL over the whole vocabulary.

- `best_quantile`, AlpacaFarm's and the default: the pool is what the step has drawn, and only its best
  quantile is trained on. There are no reward tokens: it is expert iteration with a KL, whose best are
  chosen among all prompts of a step and not for each of them.
- `paper`: the pool keeps all that was drawn, all of it is trained on, each answer behind the token of
  its quantile (`conditioning`), and from the second step on answers are drawn behind the best one's.
  The reference reads prompts without a token. The checkpoint's chat template ends prompts with it.

The defaults are AlpacaFarm's in both (arXiv:2305.14387; its scripts and trainer): 10 epochs of 512
answers, an update on 256, 3e-6, linear with 5 of 390 steps of warm-up, KL coefficient 0.05, 4
quantiles. Departures: means are taken over the answers' tokens, as in the authors' code, where
AlpacaFarm counts padding too; quantiles are those of all processes together, and the best one's 128
answers enter an update of 256 once, not twice; the token stands behind the prompt and not before it;
prompts that leave no room for `max_new_tokens` are dropped and counted; an answer with a reward token
in it is left out of the pool; the reward model reads with its own tokenizer and template, and sees
whether an answer ended. With LoRA the tokens' embeddings are not trained, and the checkpoint to use
is the merged one: the adapter alone lacks them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from judges.errors import UserError
from judges.records import read_records, to_line, validated, write_atomic
from train_baselines import ops
from train_baselines.data.examples import Example, Tokens, pad
from train_baselines.models.conditioning import bare, behind, condition, reward_tokens
from train_baselines.models.loading import load_policy, load_reference
from train_baselines.models.wrapped import Policy
from train_baselines.runtime import plan
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.devices import Model
from train_baselines.runtime.run import Run
from train_baselines.sampling.rollouts import Rollout, mean_score, roll_out
from train_baselines.sampling.rounds import load_scorer, read_questions, refuse_sharded
from train_baselines.sampling.sampler import BuiltIn, Sampling


@dataclass(frozen=True, kw_only=True)
class QuarkConfig(RunConfig):
    """Quantised reward conditioning. What names no source is AlpacaFarm's."""

    full_learning_rate: ClassVar[float] = 3e-6

    reward_model: str
    """A sequence classifier with one label: a folder, or ORG/NAME[@REVISION] on the Hub."""
    variant: Literal["best_quantile", "paper"] = "best_quantile"
    """paper has reward tokens and keeps its pool; best_quantile is AlpacaFarm's."""
    n_quantiles: int = 4
    kl_coef: float = 0.05
    entropy_coef: float = 0.0
    """Of a bonus for the entropy of each token."""
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 300
    num_train_epochs: int = 10
    """Over the prompts."""
    batch_size: int = 512
    """Prompts of a step, one answer each."""
    step_batch_size: int = 256
    """Answers of the pool behind one update of the weights, at most."""
    num_gradient_steps: int = 1
    """Updates a step."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "linear"
    warmup_ratio: float = 0.0125
    adam_epsilon: float = 1e-5

    def check(self) -> None:
        super().check()
        if self.n_quantiles < 2:
            raise UserError(f"n_quantiles = {self.n_quantiles}: at least 2 are needed")
        for name in ("step_batch_size", "num_gradient_steps"):
            if (value := getattr(self, name)) < 1:
                raise UserError(f"{name} = {value}: at least 1 is needed")
        for name in ("kl_coef", "entropy_coef"):
            if (value := getattr(self, name)) < 0:
                raise UserError(f"{name} = {value}: it cannot be negative")
        self.sampling()

    def sampling(self) -> Sampling:
        """How answers are drawn."""
        return Sampling(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p
        )


# ------------------------------------------------------------------------------------ 1. the pool
class Pool:
    """The answers that are trained on, behind bare prompts: the last step's, or all that the run has
    drawn.

    What is kept is also on disk, a file a step: a resumed run no longer has the policies that drew it.
    """

    def __init__(self, run: Run, *, is_kept: bool) -> None:
        self._run, self._is_kept = run, is_kept
        self.rows: list[Rollout] = []
        if is_kept:
            for step in range(run.step):
                self.rows += self._read(step)

    def add(self, rows: Sequence[Rollout]) -> None:
        """Takes the answers of the run's step."""
        if not self._is_kept:
            self.rows = [*rows]
            return
        self.rows += rows
        if self._run.is_main:
            write_atomic(self._path(self._run.step), "".join(to_line(one) + "\n" for one in rows))

    def _path(self, step: int) -> Path:
        return self._run.output / "kept-pool" / f"step-{step + 1}.jsonl"

    def _read(self, step: int) -> list[Rollout]:
        path = self._path(step)
        if not path.is_file():
            raise UserError(
                f"{path} is gone, the run cannot be resumed: begin anew with --overwrite True"
            )
        return [validated(Rollout, line, f"{path}, line {n}") for n, line in read_records(path)]


# ------------------------------------------------------------------------------------ 2. quantise
def quantiles(rewards: Sequence[float], n: int) -> list[int]:
    """Which of the n quantiles each reward is in, 0 the best.

    All have as many, and the last one the remainder too; where there are fewer rewards than
    quantiles the first ones have one each. Of equal rewards the earlier one ranks higher.
    """
    size = max(1, len(rewards) // n)
    found = [0] * len(rewards)
    order = sorted(range(len(rewards)), key=lambda row: -rewards[row])
    for place, row in enumerate(order):
        found[row] = min(place // size, n - 1)
    return found


# --------------------------------------------------------------------------------------- 3. learn
class Held(Model):
    """The policy with the reference that it is held to: a frozen copy of it as training begins, or
    itself with the adapter off."""

    def __init__(self, policy: Policy, reference: Policy | None, tokens: Sequence[int]) -> None:
        super().__init__()
        self.policy = policy
        self._frozen = (reference,)  # in a tuple it is no part of what is trained, sent or saved
        self._tokens = tuple(tokens)

    def forward(self, read: Tokens, known: Tokens) -> ops.Divergence:
        """Figures of the N targets, row by row; `known` are the rows as the reference reads them."""
        with torch.no_grad(), self._reference() as reference:
            states, its_head = reference.before(*known)
        hidden, head = self.policy.before(*read)
        excluded = torch.tensor(self._tokens, device=hidden.device) if self._tokens else None
        with self.policy.autocast():
            return ops.divergence(
                hidden, head, states, its_head, read.ids[read.targets], excluded=excluded
            )

    @contextlib.contextmanager
    def _reference(self) -> Iterator[Policy]:
        (frozen,) = self._frozen
        if frozen is not None:
            yield frozen
        else:
            with self.policy.adapter_off():
                yield self.policy

    def save(self, folder: Path | None) -> None:
        """Writes the policy."""
        self.policy.save(folder)


def quark_loss(
    found: ops.Divergence, *, kl_coef: float, entropy_coef: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over N tokens of -log π(y_t | x, c, y_<t) + β KL(π ‖ π_ref) - η H(π), where c is the
    token of the quantile that y is in, which π_ref does not see.

    The learning step of Lu et al., by the token as their code has it; all figures are [N].
    """
    losses = -found.logprobs + kl_coef * found.kl - entropy_coef * found.entropy
    metrics = {"token_kl": found.kl.mean(), "entropy": found.entropy.mean()}
    return losses.mean(), metrics


# --------------------------------------------------------------------------------------- training
def train(config: QuarkConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("quark", config)
    refuse_sharded(run)
    path, has_tokens = config.model_name_or_path, config.variant == "paper"
    policy = load_policy(path, config, run)
    reference = None if config.use_peft else load_reference(path, config, run)
    tokens: list[int] = []
    if has_tokens:
        names = reward_tokens(config.n_quantiles)
        tokens = condition(policy, names, config.seed)
        if reference is not None:  # so that both have one vocabulary
            condition(reference, names, config.seed)
    scorer = load_scorer(config.reward_model, config, run)
    questions = read_questions(policy, config, run, config.max_new_tokens)

    model = run.prepare(Held(policy, reference, tokens))
    sampler, pad_id = BuiltIn(policy, config.tokens_per_device), policy.encoder.pad
    pool: Pool | None = None
    for chosen in run.steps([Example(one.prompt, len(one.prompt), one.where) for one in questions]):
        pool = Pool(run, is_kept=has_tokens) if pool is None else pool
        asked = [questions[number] for number in chosen]
        if has_tokens and run.step == 0:  # nothing was taught yet of what a token means
            asked = [replace(one, prompt=one.prompt[:-1]) for one in asked]
        answers = roll_out(
            run, sampler, scorer, asked, config.sampling(), seed=config.seed + (run.step << 32)
        )
        rows = answers if not has_tokens or run.step == 0 else [bare(one) for one in answers]
        pool.add([row for row in rows if not set(tokens).intersection(row.ids[row.n_prompt :])])
        if not pool.rows:
            raise UserError("all answers of the first step have a reward token in them")
        levels = quantiles([row.score for row in pool.rows], config.n_quantiles)
        best = [n for n, level in enumerate(levels) if level == 0]
        run.log(reward=mean_score(answers), best_reward=mean_score([pool.rows[n] for n in best]))
        taught = range(len(levels)) if has_tokens else best
        updates, key = range(config.num_gradient_steps), config.seed + (run.step + 1 << 32)
        for some in plan.rows_of_steps(len(taught), config.step_batch_size, updates, seed=key):
            rows = [pool.rows[taught[n]] for n in some]
            if has_tokens:
                which = [tokens[levels[taught[n]]] for n in some]
                rows = [behind(token, row) for token, row in zip(which, rows, strict=True)]
            for batch in run.micro_batches(rows, range(len(rows))):
                read = pad(batch.rows, pad_id, run.device)
                known = pad([*map(bare, batch.rows)], pad_id, run.device) if has_tokens else read
                loss, metrics = quark_loss(
                    model(read, known), kl_coef=config.kl_coef, entropy_coef=config.entropy_coef
                )
                run.update(batch, loss, metrics)
    return run.finish()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(QuarkConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
