"""Reward tokens: what a policy is told of an answer before it writes it.

`<reward_0>` is the best, `<reward_1>` the next, and so on (AlpacaFarm's names, arXiv:2305.14387). They
are special tokens, so that no text of a user can write one. One stands at the end of the prompt, where
the answer begins, and the checkpoint's chat template puts `<reward_0>` there by itself: whoever renders
a prompt for it, `leaderboard eval` too, asks for a good answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from judges.errors import UserError
from judges.prompting.chat import choose_template
from judges.schema import Message
from train_baselines.data.examples import Encoder, Example
from train_baselines.models.wrapped import Policy

E = TypeVar("E", bound=Example)


def reward_tokens(n: int) -> tuple[str, ...]:
    """The tokens of n levels of reward, the best first."""
    return tuple(f"<reward_{level}>" for level in range(n))


def condition(policy: Policy, tokens: Sequence[str], seed: int) -> list[int]:
    """Gives the policy the tokens, and a chat template that ends its prompts with the first; their
    ids.

    The rows of its embedding are drawn around the mean of the others, with their spread; its own
    template and tokens that the policy has already stay as they are. Raises UserError where its
    template takes no token.
    """
    from tokenizers import AddedToken

    tokenizer, model = policy.encoder.tokenizer, policy.inner
    known = len(tokenizer)
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in tokens])
    behind = f"{{% if add_generation_prompt %}}{{{{ '{tokens[0]}' }}}}{{% endif %}}"
    template = str(tokenizer.chat_template)
    if not template.endswith(behind):
        tokenizer.chat_template = template.removesuffix("\n") + behind
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
    ids: list[int] = tokenizer.convert_tokens_to_ids(list(tokens))
    prompt = policy.encoder.prompt((Message("user", "?"),))
    if prompt[-1] != ids[0]:
        raise UserError(
            f"the chat template does not end a prompt with {tokens[0]}: train with --chat-template "
            "plain"
        )
    return ids


def behind(token: int, row: E) -> E:
    """The example with one more token at the end of its prompt."""
    n = row.n_prompt
    return replace(row, ids=(*row.ids[:n], token, *row.ids[n:]), n_prompt=n + 1)


def bare(row: E) -> E:
    """The example without the last token of its prompt."""
    n = row.n_prompt - 1
    return replace(row, ids=(*row.ids[:n], *row.ids[n + 1 :]), n_prompt=n)
