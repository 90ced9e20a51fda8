"""A bandit with a known optimum: answers of a token or two, and a reward model by hand that pays for
the last one."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import write_rows
from preferring import loaded
from training import train
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerBase,
)

from judges.schema import Message
from train_baselines.data.examples import Example, pad

ARMS = {"a": 0.0, "b": 0.6, "c": 0.3, "d": -0.4}
"""Answers and what they are paid."""
PROMPTS = ["Pick", "Pick one", "Pick one now", "Go", "Go on", "Say it", "Say it please now", "What"]


def small_config(tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128, num_labels=1,
        tie_word_embeddings=False, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def asked(path: Path, times: int = 4) -> Path:
    return write_rows(path, [{"prompt": text} for text in PROMPTS * times])


def bandit(tiny: Path, folder: Path) -> Path:
    """A policy of one layer that writes each of the arms about equally often, half the time twice,
    and then the end."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(small_config(tokenizer)).save_pretrained(folder / "small")
    tokenizer.save_pretrained(folder / "small")
    rows = [
        {"prompt": text, "completion": arm * times}
        for text in PROMPTS for arm in ARMS for times in (1, 2)
    ]  # fmt: skip
    data = write_rows(folder / "arms.jsonl", rows)
    flags = {"batch_size": 32, "num_train_epochs": 40, "learning_rate": 1e-2}
    assert train("sft", folder / "small", data, folder / "policy", **flags) == 0
    return folder / "policy"


def paying(policy: Path, folder: Path, *, also: str = "", extra: float = 0.0) -> Path:
    """A reward model whose score is what the last token that it reads is paid: an arm where an answer
    was cut off there; else nothing, or `extra` where that token is `also`."""
    tokenizer = AutoTokenizer.from_pretrained(policy)
    model = LlamaForSequenceClassification(small_config(tokenizer))
    paid = {tokenizer.encode(arm, add_special_tokens=False)[0]: pay for arm, pay in ARMS.items()}
    if also:
        paid[tokenizer.convert_tokens_to_ids(also)] = extra
    with torch.no_grad():
        layer = model.model.layers[0]  # which adds nothing
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.zero_()
        model.score.weight.zero_()
        for place, (token, pay) in enumerate(paid.items()):
            model.model.embed_tokens.weight[token, place] = 1.0  # which the norm makes √32
            model.score.weight[0, place] = pay / 32**0.5
    model.save_pretrained(folder / "paying")
    tokenizer.save_pretrained(folder / "paying")
    return folder / "paying"


def chances(path: Path, folder: Path) -> torch.Tensor:
    """The probabilities of the arms behind each prompt, [prompts, arms]."""
    policy = loaded(path, folder)
    rows = []
    for text in PROMPTS:
        prompt = policy.encoder.prompt((Message("user", text),))
        for arm in ARMS:
            rows.append(Example((*prompt, *policy.encoder.answer(arm)[:1]), len(prompt), ""))
    with torch.no_grad():
        return policy(*pad(rows, policy.encoder.pad)).sum(1).exp().view(len(PROMPTS), len(ARMS))
