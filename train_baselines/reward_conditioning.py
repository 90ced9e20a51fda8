"""Binary reward conditioning: supervised fine-tuning on both answers, each behind a token that says
whether it won; then the model answers behind the winners' token.

    python -m train_baselines.reward_conditioning --model-name-or-path SFT --dataset prefs.jsonl \\
        --output-dir OUT

AlpacaFarm's binary form of conditioning on rewards (arXiv:2305.14387), which Quark (Lu et al. 2022,
arXiv:2205.13636) has with more levels. AlpacaFarm gives no script for it: the defaults are those of
its SFT 10k, 3 epochs of 128 answers, 2e-5, cosine with 3 % warm-up, 512 tokens.

`<reward_0>` (won) and `<reward_1>` (lost), AlpacaFarm's names, are added to the tokenizer as special
tokens, so that no text of a user can write one. The token stands at the end of the prompt, where the
answer begins, and the checkpoint's chat template puts `<reward_0>` there by itself: whoever renders a
prompt for it, `leaderboard eval` too, asks for a good answer. Departures: AlpacaFarm puts the token
before the instruction. A preference that is a probability counts as its likelier side; ties are
dropped and counted. With LoRA the two tokens' embeddings are not trained, and the checkpoint is the
merged one: the adapter alone lacks them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from judges.errors import UserError
from judges.prompting.chat import choose_template
from judges.schema import Message
from train_baselines import ops
from train_baselines.data import Encoder, Example, encode_demonstrations, pad
from train_baselines.loading import load_policy
from train_baselines.models import Policy
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run
from train_baselines.sources import Demonstration, Pair, read_pairs

WON, LOST = "<reward_0>", "<reward_1>"
_BEHIND = f"{{% if add_generation_prompt %}}{{{{ '{WON}' }}}}{{% endif %}}"


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


def condition(policy: Policy, seed: int) -> None:
    """Gives the policy the two tokens, and a chat template that ends its prompts with WON.

    The rows of its embedding are drawn around the mean of the others, with their spread; its own
    template and a policy that has the tokens already stay as they are.
    """
    from tokenizers import AddedToken

    tokenizer, model = policy.encoder.tokenizer, policy.inner
    known = len(tokenizer)
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in (WON, LOST)])
    template = str(tokenizer.chat_template)
    if not template.endswith(_BEHIND):
        tokenizer.chat_template = template.removesuffix("\n") + _BEHIND
    policy.encoder = Encoder(tokenizer, choose_template(tokenizer))
    new = list(range(known, len(tokenizer)))
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    heads = [model.get_input_embeddings(), model.get_output_embeddings()]
    with torch.no_grad():
        for weight in {id(head.weight): head.weight for head in heads}.values():
            old = weight[:known].float()
            noise = torch.randn(len(new), weight.shape[1], generator=generator).to(old)
            weight[new] = (old.mean(0) + old.std(0) * noise).to(weight.dtype)
    prompt = policy.encoder.prompt((Message("user", "?"),))
    if prompt[-1] != tokenizer.convert_tokens_to_ids(WON):
        raise UserError(
            f"the chat template does not end a prompt with {WON}: train with --chat-template plain"
        )


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
        rows += [_behind(token, row) for row in encoded.rows]
        dropped.update(encoded.dropped)
    return rows, {why: n for why, n in dropped.items() if n}


def _behind(token: int, row: Example) -> Example:
    """The example with another last token of its prompt."""
    n = row.n_prompt
    return replace(row, ids=(*row.ids[: n - 1], token, *row.ids[n:]))


def train(config: RewardConditioningConfig) -> Path:
    """Train, and give the folder of the checkpoint. Raises UserError."""
    run = Run("reward_conditioning", config)
    policy = load_policy(config.model_name_or_path, config, run)
    condition(policy, config.seed)
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
