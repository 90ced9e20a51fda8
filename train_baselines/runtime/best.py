"""The best weights of a run so far, by a figure on data that is not trained on, and when to stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from train_baselines.runtime import storage
from train_baselines.runtime.devices import Model, whole
from train_baselines.runtime.run import Run


class Best:
    """Keeps the trained weights of a model in `kept-best-N`, N the steps that they were trained for.

    What is said of them is in `run.state`, so that it is as of the checkpoint when a run is resumed.
    """

    def __init__(self, run: Run, model: Model, patience: int | None) -> None:
        self._run, self._patience = run, patience
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    @property
    def step(self) -> int | None:
        """The steps that the best weights were trained for; None before the first figure."""
        return self._run.state["best"]["step"] if "best" in self._run.state else None

    @property
    def figure(self) -> float:
        return float(self._run.state["best"]["figure"])

    @property
    def is_over(self) -> bool:
        """Whether the last `patience` figures were no better than one before them."""
        return (
            self._patience is not None
            and self.step is not None
            and self._run.state["best"]["waited"] >= self._patience
        )

    def add(self, figure: float, step: int) -> None:
        """Takes the figure of the weights as they are after so many steps; more is better."""
        if self.step is not None and figure <= self.figure:
            self._run.state["best"]["waited"] += 1
            return
        held = {name: whole(value).to("cpu", copy=True) for name, value in self._trained.items()}
        if self._run.is_main:
            from safetensors.torch import save_file

            with storage.new_folder(self._path(step)) as draft:
                save_file(held, draft / "weights.safetensors")
            needed = {self._path(step), self._path(self._resumable())}
            for old in self._run.output.glob("kept-best-*"):
                if old not in needed:
                    shutil.rmtree(old)
        self._run.accelerator.wait_for_everyone()
        self._run.state["best"] = {"figure": figure, "step": step, "waited": 0}

    def restore(self) -> None:
        """Puts the best weights back into the model."""
        from safetensors.torch import load_file

        found = load_file(self._path(self.step) / "weights.safetensors")
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(found[name].to(parameter.device))

    def _path(self, step: int | None) -> Path:
        return self._run.output / f"kept-best-{step}"

    def _resumable(self) -> int | None:
        """The best step as of the last checkpoint, which a resumed run goes on from."""
        last = storage.last_checkpoint(self._run.output)
        if last is None:
            return None
        held = json.loads((last / "state.json").read_text(encoding="utf-8"))["method"]
        return held["best"]["step"] if "best" in held else None
