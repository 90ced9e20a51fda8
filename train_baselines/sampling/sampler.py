"""Answers drawn from a policy, and scores for them: fast, and the same whoever shares the batch.

Prompts are sorted by length, equal ones are read once, keys and values are cached, and rows that
have ended leave the batch. The numbers that draw a token are a function of the run's seed, the
instruction, which sample of it this is, and the place in the answer: no other sample changes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from judges.errors import UserError
from train_baselines import ops
from train_baselines.data.examples import Encoder, Example, pad
from train_baselines.models.wrapped import Policy, ScalarModel, Wrapped
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


class Sampler(Protocol):
    """Draws from one policy."""

    @property
    def encoder(self) -> Encoder: ...

    @property
    def window(self) -> int | None:
        """Tokens that fit into the policy; None where it does not say."""

    def sample(self, draws: Sequence[Draw], sampling: Sampling) -> list[Sample]:
        """A sample for each draw, in the same order; raises UserError for a prompt that fills the
        window."""

    def close(self) -> None:
        """Frees what drawing took; nothing is drawn afterwards."""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """Draws from a policy in this process, which may be one in training."""

    policy: Policy
    tokens_per_device: int

    @property
    def encoder(self) -> Encoder:
        return self.policy.encoder

    @property
    def window(self) -> int | None:
        return window_of(self.policy)

    def sample(self, draws: Sequence[Draw], sampling: Sampling) -> list[Sample]:
        return sample(self.policy, draws, sampling, tokens_per_device=self.tokens_per_device)

    def close(self) -> None:
        pass


def window_of(model: Wrapped) -> int | None:
    """Tokens that fit into the model; None where it does not say."""
    size: int | None = getattr(
        model.inner.config.get_text_config(), "max_position_embeddings", None
    )
    return size


def ends_of(encoder: Encoder) -> frozenset[int]:
    """The tokens that end an answer."""
    return frozenset({encoder.end, encoder.tokenizer.eos_token_id} - {None})


def limit_of(draw: Draw, sampling: Sampling, window: int | None) -> int:
    """New tokens at most; raises UserError for a prompt that fills the window."""
    if window is None:
        return sampling.max_new_tokens
    if len(draw.prompt) >= window:
        raise UserError(f"a prompt fills the model's window of {window} tokens")
    return min(sampling.max_new_tokens, window - len(draw.prompt))


def sample_key(seed: int, instruction: str, k: int) -> int:
    """The key of the k-th sample of an instruction, of 63 bits."""
    key = hashlib.blake2b(f"{seed}\0{instruction}\0{k}".encode(), digest_size=8).digest()
    return int.from_bytes(key, "big") >> 1


def uniforms(keys: Tensor, place: int, n: int) -> Tensor:
    """Numbers in [0, 1), one for each key and token at this place of the answer.

    keys [B] int64 → [B, n] float32, exact to the last digit where they are small. SplitMix64's
    mixing (Steele, Lea and Flood 2014) of key and place gives two words of 32 bits, and MurmurHash3's
    (Appleby 2011) of these a number for each token: words of 32 bits are what a CPU is fast at.
    """
    state = _mixed(keys + _wrapped(0x9E3779B97F4A7C15 * (place + 1), 64))[:, None]
    counters = torch.arange(n, dtype=torch.int32, device=keys.device) * _wrapped(0x9E3779B9, 32)
    bits = state.to(torch.int32) + counters
    bits = (bits ^ _shifted(bits, 16)) * _wrapped(0x85EBCA6B, 32) ^ (state >> 32).to(torch.int32)
    bits = (bits ^ _shifted(bits, 13)) * _wrapped(0xC2B2AE35, 32)
    bits = bits ^ _shifted(bits, 16)
    return (_shifted(bits, 1).float() + 0.5) * 2.0**-31


def _mixed(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _wrapped(0xBF58476D1CE4E5B9, 64)
    z = (z ^ _shifted(z, 27)) * _wrapped(0x94D049BB133111EB, 64)
    return z ^ _shifted(z, 31)


def _wrapped(value: int, bits: int) -> int:
    """The signed number that has the last so many bits of this one."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _shifted(value: Tensor, by: int) -> Tensor:
    """Shifted to the right, with zeros from the left."""
    return (value >> by) & ((1 << (8 * value.element_size() - by)) - 1)


def choose(logits: Tensor, keys: Tensor, place: int, sampling: Sampling) -> Tensor:
    """The next tokens, logits [B, V] and keys [B] → [B].

    Each token waits for an exponential time at a rate of its probability, and the first one is
    drawn: that has exactly the softmax's distribution, and is the same token where the logits differ
    in their last digits, as they do in another batch.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    shares = (logits.float() / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered = _descending(shares)
        # A token goes when those above it make up top_p already; so the first one always stays.
        kept = (ordered.cumsum(-1) - ordered < sampling.top_p).sum(-1, keepdim=True)
        least = ordered.gather(-1, (kept - 1).clamp(min=0))
        shares = shares.masked_fill(shares < least, 0)
    times = -torch.log1p(-uniforms(keys, place, logits.shape[1]))
    return (shares / times).argmax(-1)


def _descending(shares: Tensor) -> Tensor:
    """Each row sorted; on a CPU by numpy, which is thirty times as fast."""
    if shares.device.type != "cpu":
        return shares.sort(dim=-1, descending=True).values
    return torch.from_numpy(np.sort(shares.numpy(), axis=-1)).flip(-1)


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
    ends = ends_of(encoder)
    ending = torch.tensor(sorted(ends), device=device)
    prompts = sorted({draw.prompt for draw in draws})
    place = {prompt: n for n, prompt in enumerate(prompts)}
    window = window_of(policy)
    limits = [limit_of(draw, sampling, window) for draw in draws]

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
