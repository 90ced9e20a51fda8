"""Tensor maths that the methods share: log-probabilities, masked statistics, KL estimators, GAE.

Pure functions. B is the number of sequences, L their padded length, N a number of tokens, D the
width of the model, V its vocabulary. A mask is 1 (or True) where a token counts; what stands at
masked places, even inf or NaN, never reaches a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 1024
"""Tokens whose logits are held at once: 1,024 × V numbers."""

KLEstimator = Literal["k1", "k3", "clamped"]


# ------------------------------------------------------------------------------ log-probabilities
def logprobs_from_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Log p(label) under softmax(logits), in float32. logits [..., V], labels [...] → [...]."""
    logits = logits.float()
    chosen = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(-1)


def logprobs_from_hidden(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    chunk: int = CHUNK,
) -> Tensor:
    """Log p(label) under softmax((hidden · weightᵀ + bias) / temperature), in float32.

    hidden [N, D], weight [V, D], labels [N] → [N]. The logits of `chunk` tokens exist at a time, and
    all but the last are computed again in the backward pass, so that no [N, V] is ever held. Under autocast the
    product runs in its precision, as that of a linear layer does.
    """
    if hidden.shape[0] == 0:
        return hidden.float().sum(-1)  # a gradient of zero, of the right shape
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = bias if bias is None else bias.to(dtype)
    elif hidden.dtype != weight.dtype:  # a frozen head in half precision
        weight = weight.to(hidden.dtype)
        bias = bias if bias is None else bias.to(hidden.dtype)
    found: Tensor = _ChunkedLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, labels, temperature, chunk
    )
    return found


