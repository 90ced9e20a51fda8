"""Binary reward conditioning: supervised fine-tuning on both answers, each behind a token that says
whether it won; then the model answers behind the winners' token.

    python -m train_baselines.reward_conditioning --model-name-or-path SFT --dataset prefs.jsonl \\
        --output-dir OUT

AlpacaFarm's binary form of conditioning on rewards (arXiv:2305.14387), which Quark (Lu et al. 2022,
arXiv:2205.13636) has with more levels. AlpacaFarm gives no script for it: the defaults are those of
its SFT 10k, 3 epochs of 128 answers, 2e-5, cosine with 3 % warm-up, 512 tokens.

`<reward_0>` (won) and `<reward_1>` (lost) stand at the end of the prompt, and the checkpoint's chat
template puts `<reward_0>` there by itself (`conditioning`). Departures: AlpacaFarm puts the token
before the instruction. A preference that is a probability counts as its likelier side; ties are
dropped and counted. With LoRA the two tokens' embeddings are not trained, and the checkpoint is the
merged one: the adapter alone lacks them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from train_baselines import ops
from train_baselines.data.examples import Encoder, Example, encode_demonstrations, pad
from train_baselines.data.sources import Demonstration, Pair, read_pairs
from train_baselines.models.conditioning import bare, behind, condition, reward_tokens
from train_baselines.models.loading import load_policy
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run

WON, LOST = reward_tokens(2)


@dataclass(frozen=True, kw_only=True)
class RewardConditioningConfig(RunConfig):
    """Supervised fine-tuning on both answers of pairs, told apart by a token."""

    full_learning_rate: ClassVar[float] = 2e-5  # AlpacaFarm, SFT 10k

    num_train_epochs: int = 3
    """AlpacaFarm, SFT 10k."""
    batch_size: int = 128
    """Answers a step, two a pair; AlpacaFarm, SFT 10k."""


def conditioning_loss(logprobs: Tensor, targets: Tensor) -> Tensor:
    """The mean negative log-likelihood of the answers' tokens, -1/n Σ log π(y_t | x, c, y_<t), where
    c is the token that says whether y won.

    logprobs [B, L] of the tokens, targets [B, L] where a token is part of an answer.
    """
    return -ops.masked_mean(logprobs, targets)


def conditioned(
    pairs: Sequence[Pair], encoder: Encoder, max_length: int
) -> tuple[list[Example], dict[str, int]]:
    """Both answers of each pair behind their tokens, and why how many others were dropped."""
    won, lost = (encoder.tokenizer.convert_tokens_to_ids(token) for token in (WON, LOST))
    decided = [pair for pair in pairs if pair.probability != 0.5]
    dropped = Counter({"ties": len(pairs) - len(decided)})
    rows: list[Example] = []
    for token in (won, lost):
        answers = [
            Demonstration(pair.messages, pair.chosen if token == won else pair.rejected, pair.where)
            for pair in decided
        ]
        encoded = encode_demonstrations(answers, encoder, max_length)
        rows += [behind(token, bare(row)) for row in encoded.rows]
        dropped.update(encoded.dropped)
    return rows, {why: n for why, n in dropped.items() if n}


def train(config: RewardConditioningConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("reward_conditioning", config)
    policy = load_policy(config.model_name_or_path, config, run)
    condition(policy, (WON, LOST), config.seed)
    rows, dropped = conditioned(read_pairs(config.dataset), policy.encoder, config.max_length)
    told = "".join(f"; dropped {n:,}: {why}" for why, n in dropped.items())
    run.note(f"{len(rows):,} examples, two a pair{told}", dropped=dropped)

    model = run.prepare(policy)
    for batch in run.batches(rows):
        tokens = pad(batch.rows, policy.encoder.pad, run.device)
        run.update(batch, conditioning_loss(model(*tokens), tokens.targets))
    return run.finish()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(RewardConditioningConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
