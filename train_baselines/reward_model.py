"""A reward model: one number for a conversation, trained on pairs (Ouyang et al. 2022).

    python -m train_baselines.reward_model --model-name-or-path SFT --dataset prefs.jsonl --output-dir OUT

A sequence classifier of transformers with one label, which `judges` reads as a judge of the kind
reward_model: trainer and judge see the same token ids. The defaults are AlpacaFarm's
(arXiv:2305.14387; its scripts): 1 epoch of 16 pairs, 3e-6, cosine with 3 % warm-up. Departures: the
head has no bias, which no difference of two scores can show; the score is read at the last token of
the whole conversation as the chat template ends it, so that an answer that is cut off can be told
from one that ends.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from judges.errors import UserError
from train_baselines import ops
from train_baselines.data.examples import PairExample, encode_pairs, pad
from train_baselines.data.sources import read_pairs
from train_baselines.models.loading import new_scalar_model
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(RunConfig):
    """A reward model on pairs."""

    full_learning_rate: ClassVar[float] = 3e-6  # AlpacaFarm

    batch_size: int = 16
    """Pairs a step; AlpacaFarm: 8 devices × 1 × 2."""
    margin: float = 0.0
    """By how much the better score is to be ahead (Touvron et al. 2023, equation 2); less where a
    preference is a probability: margin · (2p - 1)."""
    soft_labels: bool = False
    """Take a preference as the probability that it is, and ties as 0.5; else as its likelier side."""
    eval_dataset: str | None = None
    """Held-out pairs; their accuracy is printed at the end and kept in train_config.json."""

    def check(self) -> None:
        super().check()
        if self.margin < 0:
            raise UserError(f"margin = {self.margin}: it cannot be negative")


def reward_loss(
    scores: Tensor, probability: Tensor, *, margin: float = 0.0, soft_labels: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """The Bradley–Terry loss of a batch of pairs.

    scores [B, 2] of the chosen and the rejected answer, probability [B] that the chosen one is the
    better. With d = r_w - r_l - m: -log σ(d), Ouyang et al. 2022 equation 1, with the margin m of
    Touvron et al. 2023 (arXiv:2307.09288) equation 2; with soft labels its mean over p,
    -p log σ(d) - (1 - p) log σ(-d).
    """
    ahead = scores[:, 0] - scores[:, 1]
    d = ahead - margin * (2 * probability - 1)
    losses = -logsigmoid(d)
    if soft_labels:
        losses = probability * losses - (1 - probability) * logsigmoid(-d)
    metrics = {
        "accuracy": (ahead > 0).float().mean(),
        "reward": scores.detach().mean(),
        "ahead": ahead.detach().mean(),
    }
    return losses.mean(), metrics


def train(config: RewardModelConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("reward_model", config)
    reward_model = new_scalar_model(config.model_name_or_path, config, run)

    def encoded(source: str, *, ties: bool) -> list[PairExample]:
        pairs = encode_pairs(
            read_pairs(source), reward_model.encoder, config.max_length, judged=True, ties=ties
        )
        run.note(f"{source}: {pairs}", **{f"dropped {source}": dict(pairs.dropped)})
        return pairs.rows

    rows = encoded(config.dataset, ties=config.soft_labels)
    held_out = encoded(config.eval_dataset, ties=False) if config.eval_dataset else []
    model = run.prepare(reward_model)

    def scores(rows: Sequence[PairExample]) -> Tensor:
        """Scores of the chosen and the rejected conversations, [rows, 2]."""
        both = [row.chosen for row in rows] + [row.rejected for row in rows]
        ids, attention, positions, targets = pad(both, reward_model.encoder.pad, run.device)
        return ops.masked_sum(model(ids, attention, positions), targets, 1).view(2, -1).T

    for batch in run.batches(rows):
        probability = torch.tensor([row.probability for row in batch.rows], device=run.device)
        loss, metrics = reward_loss(
            scores(batch.rows), probability, margin=config.margin, soft_labels=config.soft_labels
        )
        run.update(batch, loss, metrics)

    if held_out:
        found = run.each(held_out, scores, what="held-out pairs")
        accuracy = (found[:, 0] > found[:, 1]).double().mean().item()
        run.note(f"accuracy on {config.eval_dataset}: {accuracy:.1%}", eval_accuracy=accuracy)
    return run.finish()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(RewardModelConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
