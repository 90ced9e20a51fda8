"""AdamW as every method uses it, and its learning rate from step to step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from train_baselines.runtime.config import RunConfig


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: RunConfig, device: torch.device
) -> torch.optim.AdamW:
    """AdamW that decays matrices only; fused where torch has it."""
    trained = list(parameters)
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.resolved_learning_rate(),
        betas=(0.9, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=device.type in ("cpu", "cuda"),
    )


def set_learning_rate(optimizer: Any, config: RunConfig, step: int, total: int) -> None:
    """Gives the optimiser the learning rate of a step."""
    warmup = math.ceil(config.warmup_ratio * total)
    peak, kind = config.resolved_learning_rate(), config.lr_scheduler_type
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, total, peak=peak, warmup=warmup, kind=kind)


def learning_rate_at(step: int, total: int, *, peak: float, warmup: int, kind: str) -> float:
    """The learning rate of step 0..total-1: up in a line from 0, then down to 0 or level.

    The first step already moves: it has 1 / (warmup + 1) of the peak.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if kind == "constant":
        return peak
    done = (step - warmup) / max(1, total - warmup)
    return peak * (0.5 * (1 + math.cos(math.pi * done)) if kind == "cosine" else 1 - done)
