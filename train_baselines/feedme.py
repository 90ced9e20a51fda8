"""Binary FeedME: supervised fine-tuning on the answers that were preferred.

    python -m train_baselines.feedme --model-name-or-path SFT --dataset prefs.jsonl --output-dir OUT

AlpacaFarm's form of OpenAI's FeedME (arXiv:2305.14387): of each pair the better answer is a
demonstration, the worse one is not looked at. It is the plainest use of preferences, and there it
did not beat SFT. AlpacaFarm gives no script for it: the defaults are those of its SFT 10k, 3 epochs
of 128 examples, 2e-5, cosine with 3 % warm-up, 512 tokens. A preference that is a probability
counts as its likelier side; ties are dropped and counted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from train_baselines import ops
from train_baselines.data.examples import encode_demonstrations, pad
from train_baselines.data.sources import Demonstration, read_pairs
from train_baselines.models.loading import load_policy
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run


@dataclass(frozen=True, kw_only=True)
class FeedMEConfig(RunConfig):
    """Supervised fine-tuning on preferred answers."""

    full_learning_rate: ClassVar[float] = 2e-5  # AlpacaFarm, SFT 10k

    num_train_epochs: int = 3
    """AlpacaFarm, SFT 10k."""
    batch_size: int = 128
    """Preferred answers a step; AlpacaFarm, SFT 10k."""


def feedme_loss(logprobs: Tensor, targets: Tensor) -> Tensor:
    """The mean negative log-likelihood of the preferred answers' tokens, -1/n Σ log π(y_t | x, y_<t).

    logprobs [B, L] of the tokens, targets [B, L] where a token is part of an answer.
    """
    return -ops.masked_mean(logprobs, targets)


def train(config: FeedMEConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("feedme", config)
    policy = load_policy(config.model_name_or_path, config, run)
    pairs = read_pairs(config.dataset)
    preferred = [
        Demonstration(pair.messages, pair.chosen, pair.where)
        for pair in pairs
        if pair.probability != 0.5
    ]
    examples = encode_demonstrations(preferred, policy.encoder, config.max_length)
    ties = len(pairs) - len(preferred)
    run.note(
        f"{examples}{f'; dropped {ties:,}: ties' if ties else ''}",
        dropped={**examples.dropped, **({"ties": ties} if ties else {})},
    )

    model = run.prepare(policy)
    for batch in run.batches(examples.rows):
        tokens = pad(batch.rows, policy.encoder.pad, run.device)
        run.update(batch, feedme_loss(model(*tokens), tokens.targets))
    return run.finish()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(FeedMEConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
