"""A policy that answers "WORD yes" or "no" about equally often, and a reward model that likes the
first: what the methods that choose between answers are tested on."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import write_rows
from training import ASKED, preferences, train

from judges.schema import Message
from train_baselines.data import Example, pad
from train_baselines.loading import load_reference
from train_baselines.models import Policy
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
