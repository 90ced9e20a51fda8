"""Log-probabilities and scores do not depend on who else is in the batch; adapters are only that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import make_tiny_llama, make_tiny_tokenizer
from training import demonstrations, metrics, preferences, train

from judges.backends.reward import RewardScorer
from judges.errors import UserError
from judges.kinds.reward_model import _conversation
from judges.schema import Instruction, Message
from train_baselines.data.examples import Example, Tokens, pack, pad
from train_baselines.models.loading import (
    check_same_tokenizer,
    load_policy,
    load_scalar_model,
    new_scalar_model,
)
from train_baselines.models.wrapped import Policy
from train_baselines.runtime.run import Run
from train_baselines.sampling.sampler import score
from train_baselines.sft import SFTConfig

EXAMPLES = [
    Example(tuple(range(40 + n, 48 + 3 * n)), 2 + n, f"line {n}") for n in range(5)
]  # of 8 to 16 tokens


@pytest.fixture
def loaded(tmp_path) -> Callable[..., Any]:
    """Loads a policy with settings of one's own."""

    def load(path: Path, kind: Any = load_policy, **settings: Any) -> Any:
        config = SFTConfig(
            model_name_or_path=str(path), dataset="", output_dir=tmp_path / "run", **settings
        )
        return kind(str(path), config, Run("test", config))

    return load


def sums(policy: Policy, tokens: Tokens) -> list[float]:
    """The log-probability of each row's answer."""
    with torch.no_grad():
        return policy(*tokens).sum(1).tolist()


def test_logprobs_do_not_depend_on_padding_or_company(tiny_llama, loaded):
    policy = loaded(tiny_llama)
    alone = [sums(policy, pad([one], 0))[0] for one in EXAMPLES]
    for side in ("left", "right"):
        for pad_id in (0, 9):
            assert sums(policy, pad(EXAMPLES, pad_id, side=side)) == pytest.approx(alone, abs=1e-5)
    assert sums(policy, pad(EXAMPLES[::-1], 0)) == pytest.approx(alone[::-1], abs=1e-5)
    tokens = pack(EXAMPLES)
    with torch.no_grad():
        places = policy(*tokens)[0].split([one.length for one in EXAMPLES])
    assert [part.sum().item() for part in places] == pytest.approx(alone, abs=1e-5)
    # And they are the plain ones.
    logits = policy.inner(input_ids=torch.tensor([EXAMPLES[0].ids])).logits[0]
    plain = logits.log_softmax(-1)[range(1, 7), list(EXAMPLES[0].ids[2:])]
    assert plain.sum().item() == pytest.approx(alone[0], abs=1e-5)


def test_chunks_change_nothing(tiny_llama, loaded, monkeypatch):
    policy, tokens = loaded(tiny_llama), pad(EXAMPLES, 0)
    from train_baselines import ops

    whole = policy(*tokens)
    chunked = ops.logprobs_from_hidden
    monkeypatch.setattr(ops, "logprobs_from_hidden", lambda *a, **k: chunked(*a, **k, chunk=3))
    torch.testing.assert_close(policy(*tokens), whole, rtol=0, atol=1e-5)
    policy._plain_head = False  # through the model's own logits
    torch.testing.assert_close(policy(*tokens), whole, rtol=0, atol=1e-5)


