"""Samples depend on their own key and prompt, and follow the model's distribution."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import edit_json

from judges.errors import UserError
from judges.schema import Message
from train_baselines.models.loading import load_policy
from train_baselines.runtime.run import Run
from train_baselines.sampling.sampler import Draw, Sampling, choose, sample, sample_key, uniforms
from train_baselines.sft import SFTConfig


@pytest.fixture(scope="module")
def policy(tiny_llama, tmp_path_factory):
    config = SFTConfig(
        model_name_or_path=str(tiny_llama), dataset="", output_dir=tmp_path_factory.mktemp("run")
    )
    return load_policy(str(tiny_llama), config, Run("test", config))


def wanted(policy, n: int = 6, k: int = 3) -> list[Draw]:
    texts = [f"Say {'so ' * (place % 4)}{place}" for place in range(n)]
    prompts = [tuple(policy.encoder.prompt((Message("user", text),))) for text in texts]
    return [
        Draw(p, sample_key(0, t, j)) for p, t in zip(prompts, texts, strict=True) for j in range(k)
    ]


SETTINGS = Sampling(max_new_tokens=12, temperature=0.9, top_p=0.9)


def test_a_sample_does_not_depend_on_the_batch(policy):
    draws = wanted(policy)
    together = sample(policy, draws, SETTINGS)
    assert sample(policy, draws, SETTINGS, tokens_per_device=1) == together
    assert sample(policy, draws[::-1], SETTINGS)[::-1] == together
    assert sample(policy, draws[4:5], SETTINGS) == together[4:5]
    assert len({one.tokens for one in together}) == len(draws)
    assert policy.training


def test_greedy_samples_are_those_of_transformers(policy):
    draws = wanted(policy, k=1)
    found = sample(policy, draws, Sampling(max_new_tokens=8, temperature=0))
    for draw, one in zip(draws, found, strict=True):
        ids = torch.tensor([draw.prompt])
        plain = policy.inner.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8
        )
        assert plain[0, len(draw.prompt) :].tolist() == list(one.tokens)


def test_rows_that_end_leave_and_the_others_go_on(policy):
    """The end of a turn is made likely, so that rows end at different places."""
    head = policy.inner.lm_head
    end = policy.encoder.end
    kept = head.weight.data.clone()
    try:
        head.weight.data[end] = kept.mean(0) * 30
        draws = wanted(policy, n=8, k=8)
        found = sample(policy, draws, Sampling(max_new_tokens=30))
        assert sample(policy, draws, Sampling(max_new_tokens=30), tokens_per_device=1) == found
        lengths = {len(one.tokens) for one in found}
        assert len(lengths) > 5
        for one in found:
            assert one.ended == (one.tokens[-1] in (end, policy.encoder.tokenizer.eos_token_id))
            assert one.ended or len(one.tokens) == 30
            assert end not in one.tokens[:-1]
        late = sample(policy, draws, Sampling(max_new_tokens=30, min_new_tokens=5))
        assert min(len(one.tokens) for one in late) > 5
    finally:
        head.weight.data = kept


def test_tokens_follow_the_distribution():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(20_000, -1)
    keys = torch.tensor([sample_key(0, "x", k) for k in range(20_000)])
    for sampling, shares in (
        (Sampling(max_new_tokens=1), [0.5, 0.3, 0.15, 0.05]),
        (Sampling(max_new_tokens=1, top_p=0.8), [0.625, 0.375, 0, 0]),
        (Sampling(max_new_tokens=1, top_p=0.79), [0.625, 0.375, 0, 0]),
        (Sampling(max_new_tokens=1, top_p=0.49), [1, 0, 0, 0]),
        (Sampling(max_new_tokens=1, temperature=0.5), [0.6849, 0.2466, 0.0616, 0.0068]),
        (Sampling(max_new_tokens=1, temperature=0), [1, 0, 0, 0]),
    ):
        for place in (0, 7):
            tokens = choose(logits, keys, place, sampling)
            found = torch.bincount(tokens, minlength=4) / len(tokens)
            assert found.tolist() == pytest.approx(shares, abs=0.012)


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999])
def test_the_nucleus_is_the_smallest_that_makes_up_top_p(top_p):
    """Against the definition, row by row: the likeliest tokens until they make up top_p."""
    logits = torch.randn(500, 40, generator=torch.Generator().manual_seed(1)) * 3
    expected = []
    for row in logits.double().softmax(-1).tolist():
        ranked, kept = sorted(range(40), key=lambda token: -row[token]), []
        while sum(row[token] for token in kept) < top_p:
            kept.append(ranked[len(kept)])
        expected.append(set(kept))
    found: list[set[int]] = [set() for _ in expected]
    for place in range(1000):
        sampling = Sampling(max_new_tokens=1, top_p=top_p)
        for row, token in enumerate(choose(logits, torch.arange(500), place, sampling).tolist()):
            found[row].add(token)
    assert all(one <= other for one, other in zip(found, expected, strict=True))
    assert sum(map(len, found)) > 0.6 * sum(map(len, expected))


def test_the_numbers_are_even_and_unrelated():
    keys = torch.tensor([sample_key(0, "x", k) for k in range(300)])
    one, two = uniforms(keys, 0, 1000), uniforms(keys, 1, 1000)
    for numbers in (one, two):
        assert 0 < numbers.min() < 1e-4 < 0.9999 < numbers.max() <= 1
        assert numbers.mean().item() == pytest.approx(0.5, abs=0.003)
        assert numbers.var().item() == pytest.approx(1 / 12, abs=0.001)
        counts = torch.histc(numbers, 100, 0, 1)
        assert ((counts - 3000) ** 2 / 3000).sum().item() < 150  # χ² of 99 degrees: p = 0.0007
        assert numbers.unique().numel() > 0.985 * numbers.numel()  # float32 merges some above 1/2
    pairs = [
        (one, two),
        (one[1:], one[:-1]),
        (one[:, 1:], one[:, :-1]),
        (one[1:, 1:], two[:-1, :-1]),
    ]
    for left, right in pairs:
        both = torch.stack([left.flatten(), right.flatten()])
        assert abs(torch.corrcoef(both)[0, 1].item()) < 0.008
    assert len({sample_key(s, i, k) for s in (0, 1) for i in "ab" for k in (0, 1)}) == 8


def test_an_answer_ends_with_the_window(llama_copy: Path, tmp_path):
    edit_json(llama_copy / "config.json", max_position_embeddings=30)
    config = SFTConfig(model_name_or_path=str(llama_copy), dataset="", output_dir=tmp_path / "run")
    short = load_policy(str(llama_copy), config, Run("test", config))
    (draw,) = wanted(short, n=1, k=1)
    (one,) = sample(short, [draw], Sampling(max_new_tokens=100, temperature=0))
    assert len(draw.prompt) + len(one.tokens) == 30
    with pytest.raises(UserError, match="fills the model's window"):
        sample(short, [Draw(draw.prompt * 3, 0)], SETTINGS)
    with pytest.raises(UserError, match="top_p"):
        Sampling(max_new_tokens=1, top_p=0)
