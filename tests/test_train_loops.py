"""A loop of one's own over a run: rollouts that a process holds alone, state that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import read_json
from training import in_processes, metrics

from train_baselines.runtime.devices import Model
from train_baselines.runtime.run import Run
from train_baselines.sft import SFTConfig


@dataclass(frozen=True)
class Number:
    """An example that is a number, as long as it is large."""

    value: int

    @property
    def length(self) -> int:
        return self.value

    n_tokens = length

    @property
    def weight(self) -> float:
        return 1.0

    @property
    def where(self) -> str:
        return f"number {self.value}"


class Slope(Model):
    """Gives w · x for w = 1, and two more numbers that no loss looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w * x

    def save(self, folder: Path | None) -> None:
        if folder is not None:
            (folder / "w.txt").write_text(repr(self.w.item()))


def learn(folder: Path, *, stop: int = 99, updates: int = 1) -> None:
    """Steps in which each process makes its own rows of those that are drawn, and learns from them
    in `updates` updates."""
    rows = [Number(value) for value in range(1, 17)]
    config = SFTConfig(
        model_name_or_path="", dataset="", output_dir=folder, learning_rate=0.01, save_steps=2,
        batch_size=8, num_train_epochs=3, tokens_per_device=20, max_grad_norm=0,
    )  # fmt: skip
    run = Run("test", config)
    model = run.prepare(Slope())
    run.state["seen"] = 0
    for chosen in run.steps(rows):
        if run.step == stop:
            raise KeyboardInterrupt
        own = [rows[n] for n in chosen[run.rank :: run.world]]
        run.state["seen"] += len(chosen)
        for batch in run.own_batches(own, 8 // updates):
            x = torch.tensor([float(row.value) for row in batch.rows])
            loss = (model(x) ** 2).mean()
            run.update(batch, loss, {"mean": x.mean()})
        run.log(seen=run.state["seen"])
    run.finish()


def test_rows_of_ones_own_are_one_step_of_all_processes(tmp_path):
    assert in_processes(learn, tmp_path / "alone") == [0]
    assert in_processes(learn, tmp_path / "together", world=2) == [0, 0]
    alone, together = (metrics(tmp_path / name) for name in ("alone", "together"))
    assert len(alone) == 6
    for one, other in zip(alone, together, strict=True):
        for name in ("loss", "mean", "grad_norm", "tokens", "seen"):
            assert one[name] == pytest.approx(other[name], rel=1e-5)
    assert alone[0]["tokens"] + alone[1]["tokens"] == sum(range(1, 17))
    mean = (alone[0]["mean"] + alone[1]["mean"]) / 2
    assert mean == pytest.approx(8.5)  # each batch by its rows, whatever its size


def test_several_updates_of_a_step_share_its_line(tmp_path):
    assert in_processes(lambda: learn(tmp_path / "two", updates=2)) == [0]
    lines = metrics(tmp_path / "two")
    assert len(lines) == 6
    assert lines[0]["tokens"] + lines[1]["tokens"] == sum(range(1, 17))
    once = in_processes(lambda: learn(tmp_path / "one"))
    assert once == [0]
    assert float((tmp_path / "two" / "w.txt").read_text()) < float(
        (tmp_path / "one" / "w.txt").read_text()
    )


def test_state_is_as_it_was_at_the_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "run", stop=5)
    learn(tmp_path / "run")
    learn(tmp_path / "whole")
    assert [line["seen"] for line in metrics(tmp_path / "run")] == [8, 16, 24, 32, 40, 48]
    written = [(tmp_path / name / "w.txt").read_text() for name in ("run", "whole")]
    assert written[0] == written[1]
    assert read_json(tmp_path / "run" / "train_config.json")["finished"]