def test_no_gradient_reaches_prompt_or_padding(tiny_llama, loaded):
    """A row's loss must not change with tokens of others, nor ask to foretell its prompt."""
    policy = loaded(tiny_llama)
    seen: list[torch.Tensor] = []

    def keep(module: object, args: object, output: torch.Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    hook = policy.inner.model.norm.register_forward_hook(keep)  # the last hidden states
    for side in ("right", "left"):
        tokens = pad(EXAMPLES[:2], 0, side=side)
        policy(*tokens).sum().backward()
        reached = seen[-1].grad.abs().sum(-1) > 0
        # The state before each target foretells it; no other state is asked.
        assert reached.tolist() == torch.nn.functional.pad(tokens.targets[:, 1:], (0, 1)).tolist()
    hook.remove()
    # Nor do embeddings of padding get any.
    table = policy.inner.get_input_embeddings().weight
    table.grad = None
    for side in ("right", "left"):
        policy(*pad(EXAMPLES[:2], 300, side=side)).sum().backward()
        assert table.grad[300].abs().max() == 0
        assert table.grad[EXAMPLES[0].ids[0]].abs().max() > 0


def test_scores_do_not_depend_on_padding_and_are_the_judges(tiny_llama, loaded, tmp_path):
    model = loaded(tiny_llama, new_scalar_model)
    model.save(tmp_path / "saved")
    texts = ["one", "two or three words", "a longer answer, longer than the others"]
    turns = (Message("user", "Say"),)
    rows = [model.encoder.scored(turns, text, "") for text in texts]
    scores = score(model, rows)
    assert score(model, rows, tokens_per_device=1) == pytest.approx(scores, abs=1e-5)
    for side in ("left", "right"):
        ids, attention, positions, targets = pad(rows, 9, side=side)
        with torch.no_grad():
            found = (model(ids, attention, positions) * targets).sum(1)
        assert found.tolist() == pytest.approx(scores, abs=1e-5)
    judge = RewardScorer.load(tmp_path / "saved")
    asked = [_conversation(Instruction(id="x", messages=turns), text) for text in texts]
    assert judge.score(asked) == pytest.approx(scores, abs=1e-5)
    again = loaded(tmp_path / "saved", load_scalar_model)
    assert score(again, rows) == pytest.approx(scores, abs=1e-6)
    assert not any(p.requires_grad for p in again.parameters())


def test_a_token_that_ends_conversations_is_no_padding(tmp_path, loaded):
    """Padding with the end of text is common; a classifier would then read the token before it."""
    base = make_tiny_llama(tmp_path / "base", chat_template=False)
    tokenizer = make_tiny_tokenizer(base, chat_template=False)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(base)
    model = loaded(base, new_scalar_model)
    model.save(tmp_path / "saved")
    turns = (Message("user", "Say"),)
    rows = [model.encoder.scored(turns, text, "") for text in ("one", "two or three")]
    assert rows[0].ids[-1] == tokenizer.eos_token_id
    asked = [_conversation(Instruction(id="x", messages=turns), t) for t in ("one", "two or three")]
    found = RewardScorer.load(tmp_path / "saved").score(asked)
    assert found == pytest.approx(score(model, rows), abs=1e-5)


# --------------------------------------------------------------------------------------- adapters
LORA = {"use_peft": True, "lora_r": 4, "learning_rate": 1e-2, "max_steps": 4, "batch_size": 8}


@pytest.fixture(scope="module")
def adapted(tiny_llama, tmp_path_factory) -> Path:
    """A LoRA run of a few steps."""
    folder = tmp_path_factory.mktemp("lora")
    data = demonstrations(folder / "d.jsonl")
    assert train("sft", tiny_llama, data, folder / "out", **LORA) == 0
    losses = [line["loss"] for line in metrics(folder / "out")]
    assert losses[-1] < losses[0] - 0.5
    return folder / "out"


def test_merged_and_unmerged_agree_and_the_adapter_is_beside(adapted, tiny_llama, loaded):
    from judges.backends.transformers import TransformersLLM

    merged, tokens = loaded(adapted), pad(EXAMPLES, 0)
    unmerged = TransformersLLM.load(tiny_llama, adapter=adapted / "adapter").model
    policy = Policy(unmerged, merged.encoder, bf16=False)
    torch.testing.assert_close(policy(*tokens), merged(*tokens), rtol=0, atol=1e-5)
    base = loaded(tiny_llama)
    assert sums(base, tokens) != pytest.approx(sums(merged, tokens), abs=0.1)
    with policy.adapter_off():
        torch.testing.assert_close(policy(*tokens), base(*tokens), rtol=0, atol=1e-5)
    before, after = (
        load_file(tiny_llama / "model.safetensors"),
        load_file(adapted / "model.safetensors"),
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("proj" in name for name in changed)
    # An adapter is a model to begin with, too.
    again = loaded(adapted / "adapter")
    torch.testing.assert_close(again(*tokens), merged(*tokens), rtol=0, atol=1e-5)


def test_only_adapters_get_gradients(tiny_llama, loaded):
    policy = loaded(tiny_llama, use_peft=True)
    policy(*pad(EXAMPLES, 0)).sum().backward()
    for name, parameter in policy.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name)
    model = loaded(tiny_llama, new_scalar_model, use_peft=True)
    model(*pad(EXAMPLES, 0)[:3]).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name or "score" in name)


