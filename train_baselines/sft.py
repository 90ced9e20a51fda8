"""Supervised fine-tuning: the first stage of every method, and the row that the others are held to.

    python -m train_baselines.sft --model-name-or-path BASE --dataset demos.jsonl --output-dir OUT

The defaults are AlpacaFarm's for its SFT 10k (arXiv:2305.14387; its scripts): 3 epochs of 128
examples, 2e-5, cosine with 3 % warm-up, no weight decay, 512 tokens. Departures: an example above
`max_length` is dropped and counted, where theirs is cut; the loss is the mean over the answers'
tokens of the whole step, where theirs is a mean of the means of single examples; only the last
answer of a conversation is trained on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from train_baselines import ops
from train_baselines.data.examples import encode_demonstrations, pack, pad
from train_baselines.data.sources import read_demonstrations
from train_baselines.models.loading import load_policy
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run


@dataclass(frozen=True, kw_only=True)
class SFTConfig(RunConfig):
    """Supervised fine-tuning on demonstrations."""

    full_learning_rate: ClassVar[float] = 2e-5  # AlpacaFarm, SFT 10k

    num_train_epochs: int = 3
    """AlpacaFarm."""
    batch_size: int = 128
    """Demonstrations a step; AlpacaFarm: 8 devices × 1 × 16."""
    packing: bool = False
    """Lay demonstrations end to end instead of padding them; refused where it is not exact. Pays
    on a GPU with flash attention."""


def sft_loss(logprobs: Tensor, targets: Tensor) -> Tensor:
    """The mean negative log-likelihood of the answers' tokens, -1/n Σ log π(y_t | x, y_<t).

    logprobs [B, L] of the tokens, targets [B, L] where a token is part of an answer.
    """
    return -ops.masked_mean(logprobs, targets)


def train(config: SFTConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("sft", config)
    policy = load_policy(config.model_name_or_path, config, run)
    if config.packing:
        policy.check_packing()
    demonstrations = read_demonstrations(config.dataset)
    examples = encode_demonstrations(demonstrations, policy.encoder, config.max_length)
    run.note(str(examples), dropped=dict(examples.dropped))

    model = run.prepare(policy)
    for batch in run.batches(examples.rows, packed=config.packing):
        if config.packing:
            tokens = pack(batch.rows, run.device)
        else:
            tokens = pad(batch.rows, policy.encoder.pad, run.device)
        run.update(batch, sft_loss(model(*tokens), tokens.targets))
    return run.finish()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(SFTConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
