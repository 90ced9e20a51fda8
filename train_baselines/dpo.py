"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290).

    python -m train_baselines.dpo --model-name-or-path SFT --dataset prefs.jsonl --output-dir OUT

The defaults are AlpacaFarm's (arXiv:2305.14387; its scripts): 2 epochs of 64 pairs, 1e-6, cosine
with 3 % warm-up, beta 0.1, sums of log-probabilities. The reference is the model that training
begins with; its log-probabilities are computed once, before the first step, and kept on disk, so
that one model is in memory. A preference that is a probability counts as its likelier side; ties
are dropped and counted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from judges.errors import UserError
from train_baselines import ops
from train_baselines.data.examples import PairExample, encode_pairs, pad
from train_baselines.data.sources import read_pairs
from train_baselines.models.loading import load_policy
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run

LossType = Literal["sigmoid", "ipo"]


@dataclass(frozen=True, kw_only=True)
class DPOConfig(RunConfig):
    """Direct preference optimisation on pairs."""

    full_learning_rate: ClassVar[float] = 1e-6  # AlpacaFarm

    num_train_epochs: int = 2
    """AlpacaFarm."""
    batch_size: int = 64
    """Pairs a step; AlpacaFarm: 8 devices × 1 × 8."""
    beta: float = 0.1
    """How strongly the policy is held to the reference (AlpacaFarm and the paper); for ipo it is τ."""
    loss_type: LossType = "sigmoid"
    """ipo is the squared loss of Azar et al. 2023, which does not run off where labels are certain."""
    length_normalised: bool = False
    """Log-probabilities per token instead of their sums."""

    def check(self) -> None:
        super().check()
        if self.beta <= 0:
            raise UserError(f"beta = {self.beta}: a positive number is needed")


def dpo_loss(
    policy: Tensor, reference: Tensor, *, beta: float, loss_type: LossType = "sigmoid"
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of pairs, and how far the policy tells them apart.

    policy, reference [B, 2]: log-probabilities of the chosen and the rejected answer. With
    h = log π(y_w)/π_ref(y_w) - log π(y_l)/π_ref(y_l):
    sigmoid -log σ(β h), Rafailov et al. equation 7; ipo (h - 1/(2β))², Azar et al. 2023
    (arXiv:2310.12036) equation 17.
    """
    ratios = policy - reference
    h = ratios[:, 0] - ratios[:, 1]
    losses = -logsigmoid(beta * h) if loss_type == "sigmoid" else (h - 1 / (2 * beta)) ** 2
    rewards = beta * ratios.detach()  # equation 5, but for a term of the prompt alone
    metrics = {
        "reward": rewards[:, 0].mean(),
        "reward_rejected": rewards[:, 1].mean(),
        "accuracy": (h > 0).float().mean(),
    }
    return losses.mean(), metrics


def train(config: DPOConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("dpo", config)
    policy = load_policy(config.model_name_or_path, config, run)
    pairs = encode_pairs(read_pairs(config.dataset), policy.encoder, config.max_length)
    run.note(str(pairs), dropped=dict(pairs.dropped))
    model = run.prepare(policy)
    reduce = ops.masked_mean if config.length_normalised else ops.masked_sum

    def logprobs(rows: Sequence[PairExample]) -> Tensor:
        """Log-probabilities of the chosen and the rejected answers, [rows, 2]."""
        answers = [row.chosen for row in rows] + [row.rejected for row in rows]
        tokens = pad(answers, policy.encoder.pad, run.device)
        return reduce(model(*tokens), tokens.targets, 1).view(2, -1).T

    reference = run.once("reference", pairs.rows, logprobs)
    for batch in run.batches(pairs.rows):
        known = reference[[row.number for row in batch.rows]].to(run.device)
        loss, metrics = dpo_loss(
            logprobs(batch.rows), known, beta=config.beta, loss_type=config.loss_type
        )
        run.update(batch, loss, metrics)
    return run.finish()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(DPOConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