def test_the_default_rate_with_lora_is_ten_times_the_full_one(tiny_llama, tmp_path, capsys):
    data = demonstrations(tmp_path / "d.jsonl")
    for name, flags, told in (
        ("full", {}, "learning rate 2e-05\n"),
        ("lora", {"use_peft": True}, "learning rate 0.0002 (ten times the full one, with LoRA)"),
        ("own", {"use_peft": True, "learning_rate": 1e-3}, "learning rate 0.001\n"),
    ):
        assert train("sft", tiny_llama, data, tmp_path / name, max_steps=1, **flags) == 0
        assert told in capsys.readouterr().out
        assert metrics(tmp_path / name)[0]["learning_rate"] > 0


def test_half_precision_is_autocast_over_float32(tiny_llama, tmp_path, loaded):
    data = preferences(tmp_path / "p.jsonl")
    flags = {"max_steps": 3, "learning_rate": 1e-3, "batch_size": 20}
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        assert train("dpo", tiny_llama, data, out, precision=precision, **flags) == 0
    full, half = (metrics(tmp_path / p) for p in ("fp32", "bf16"))
    assert half[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # the reference is in it as well
    assert half[-1]["loss"] == pytest.approx(full[-1]["loss"], abs=0.1)
    assert half[-1]["loss"] != full[-1]["loss"]
    weights = load_file(tmp_path / "bf16" / "model.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.bfloat16}
    policy = loaded(tmp_path / "bf16", precision="bf16")
    assert {p.dtype for p in policy.parameters()} == {torch.float32}
    frozen = loaded(tmp_path / "bf16", precision="bf16", use_peft=True)
    assert {p.dtype for p in frozen.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in frozen.parameters() if not p.requires_grad} == {torch.bfloat16}


# ---------------------------------------------------------------------------------------- refusals
def test_packing_is_refused_where_rows_would_see_one_another(tmp_path, loaded):
    """A model that knows no positions of its own cannot tell where a row begins."""
    from transformers import MambaConfig, MambaForCausalLM

    folder = tmp_path / "mamba"
    tokenizer = make_tiny_tokenizer(folder)
    settings = MambaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4
    )
    MambaForCausalLM(settings).save_pretrained(folder)
    with pytest.raises(UserError, match="packing is not exact for mamba"):
        loaded(folder).check_packing()


def test_a_reward_model_of_another_tokenizer_is_refused(tiny_llama, tmp_path, loaded):
    other = make_tiny_llama(tmp_path / "other", special=("<new>",))
    written = make_tiny_llama(tmp_path / "template", chat_template="{{ messages[0]['content'] }}")
    own, *others = (loaded(path).encoder for path in (tiny_llama, other, written))
    check_same_tokenizer(own, loaded(tiny_llama).encoder, "same")
    for encoder, told in zip(others, ("another tokenizer", "another chat template"), strict=True):
        with pytest.raises(UserError, match=told):
            check_same_tokenizer(own, encoder, "other")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(llama_copy, loaded):
    make_tiny_tokenizer(llama_copy, special=tuple(f"<more {n}>" for n in range(99)))
    with pytest.raises(UserError, match="tokenizer of another model"):
        loaded(llama_copy)