class _ChunkedLogprobs(torch.autograd.Function):
    """With p = softmax(z / T) and g the gradient of log p(label): ∂/∂z = (onehot - p) · g / T."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        temperature: float,
        chunk: int,
    ) -> Tensor:
        found = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        norm = torch.empty_like(found)
        for part in _parts(len(labels), chunk):
            logits = _scaled(hidden[part], weight, bias, temperature)
            norm[part] = logits.logsumexp(-1)
            found[part] = logits.gather(-1, labels[part, None]).squeeze(-1) - norm[part]
        ctx.save_for_backward(hidden, weight, bias, labels, norm)
        ctx.temperature, ctx.chunk, ctx.last = temperature, chunk, logits
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, norm = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.empty_like(hidden) if needs_hidden else None
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        to_bias = torch.zeros_like(bias, dtype=torch.float32) if needs_bias else None
        # The last chunk's logits are still there; a second pass over a kept graph computes them anew.
        last, ctx.last = ctx.last, None
        for part in reversed(_parts(len(labels), ctx.chunk)):
            logits, last = last, None
            if logits is None:
                logits = _scaled(hidden[part], weight, bias, ctx.temperature)
            to_logits = logits.sub_(norm[part, None]).exp_().neg_()
            to_logits.scatter_add_(-1, labels[part, None], torch.ones_like(norm[part, None]))
            to_logits.mul_(gradient[part, None] / ctx.temperature)
            if to_bias is not None:
                to_bias += to_logits.sum(0)
            to_logits = to_logits.to(hidden.dtype)
            if to_hidden is not None:
                to_hidden[part] = to_logits @ weight
            if to_weight is not None:
                to_weight += to_logits.T @ hidden[part]
        if to_weight is not None:
            to_weight = to_weight.to(weight.dtype)
        if to_bias is not None:
            to_bias = to_bias.to(bias.dtype)
        return to_hidden, to_weight, to_bias, None, None, None


def _scaled(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    return logits if temperature == 1 else logits / temperature


def _parts(n: int, size: int) -> list[slice]:
    return [slice(begin, min(begin + size, n)) for begin in range(0, n, size)]


# -------------------------------------------------------------------- whole distributions
class Divergence(NamedTuple):
    """What stands at each of N tokens, in float32, [N] each."""

    logprobs: Tensor
    """Log π(token), over the whole vocabulary."""
    kl: Tensor
    """KL(π ‖ π_ref) = Σ_v π(v) (log π(v) - log π_ref(v))."""
    entropy: Tensor
    """-Σ_v π(v) log π(v)."""


Head = Callable[[Tensor], Tensor]
"""Makes logits [n, V] of hidden states [n, D]."""


def divergence(
    hidden: Tensor,
    head: Head,
    reference: Tensor,
    reference_head: Head,
    labels: Tensor,
    *,
    excluded: Tensor | None = None,
    chunk: int = CHUNK // 4,
) -> Divergence:
    """How likely the policy holds the labels, and how far it is from the reference there.

    hidden [N, D] and reference [N, D'] are hidden states, labels [N] tokens. KL and entropy are those
    of the distributions over the vocabulary without the tokens `excluded` [K]. Both logits of `chunk`
    tokens exist at a time and are computed again in the backward pass, so that no [N, V] is ever
    held; the reference gets no gradient.
    """

    def figures(hidden: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
        logits = head(hidden).float()
        logprobs = logprobs_from_logits(logits, labels)
        with torch.no_grad():
            q = _log_shares(reference_head(reference).float(), excluded)
        p = _log_shares(logits, excluded)
        shares = p.exp()
        return torch.stack([logprobs, (shares * (p - q)).sum(-1), -(shares * p).sum(-1)])

    found = [
        checkpoint(
            figures, hidden[part], reference[part], labels[part],
            use_reentrant=False, preserve_rng_state=False,
        )
        for part in _parts(len(labels), chunk)
    ]  # fmt: skip
    return Divergence(*torch.cat(found, 1))


def _log_shares(logits: Tensor, excluded: Tensor | None) -> Tensor:
    """Log-probabilities of all tokens, [n, V]; those of the excluded ones are finite, and exp gives 0."""
    if excluded is not None:
        logits = logits.index_fill(-1, excluded, -1e9)
    return logits.log_softmax(-1)


# ------------------------------------------------------------------------------ masked statistics
def masked_sum(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum of the values that count, over `dim` or over all; 0 where none does."""
    kept = torch.where(mask.bool(), values, torch.zeros_like(values))
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of the values that count, over `dim` or over all; 0 where none does."""
    n = mask.sum() if dim is None else mask.sum(dim)
    return masked_sum(values, mask, dim) / n.clamp(min=1)


def masked_whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """(values - mean) / standard deviation over the places that count, 0 elsewhere.

    Without `shift_mean` they are divided by their root mean square, and 0 stays 0.
    """
    if shift_mean:
        values = values - masked_mean(values, mask)
    whitened = values / (masked_mean(values**2, mask) + 1e-8).sqrt()
    return torch.where(mask.bool(), whitened, torch.zeros_like(whitened))


# ---------------------------------------------------------------------------------- reinforcement
def kl_estimate(logprobs: Tensor, reference: Tensor, kind: KLEstimator) -> Tensor:
    """An estimate of KL(policy ‖ reference) at each token drawn from the policy; any shape.

    With d = log π - log π_ref (Schulman 2020, "Approximating KL divergence"):
    k1 = d, unbiased; k3 = exp(-d) - 1 + d, unbiased, never negative, of less variance;
    clamped = max(0, d), AlpacaFarm's, biased upwards.
    """
    difference = logprobs - reference
    if kind == "k1":
        return difference
    if kind == "k3":
        return torch.expm1(-difference) + difference
    return difference.clamp(min=0)


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Advantages and returns, both [B, L], of responses that end with their mask.

    Schulman et al. 2016, equations 11 and 16, with nothing behind the last token that counts:
    δ_t = r_t + γ V_{t+1} - V_t, A_t = δ_t + γ λ A_{t+1}, and the return R_t = A_t + V_t.
    """
    kept = mask.to(values.dtype)
    values = torch.where(mask.bool(), values, torch.zeros_like(values))
    rewards = torch.where(mask.bool(), rewards, torch.zeros_like(rewards))
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        next_value = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros_like(following)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * kept[:, t]
        advantages[:, t] = following
    return advantages, advantages + values
