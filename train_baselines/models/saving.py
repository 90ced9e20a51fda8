"""Writes a trained model as a Hugging Face checkpoint, adapters merged into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from judges.backends.checkpoint import read_object
from judges.backends.loading import quiet
from train_baselines.data.examples import Encoder
from train_baselines.runtime.devices import whole


def save_model(inner: Any, encoder: Encoder, folder: Path | None, *, bf16: bool) -> None:
    """A checkpoint that `from_pretrained` and `leaderboard eval` read, in the precision that the
    products were computed in; without a folder only this process's part is handed in."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    state = _merged(inner, dtype)
    if folder is None:
        return
    with quiet():
        inner.save_pretrained(folder, state_dict=state)
        encoder.tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    settings = {**read_object(path), "dtype": str(dtype).removeprefix("torch.")}
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def _merged(inner: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights by the names that they have without adapters: W + (alpha / r) · B A."""
    changes = {
        f"{name}.weight": whole(module.get_delta_weight("default"))
        for name, module in inner.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    state: dict[str, Tensor] = {}
    names: dict[int, str] = {}  # tied weights are one tensor under two names
    for path, held in inner.state_dict(keep_vars=True).items():
        if ".lora_" in path:
            continue
        name = path.replace(".base_layer.", ".")
        first = names.setdefault(id(held), name)
        if first != name and name not in changes:
            state[name] = state[first]
            continue
        value = whole(held)
        if name in changes:
            value = value.float() + changes[name].float()
        state[name] = value.to("cpu", dtype)
    return state
