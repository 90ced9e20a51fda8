"""PPO's maths against plain loops, and what its settings do to rewards."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from bandits import ARMS, paying, small_config
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaForCausalLM

from judges.prompting.chat import choose_template
from train_baselines.data.examples import Encoder, Example, pad
from train_baselines.models.wrapped import ActorCritic, Policy, ScalarModel
from train_baselines.ppo import (
    PPOConfig,
    adapted,
    advantages_of,
    answer_rewards,
    mask_of,
    policy_loss,
    token_rewards,
    value_loss,
)
from train_baselines.sampling.rollouts import Rollout


def config(**changes: object) -> PPOConfig:
    return PPOConfig(
        model_name_or_path="", dataset="", output_dir=Path(), reward_model="", **changes
    )


def rollout(n_prompt: int, n_answer: int, score: float = 0.0, *, ended: bool = True) -> Rollout:
    return Rollout(tuple(range(n_prompt + n_answer)), n_prompt, "here", 0, score, ended)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------ losses
@given(st.integers(0, 2**31), st.floats(0.05, 0.5))
def test_the_losses_are_those_of_plain_loops(seed, cliprange):
    logprobs, old, advantages, values, old_values, returns = drawn(seed, 6, 9)
    logprobs, old = logprobs / 3, old / 3  # ratios inside and outside the range
    terms, errors, clipped = [], [], 0
    for t in range(9):
        ratio = math.exp(logprobs[t] - old[t])
        cut = min(max(ratio, 1 - cliprange), 1 + cliprange)
        plain, other = ratio * advantages[t].item(), cut * advantages[t].item()
        terms.append(min(plain, other))
        clipped += other < plain
        near = min(max(values[t].item(), old_values[t].item() - cliprange),
                   old_values[t].item() + cliprange)  # fmt: skip
        target = returns[t].item()
        errors.append(max((values[t].item() - target) ** 2, (near - target) ** 2))
    loss, share = policy_loss(logprobs, old, advantages, cliprange=cliprange)
    assert loss.item() == pytest.approx(-sum(terms) / 9, rel=1e-4, abs=1e-6)
    assert share.item() == pytest.approx(clipped / 9, abs=1e-6)
    error = value_loss(values, old_values, returns, cliprange=cliprange)
    assert error.item() == pytest.approx(sum(errors) / 18, rel=1e-4)


def test_a_clipped_token_has_no_gradient():
    # Raised or lowered beyond the range already: only where that was the wrong way is it moved back.
    logprobs = torch.tensor([0.5, 0.5, -0.5, -0.5, 0.0]).requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    loss, share = policy_loss(logprobs, torch.zeros(5), advantages, cliprange=0.2)
    loss.backward()
    assert logprobs.grad is not None
    assert (logprobs.grad != 0).tolist() == [False, True, True, False, True]
    assert share.item() == pytest.approx(2 / 5)
    assert logprobs.grad[4].item() == pytest.approx(-1 / 5)  # a ratio of 1: -A / n


# ----------------------------------------------------------------------------------------- rewards
@pytest.mark.parametrize("kind", ["k1", "k3", "clamped"])
def test_rewards_of_tokens_by_loops(kind):
    lengths = [3, 1, 5]
    rollouts = [rollout(2, n) for n in lengths]
    mask = mask_of(rollouts, 5, torch.device("cpu"))
    assert mask.sum(1).tolist() == lengths
    logprobs, reference = -drawn(1, 2, 3, 5).abs()
    scores = torch.tensor([1.0, -2.0, 0.5])
    found = token_rewards(scores, logprobs, reference, mask, kl_coef=0.1, kl_estimator=kind)
    for row, n in enumerate(lengths):
        for t in range(5):
            d = (logprobs - reference)[row, t].item()
            kl = {"k1": d, "k3": math.exp(-d) - 1 + d, "clamped": max(0.0, d)}[kind]
            expected = (-0.1 * kl + (scores[row].item() if t == n - 1 else 0)) if t < n else 0
            assert found[row, t].item() == pytest.approx(expected, abs=1e-6)
    if kind == "k1":
        whole = scores - 0.1 * ((logprobs - reference) * mask).sum(1)
        torch.testing.assert_close(found.sum(1), whole)


def test_an_answer_that_was_cut_off_is_paid_less():
    rollouts = [rollout(2, 3, 1.0), rollout(2, 3, 1.0, ended=False), rollout(2, 3, -3.0)]
    assert answer_rewards(rollouts, {}, config()).tolist() == [1, 0, -3]
    assert answer_rewards(rollouts, {}, config(missing_eos_penalty=0)).tolist() == [1, 1, -3]


def test_scores_are_standardised_as_in_the_first_step():
    state: dict[str, object] = {}
    settings = config(standardise_scores=True)
    first = [rollout(1, 1, score) for score in (1.0, 3.0, 5.0, 7.0)]
    found = answer_rewards(first, state, settings)
    torch.testing.assert_close(found, torch.tensor([-3.0, -1, 1, 3]) / 5**0.5)
    later = answer_rewards([rollout(1, 1, 9.0), rollout(1, 1, 4.0, ended=False)], state, settings)
    torch.testing.assert_close(later, torch.tensor([5 / 5**0.5, -1.0]))
    assert answer_rewards([rollout(1, 1, 2.0)], {}, settings).tolist() == [0]


def test_advantages_by_loops():
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    rewards, values = (x.masked_fill(~mask, 99.0) for x in drawn(3, 2, 3, 4))
    settings = config(gamma=0.9, lam=0.8, whiten_rewards=False)
    found, returns = advantages_of(rewards, values, mask, settings)
    plain = torch.zeros(3, 4)
    for row in range(3):
        n, following, value = int(mask[row].sum()), 0.0, 0.0
        for t in reversed(range(n)):
            error = rewards[row, t].item() + 0.9 * value - values[row, t].item()
            following = error + 0.9 * 0.8 * following
            value = values[row, t].item()
            plain[row, t] = following
    kept = plain[mask]
    torch.testing.assert_close(returns[mask], kept + values[mask])
    white = (kept - kept.mean()) / kept.std(correction=0)
    torch.testing.assert_close(found[mask], white)
    assert not found[~mask].any()


def test_padding_changes_nothing_and_nobody_is_paid_by_the_token():
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    rewards = torch.tensor([[0.0, 4.0, 7.0, 7.0], [0.0, 0.0, 0.0, 4.0]])
    found, returns = advantages_of(rewards, torch.zeros(2, 4), mask, config())
    # The same pay, whenever it comes: with a mean taken from each token the longer one had less.
    assert returns[mask].unique().numel() == 1
    wide, narrow = [torch.nn.functional.pad(x, (0, 3)) for x in (rewards, mask)], slice(0, 4)
    again, _ = advantages_of(wide[0], torch.zeros(2, 7), wide[1], config())
    torch.testing.assert_close(again[:, narrow], found)


def test_rewards_that_are_all_alike_stay_small():
    rewards, mask = torch.full((8, 1), 5.0), torch.ones(8, 1).bool()
    advantages, returns = advantages_of(rewards, torch.zeros(8, 1), mask, config())
    assert returns.abs().max() <= 1
    assert advantages.abs().max() < 1e-3


def test_an_adaptive_coefficient_goes_after_its_target():
    assert adapted(0.1, 6.0, 6.0) == pytest.approx(0.1)
    assert adapted(0.1, 6.6, 6.0) == pytest.approx(0.101)
    assert adapted(0.1, 60.0, 6.0) == pytest.approx(0.102)
    assert adapted(0.1, -1.0, 6.0) == pytest.approx(0.098)


# ------------------------------------------------------------------------------------- the models
@pytest.mark.parametrize("shared", [False, True])
def test_no_gradient_reaches_prompts_or_pads(shared, tiny_llama, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    encoder = Encoder(tokenizer, choose_template(tokenizer))
    torch.manual_seed(0)
    policy = Policy(LlamaForCausalLM(small_config(tokenizer)), encoder, bf16=False)
    critic = None
    if not shared:
        from transformers import AutoModelForSequenceClassification

        folder = paying(tiny_llama, tmp_path)
        inner = AutoModelForSequenceClassification.from_pretrained(folder)
        critic = ScalarModel(inner, encoder, bf16=False)
    model = ActorCritic(policy, critic)
    if shared:
        torch.nn.init.normal_(model.head.weight)
    rows = [Example((20, 21, 22, 23, 24), 3, ""), Example((30, 31, 32), 1, "")]
    seen: list[torch.Tensor] = []
    hidden = Policy.hidden

    def watched(self: Policy, *args: object) -> torch.Tensor:
        states = hidden(self, *args)
        states.retain_grad()
        seen.append(states)
        return states

    Policy.hidden = watched
    try:
        tokens = pad(rows, encoder.pad)
        logprobs, values = model(*tokens, 0.7)
        assert logprobs.shape == values.shape == (4,)
        (logprobs.sum() + values.sum()).backward()
    finally:
        Policy.hidden = hidden
    (states,) = seen
    moved = states.grad.abs().sum(-1) > 0
    # The places before the answers' tokens foretell them, and hold their values.
    expected = [[False, False, True, True, False], [True, True, False, False, False]]
    assert moved.tolist() == expected
    whole = policy(*tokens, 0.7)[tokens.targets]
    torch.testing.assert_close(logprobs, whole)
    if shared:
        at = torch.cat([hidden(policy, *tokens[:3])[0, 2:4], hidden(policy, *tokens[:3])[1, :2]])
        torch.testing.assert_close(values, (at @ model.head.weight.T)[:, 0])
    else:
        torch.testing.assert_close(values, torch.cat([critic(*tokens[:3])[0, 2:4],
                                                      critic(*tokens[:3])[1, :2]]))  # fmt: skip


def test_the_bandit_pays_what_it_says(tiny_llama, tmp_path):
    from transformers import AutoModelForSequenceClassification

    folder = paying(tiny_llama, tmp_path, also="<|end|>", extra=2.0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for text, pay in [*ARMS.items(), ("<|end|>", 2.0), ("e", 0.0)]:
        (token,) = tokenizer.encode(text, add_special_tokens=False)
        assert model.score(model.model(torch.tensor([[5, token]]))[0])[0, -1].item() == (
            pytest.approx(pay, abs=1e-4)
        )


# ---------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    "changes",
    [
        {"step_batch_size": 0}, {"noptepochs": 0}, {"eval_steps": 0}, {"temperature": 0.0},
        {"cliprange": 0.0}, {"cliprange_value": -1.0}, {"kl_target": 0.0}, {"kl_coef": -0.1},
        {"vf_coef": -1.0}, {"missing_eos_penalty": -1.0}, {"gamma": 1.1}, {"lam": -0.1},
        {"early_stopping_patience": 2}, {"early_stopping_patience": 0}, {"max_new_tokens": 0},
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(changes):
    from judges.errors import UserError

    config().check()
    with pytest.raises(UserError, match=next(iter(changes))):
        config(**changes).check()
