"""A policy that answers "WORD yes" or "no" about equally often, and a reward model that likes the
first: what the methods that choose between answers are tested on."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import write_rows
from training import ASKED, preferences, train

from judges.schema import Message
from train_baselines.data.examples import Example, pad
from train_baselines.models.loading import load_reference
from train_baselines.models.wrapped import Policy
from train_baselines.runtime.run import Run
from train_baselines.sft import SFTConfig


def undecided(tiny: Path, folder: Path) -> Path:
    """Trained on both kinds of answers."""
    rows = [
        {"prompt": text, "completion": f"{text.split()[1]} yes" if n % 2 else "no "}
        for n, text in enumerate(ASKED)
    ]
    data = write_rows(folder / "undecided.jsonl", rows)
    flags = {"batch_size": 10, "num_train_epochs": 8, "learning_rate": 1e-3}
    assert train("sft", tiny, data, folder / "policy", **flags) == 0
    return folder / "policy"


def liking_yes(model: Path, folder: Path) -> Path:
    """Trained on the pairs of `preferences`."""
    data = preferences(folder / "pairs.jsonl")
    flags = {"learning_rate": 3e-4, "num_train_epochs": 2, "batch_size": 10}
    assert train("reward_model", model, data, folder / "reward", **flags) == 0
    return folder / "reward"


def liking(tokenizer: Path, letter: str, folder: Path, *, window: int = 512) -> Path:
    """A reward model that is made by hand: the more tokens hold the letter, the better.

    Its one layer looks at all tokens alike, and carries what they are worth to the score.
    """
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    words = AutoTokenizer.from_pretrained(tokenizer)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=4, intermediate_size=4, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=window, num_labels=1,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_("norm" in name)
        layer, table = model.model.layers[0].self_attn, model.model.embed_tokens.weight
        table[:, 0] = 1
        for token, number in words.get_vocab().items():
            table[number, 1] = letter in token and not token.startswith("<")
        layer.v_proj.weight[1, 1] = layer.o_proj.weight[2, 1] = model.score.weight[0, 2] = 3
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def prompts(path: Path, n: int = 12) -> Path:
    """The first prompts, with ids p0, p1 and on."""
    rows = [{"id": f"p{k}", "prompt": text} for k, text in enumerate(ASKED[:n])]
    return write_rows(path, rows)


def loaded(path: Path, folder: Path) -> Policy:
    """The policy at `path`, to look at."""
    config = SFTConfig(model_name_or_path=str(path), dataset="", output_dir=folder / "unused")
    return load_reference(str(path), config, Run("look", config))


def logprobs(policy: Policy, answers: list[str], last: int | None = None) -> torch.Tensor:
    """Log-probabilities of an answer to each of the prompts, of which `last` is the last token."""
    rows = []
    for text, answer in zip(ASKED, answers, strict=True):
        prompt = policy.encoder.prompt((Message("user", text),))
        prompt = prompt if last is None else [*prompt[:-1], last]
        rows.append(Example((*prompt, *policy.encoder.answer(answer)), len(prompt), ""))
    with torch.no_grad():
        return policy(*pad(rows, policy.encoder.pad)).sum(1)
