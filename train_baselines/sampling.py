"""Answers drawn from a policy, and scores for them: fast, and the same whoever shares the batch.

Prompts are sorted by length, equal ones are read once, keys and values are cached, and rows that
have ended leave the batch. The numbers that draw a token are a function of the run's seed, the
instruction, which sample of it this is, and the place in the answer: no other sample changes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from judges.errors import UserError
from train_baselines import ops
from train_baselines.data import Example, pad
from train_baselines.models import Policy, ScalarModel
from train_baselines.runtime import plan

_COMPACT = 0.125
"""Share of ended rows from which on they are taken out of the cache, which costs a copy of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn; temperature 0 takes the likeliest."""

    max_new_tokens: int
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise UserError(
                f"temperature = {self.temperature}, top_p = {self.top_p}: a temperature from 0, and "
                "a share above 0 and up to 1, are needed"
            )
        if not 0 <= self.min_new_tokens <= self.max_new_tokens or self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens = {self.max_new_tokens}: at least 1 is needed")


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample that is wanted: the prompt's tokens, and the key of its random numbers."""

    prompt: tuple[int, ...]
    key: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn: the answer's tokens, with the one that ended it."""

    tokens: tuple[int, ...]
    ended: bool


def sample_key(seed: int, instruction: str, k: int) -> int:
    """The key of the k-th sample of an instruction, of 63 bits."""
    key = hashlib.blake2b(f"{seed}\0{instruction}\0{k}".encode(), digest_size=8).digest()
    return int.from_bytes(key, "big") >> 1


def uniforms(keys: Tensor, place: int, n: int) -> Tensor:
    """Numbers in (0, 1), one for each key and token at this place of the answer.

    keys [B] int64 → [B, n] float64. The mixing function of SplitMix64 (Steele, Lea and Flood 2014)
    over a counter, once for the place and once for the token.
    """
    states = _mixed(keys + _signed(_GAMMA * (place + 1)))
    counters = torch.arange(1, n + 1, device=keys.device) * _signed(_GAMMA)
    bits = _mixed(states[:, None] + counters)
    return (_shifted(bits, 11).double() + 0.5) * 2.0**-53


_GAMMA = 0x9E3779B97F4A7C15


def _mixed(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _shifted(value: Tensor, by: int) -> Tensor:
    return (value >> by) & ((1 << (64 - by)) - 1)


def choose(logits: Tensor, keys: Tensor, place: int, sampling: Sampling) -> Tensor:
    """The next tokens, logits [B, V] and keys [B] → [B].

    The largest of logit + Gumbel noise has exactly the softmax's distribution, and is the same
    token where the logits differ in their last digits, as they do in another batch.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / sampling.temperature
    if sampling.top_p < 1:
        ordered, tokens = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
        # A token goes when those above it make up top_p already; so the first one always stays.
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        beyond[:, 0] = False
        logits = logits.masked_fill(beyond.scatter(-1, tokens, beyond), float("-inf"))
    noise = -(-uniforms(keys, place, logits.shape[1]).log()).log()
    return (logits + noise).argmax(-1)


@torch.inference_mode()
def sample(
    policy: Policy, draws: Sequence[Draw], sampling: Sampling, *, tokens_per_device: int = 8192
) -> list[Sample]:
    """A sample for each draw, in the same order; `tokens_per_device` bounds what the cache holds.

    An answer is never longer than the model's window lets it be.
    """
    found: list[Sample | None] = [None] * len(draws)
    was_training = policy.training
    policy.eval()
    try:
        lengths = [len(draw.prompt) + sampling.max_new_tokens for draw in draws]
        # Equal prompts stand side by side and are read once.
        order = sorted(range(len(draws)), key=lambda n: (-lengths[n], draws[n].prompt))
        for batch in plan.cut(order, lengths, tokens_per_device):
            for n, one in _batch(policy, [draws[n] for n in batch], sampling):
                found[batch[n]] = one
    finally:
        policy.train(was_training)
    return [one for one in found if one is not None]


def _batch(
    policy: Policy, draws: Sequence[Draw], sampling: Sampling
) -> Iterator[tuple[int, Sample]]:
    """Samples of one batch with their numbers, as they end."""
    from transformers import DynamicCache

    model, encoder = policy.inner, policy.encoder
    device = next(model.parameters()).device
    ends = {encoder.end, encoder.tokenizer.eos_token_id} - {None}
    ending = torch.tensor(sorted(ends), device=device)
    prompts = sorted({draw.prompt for draw in draws})
    place = {prompt: n for n, prompt in enumerate(prompts)}
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limits = [sampling.max_new_tokens] * len(draws)
    if window is not None:
        limits = [
            min(limit, window - len(d.prompt)) for limit, d in zip(limits, draws, strict=True)
        ]
        if min(limits) < 1:
            raise UserError(f"a prompt fills the model's window of {window} tokens")

    filled = [Example(prompt, len(prompt), "") for prompt in prompts]
    ids, attention, positions, _ = pad(filled, encoder.pad, device, side="left")
    assert attention is not None
    assert positions is not None
    cache: Any = DynamicCache(config=model.config)
    logits = _forward(policy, ids, attention, positions, cache)
    source = torch.tensor([place[draw.prompt] for draw in draws], device=device)
    cache.batch_select_indices(source)
    logits, attention, position = logits[source], attention[source], positions[source, -1:]

    rows = list(range(len(draws)))  # which draw each row of the batch is
    keys = torch.tensor([draw.key for draw in draws], device=device)
    written: list[list[int]] = [[] for _ in draws]
    done: set[int] = set()
    for step in range(max(limits)):
        if step < sampling.min_new_tokens:
            logits[:, ending] = float("-inf")
        tokens = choose(logits, keys, step, sampling)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if row in done:
                continue
            written[row].append(token)
            if token in ends or len(written[row]) == limits[row]:
                done.add(row)
                yield row, Sample(tuple(written[row]), token in ends)
        left = [n for n, row in enumerate(rows) if row not in done]
        if not left:
            return
        if len(rows) - len(left) >= _COMPACT * len(rows):
            kept = torch.tensor(left, device=device)
            cache.batch_select_indices(kept)
            tokens, attention, position = tokens[kept], attention[kept], position[kept]
            keys, rows = keys[kept], [rows[n] for n in left]
        attention = torch.cat([attention, attention.new_ones(len(rows), 1)], 1)
        # A row that has ended but is still there must not leave the table of positions.
        position = (position + 1).clamp(max=window - 1 if window else None)
        logits = _forward(policy, tokens[:, None], attention, position, cache)


def _forward(
    policy: Policy, ids: Tensor, attention: Tensor, positions: Tensor, cache: Any
) -> Tensor:
    """The logits behind the last place, [B, V]; the cache grows."""
    with policy.autocast():
        logits: Tensor = policy.inner(
            input_ids=ids,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
    return logits[:, -1].float()


@torch.inference_mode()
def score(
    model: ScalarModel, examples: Sequence[Example], *, tokens_per_device: int = 8192
) -> list[float]:
    """A reward model's scores, read at the targets (`Encoder.scored` makes such examples)."""
    device = next(model.parameters()).device
    lengths = [example.length for example in examples]
    scores = [0.0] * len(examples)
    for batch in plan.cut(range(len(examples)), lengths, tokens_per_device):
        ids, attention, positions, targets = pad(
            [examples[n] for n in batch], model.encoder.pad, device
        )
        found = ops.masked_sum(model(ids, attention, positions), targets, 1)
        for n, value in zip(batch, found.tolist(), strict=True):
            scores[n] = value
    return scores
