"""The KL and the entropy of whole distributions, against the plain forms."""

from __future__ import annotations

import pytest
import torch
from test_train_ops import Largest
from torch.nn.functional import linear

from train_baselines import ops


def plain(hidden, weight, states, table, labels, excluded):
    """The figures over all tokens and the whole vocabulary at once."""
    p, q = linear(hidden, weight), linear(states, table)
    logprobs = p.log_softmax(-1).gather(1, labels[:, None])[:, 0]
    kept = [v for v in range(weight.shape[0]) if v not in excluded]
    p, q = p[:, kept].softmax(-1), q[:, kept].softmax(-1)
    return logprobs, (p * (p / q).log()).sum(-1), -(p * p.log()).sum(-1)


@pytest.mark.parametrize("excluded", [[], [3, 22]], ids=["all", "without two"])
@pytest.mark.parametrize("chunk", [1, 4, 11, 1000])
def test_divergence_is_the_plain_one(excluded, chunk):
    torch.manual_seed(0)
    weight, table = torch.randn(23, 8), torch.randn(23, 6)
    hidden, states = torch.randn(11, 8), torch.randn(11, 6)
    labels, gradient = torch.randint(0, 23, (11,)), torch.randn(3, 11)
    results = []
    for form in ("chunked", "plain"):
        h, w = (t.clone().requires_grad_() for t in (hidden, weight))
        if form == "chunked":
            found = ops.divergence(
                h, lambda x, w=w: linear(x, w), states, lambda x: linear(x, table), labels,
                excluded=torch.tensor(excluded) if excluded else None, chunk=chunk,
            )  # fmt: skip
        else:
            found = plain(h, w, states, table, labels, excluded)
        torch.stack(list(found)).backward(gradient)
        results.append([*(t.detach() for t in found), h.grad, w.grad])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_divergence_from_itself_is_zero_and_the_entropy_that_of_the_shares():
    hidden, weight = torch.randn(5, 4), torch.zeros(9, 4)
    found = ops.divergence(
        hidden, lambda x: linear(x, weight), hidden, lambda x: linear(x, weight), torch.arange(5)
    )
    assert found.kl.abs().max() == 0
    torch.testing.assert_close(found.entropy, torch.full((5,), 9.0).log())


def test_distributions_of_a_whole_batch_are_never_held():
    hidden, weight = torch.randn(64, 2, requires_grad=True), torch.randn(1000, 2)
    with Largest() as seen:
        found = ops.divergence(
            hidden, lambda x: linear(x, weight), hidden.detach(), lambda x: linear(x, weight),
            torch.arange(64), excluded=torch.tensor([1]), chunk=4,
        )  # fmt: skip
        sum(figure.sum() for figure in found).backward()
    assert seen.numbers == 4 * 1000
