"""What a run says of itself while it goes on: a line a step in metrics.jsonl, and a progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from judges.records import Appender


class Tally:
    """Figures of the batches of one update, added up by their shares."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, figures: Mapping[str, Tensor | float], share: float, like: Tensor) -> None:
        """Means over a batch; `like` is any tensor on the device."""
        for name, value in figures.items():
            part = torch.as_tensor(value, device=like.device).detach().float() * share
            self._sums[name] = self._sums.get(name, 0.0) + part

    def total(self, accelerator: Any) -> dict[str, float]:
        """Means over the batches of all processes; the tally is empty afterwards."""
        names = list(self._sums)
        sums = accelerator.reduce(torch.stack([self._sums[name] for name in names]), "mean")
        self._sums = {}
        return dict(zip(names, sums.tolist(), strict=True))


class Journal:
    """Writes `metrics.jsonl` and moves the bar, in the main process alone."""

    def __init__(self, path: Path, accelerator: Any, *, tracked: bool) -> None:
        self._path, self._accelerator, self._tracked = path, accelerator, tracked
        self._updates: list[Mapping[str, float]] = []
        self._extra: dict[str, float] = {}

    def open(self, method: str, step: int, total: int) -> None:
        """Shows the bar, at the steps that are done."""
        from tqdm import tqdm

        quiet = None if self._accelerator.is_main_process else True
        self._bar = tqdm(total=total, initial=step, desc=method, unit="step", disable=quiet)
        self._began = time.monotonic()

    def update(self, figures: Mapping[str, float]) -> None:
        """Takes the figures of one move of the optimiser."""
        self._updates.append(figures)

    def log(self, figures: Mapping[str, float]) -> None:
        """Takes figures of the whole step."""
        self._extra.update(figures)

    def line(self, step: int, epoch: float, learning_rate: float) -> None:
        """Writes the line of a step: means over its updates, and the tokens they were made of."""
        updates, self._updates = self._updates, []
        extra, self._extra = self._extra, {}
        seconds, self._began = time.monotonic() - self._began, time.monotonic()
        tokens = math.fsum(one["tokens"] for one in updates)
        line: dict[str, Any] = {"step": step, "epoch": round(epoch, 4)}
        for name in updates[0] if updates else ():
            line[name] = math.fsum(one[name] for one in updates) / len(updates)
        line |= {**extra, "learning_rate": learning_rate, "tokens": round(tokens)}
        line |= {"seconds": round(seconds, 4)}
        if self._tracked:
            self._accelerator.log({k: v for k, v in line.items() if k != "step"}, step=step)
        if self._accelerator.is_main_process:
            with Appender(self._path) as file:
                file.append(line)
        shown: dict[str, str] = {
            name: f"{line[name]:.4g}" for name in ("loss", "reward") if name in line
        }
        shown["tokens/s"] = f"{tokens / max(seconds, 1e-9):,.0f}"
        self._bar.set_postfix(shown)
        self._bar.update()

    def close(self) -> None:
        self._bar.close()
