"""The trainers' tensor maths, against plain forms, loops and figures computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from train_baselines import ops


def chunked_and_plain(bias: bool, temperature: float, chunk: int, dtype: torch.dtype | None):
    """Values and gradients of both forms, on the same numbers."""
    torch.manual_seed(0)
    hidden, weight, offset = torch.randn(11, 8), torch.randn(23, 8), torch.randn(23)
    labels, gradient = torch.randint(0, 23, (11,)), torch.randn(11)
    found = []
    for form in ("chunked", "plain"):
        leaves = [t.clone().requires_grad_() for t in (hidden, weight, offset)]
        h, w, b = leaves
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            if form == "chunked":
                out = ops.logprobs_from_hidden(
                    h, w, labels, bias=b if bias else None, temperature=temperature, chunk=chunk
                )
            else:
                logits = torch.nn.functional.linear(h, w, b if bias else None).float()
                out = ops.logprobs_from_logits(logits / temperature, labels)
        out.backward(gradient)
        found.append([out.detach(), *[t.grad for t in leaves if t.grad is not None]])
    return found


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 4, 11, 1000])
def test_chunked_logprobs_are_the_plain_ones(bias, temperature, chunk):
    for ours, plain in zip(*chunked_and_plain(bias, temperature, chunk, None), strict=True):
        assert ours.dtype == plain.dtype == torch.float32
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [3, 1000])
def test_chunked_logprobs_under_autocast(chunk):
    ours, plain = chunked_and_plain(True, 1.0, chunk, torch.bfloat16)
    torch.testing.assert_close(ours[0], plain[0], rtol=1e-5, atol=1e-5)
    for one, other in zip(ours[1:], plain[1:], strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() <= 0.01 * other.norm()  # products in bfloat16, in other orders


def test_chunked_gradients_by_finite_differences():
    torch.manual_seed(0)
    hidden = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 6, 3, 3, 1])

    def logprobs(h, w):
        return ops.logprobs_from_hidden(h, w, labels, temperature=1.3, chunk=2)

    # The results are float32, so the steps are large and the comparison is coarse.
    assert torch.autograd.gradcheck(logprobs, (hidden, weight), eps=1e-2, atol=1e-3, rtol=1e-2)


def test_no_tokens_give_no_logprobs_and_a_gradient_of_zero():
    hidden = torch.zeros(0, 4, requires_grad=True)
    found = ops.logprobs_from_hidden(hidden, torch.randn(7, 4), torch.zeros(0, dtype=torch.int64))
    assert found.shape == (0,)
    found.sum().backward()
    assert hidden.grad.shape == (0, 4)


class Largest(TorchDispatchMode):
    """Counts the numbers of the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


def test_logits_of_a_whole_batch_are_never_held():
    hidden, weight = torch.randn(64, 2, requires_grad=True), torch.randn(1000, 2)
    with Largest() as seen:
        ops.logprobs_from_hidden(hidden, weight, torch.arange(64), chunk=4).sum().backward()
    assert seen.numbers == 4 * 1000
    with Largest() as seen:
        ops.logprobs_from_logits(hidden @ weight.T, torch.arange(64)).sum().backward()
    assert seen.numbers == 64 * 1000


def test_masked_places_never_reach_a_result():
    values = torch.tensor([[1.0, 2.0, math.nan], [3.0, math.inf, math.nan]], requires_grad=True)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert ops.masked_sum(values, mask).item() == 6
    assert ops.masked_mean(values, mask).item() == 2
    assert ops.masked_sum(values, mask, 1).tolist() == [3, 3]
    assert ops.masked_mean(values, mask, 1).tolist() == [1.5, 3]
    assert ops.masked_mean(values, torch.zeros_like(mask)).item() == 0
    ops.masked_mean(values, mask).backward()
    torch.testing.assert_close(values.grad, mask / 3)


def test_whitening_by_hand():
    values = torch.tensor([[1.0, 3.0, math.nan], [5.0, 7.0, math.inf]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0]])
    spread = math.sqrt(5)  # of 1, 3, 5, 7 about 4
    expected = torch.tensor([[-3.0, -1, 0], [1, 3, 0]]) / spread
    torch.testing.assert_close(ops.masked_whiten(values, mask), expected)
    kept = ops.masked_whiten(values, mask, shift_mean=False)
    torch.testing.assert_close(kept[:, :2], values[:, :2] / math.sqrt(84 / 4))


def test_kl_estimates_by_hand_and_their_means():
    policy, reference = torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.5])
    assert ops.kl_estimate(policy, reference, "k1").tolist() == [1.0, -0.5]
    assert ops.kl_estimate(policy, reference, "clamped").tolist() == [1.0, 0.0]
    torch.testing.assert_close(
        ops.kl_estimate(policy, reference, "k3"),
        torch.tensor([math.exp(-1) - 1 + 1, math.exp(0.5) - 1 - 0.5]),
    )
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    truth = (p * (p / q).log()).sum()
    for kind, is_exact in (("k1", True), ("k3", True), ("clamped", False)):
        mean = (p * ops.kl_estimate(p.log(), q.log(), kind)).sum()
        assert (abs(mean - truth) < 1e-6) == is_exact
        assert mean >= truth - 1e-6


@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_gae_is_the_sum_of_discounted_errors(seed, gamma, lam):
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(3, 6, generator=generator) for _ in range(2))
    lengths = torch.randint(1, 7, (3,), generator=generator).tolist()
    mask = torch.tensor([[t < n for t in range(6)] for n in lengths])
    rewards, values = (x.masked_fill(~mask, math.nan) for x in (rewards, values))
    advantages, returns = ops.gae(rewards, values, mask, gamma=gamma, lam=lam)
    for row, n in enumerate(lengths):
        r, v = rewards[row, :n].tolist(), [*values[row, :n].tolist(), 0.0]
        errors = [r[t] + gamma * v[t + 1] - v[t] for t in range(n)]
        for t in range(6):
            naive = sum((gamma * lam) ** (s - t) * errors[s] for s in range(t, n)) if t < n else 0
            assert advantages[row, t].item() == pytest.approx(naive, abs=1e-4)
            expected = naive + v[t] if t < n else 0
            assert returns[row, t].item() == pytest.approx(expected, abs=1e-4)
