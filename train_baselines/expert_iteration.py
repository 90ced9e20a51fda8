"""Expert iteration: supervised fine-tuning on the policy's own best-of-n answers.

    python -m train_baselines.expert_iteration --model-name-or-path SFT --reward-model RM \\
        --dataset prompts.jsonl --output-dir OUT

Of n samples of each prompt the one with the highest reward is a demonstration (AlpacaFarm,
arXiv:2305.14387, after Anthony et al. 2017, arXiv:1705.08439). The defaults are AlpacaFarm's: best of
16, drawn as its best-of-n decoding does (temperature 1, top_p 0.9, 300 new tokens), then its SFT 10k
recipe: 3 epochs of 128 examples, 2e-5, cosine with 3 % warm-up, 512 tokens; and one round. With
`--rounds 2 --num-train-epochs 6` the answers are drawn anew, by the policy as it is by then, after
three epochs. Departures: the tokens that were sampled are trained on as they are, and an answer that
was cut off teaches no end; prompts that leave no room for `max_new_tokens` are dropped and counted;
the reward model reads with its own tokenizer and template, and sees whether an answer ended.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from judges.errors import UserError
from judges.records import read_records, to_line, validated
from train_baselines import ops
from train_baselines.data import Example, pad
from train_baselines.loading import load_policy, load_scalar_model
from train_baselines.models import Policy
from train_baselines.runtime import storage
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run
from train_baselines.sampling import Sampling
from train_baselines.selecting import Question, Scorer, best_of, by_reward, question
from train_baselines.sources import read_prompts


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


def find_experts(
    run: Run,
    policy: Policy,
    scorer: Scorer,
    questions: Sequence[Question],
    config: ExpertIterationConfig,
    number: int,
) -> list[Expert]:
    """The best answers of a round, in the order of the questions, drawn by all processes together.

    Kept on disk, since a resumed run no longer has the policy that drew them.
    """
    from accelerate.utils import gather_object

    path = config.output_dir / f"kept-round-{number}" / "experts.jsonl"
    asked = [one.prompt for one in questions]
    if path.is_file():
        held = [validated(Expert, line, f"{path}, line {n}") for n, line in read_records(path)]
        if [one.example.ids[: one.example.n_prompt] for one in held] == asked:
            return held
    from tqdm import tqdm

    mine = questions[run.rank :: run.world]
    found = best_of(
        policy, mine, [config.n], config.sampling(), scorer,
        seed=config.seed + (number << 32), tokens_per_device=config.tokens_per_device,
    )  # fmt: skip
    shown = None if run.is_main else True
    own: list[tuple[int, Expert]] = []
    for place, (choice,) in tqdm(
        found, "answers", len(mine), unit="prompt", disable=shown, leave=False
    ):
        one = mine[place]
        if choice.score is None or choice.mean is None:
            raise UserError(
                f"{one.where}: no answer fits the window of {config.reward_model}: lower "
                "--max-new-tokens"
            )
        ids = (*one.prompt, *choice.candidate.sample.tokens)
        expert = Expert(Example(ids, len(one.prompt), one.where), choice.score, choice.mean)
        own.append((place * run.world + run.rank, expert))
    experts = [one for _, one in sorted(gather_object(own), key=lambda pair: pair[0])]
    if run.is_main:
        with storage.new_folder(path.parent) as draft:
            text = "".join(to_line(one) + "\n" for one in experts)
            (draft / path.name).write_text(text, encoding="utf-8")
    run.accelerator.wait_for_everyone()
    return experts


def train(config: ExpertIterationConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("expert_iteration", config)
    if run.accelerator.distributed_type.value == "FSDP":
        raise UserError(
            "expert_iteration draws answers with whole weights, which FSDP does not hold: "
            "launch it under DDP"
        )
    policy = load_policy(config.model_name_or_path, config, run)
    # Its own template, whatever the policy's is: the one that it was trained with.
    reward = load_scalar_model(config.reward_model, replace(config, chat_template=None), run)
    scorer = by_reward(reward, tokens_per_device=config.tokens_per_device)
    every = [
        question(prompt.messages, policy.encoder, prompt.where)
        for prompt in read_prompts(config.dataset)
    ]
    room = config.max_length - config.max_new_tokens
    questions = [one for one in every if len(one.prompt) <= room]
    n_dropped, why = len(every) - len(questions), "prompts without room for max_new_tokens"
    run.note(
        f"{len(questions):,} prompts{f'; dropped {n_dropped:,}: {why}' if n_dropped else ''}",
        dropped={why: n_dropped} if n_dropped else {},
    )

    model = run.prepare(policy)
    current = -1
    experts: list[Expert] = []
    prompts = [Example(one.prompt, len(one.prompt), one.where) for one in questions]
    for chosen in run.steps(prompts):
        number = run.step * config.rounds // run.total
        if number != current:
            current = number
            experts = find_experts(run, policy, scorer, questions, config, number)
        if number != (run.step - 1) * config.rounds // run.total:  # the first step of a round
            n = len(experts)
            run.log(
                reward=sum(one.score for one in experts) / n,
                mean_reward=sum(one.mean_score for one in experts) / n,
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
