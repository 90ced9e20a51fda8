"""Two processes take the very step that one takes: same loss, same gradients."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import read_lines
from safetensors.torch import load_file, save_file
from training import candidates, demonstrations, in_processes, metrics, preferences, train

from train_baselines.runtime import storage
from train_baselines.runtime.run import Run

DATA = {"sft": demonstrations, "rrhf": candidates}  # all others learn from preferences


def sharded() -> None:
    """Has weights, gradients and the optimiser's state sharded over the processes. accelerate does
    this on GPUs alone; what it would call there is called here."""
    from accelerate import Accelerator
    from torch.distributed.fsdp import fully_shard

    def prepare(self: Accelerator, model: Any, optimizer: Any) -> Any:
        groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
        names = {id(p): name for name, p in model.named_parameters()}
        for layer in model.inner.base_model.layers:
            fully_shard(layer)
        fully_shard(model)
        by_name = dict(model.named_parameters())
        for group, ids in zip(optimizer.param_groups, groups, strict=True):
            group["params"] = [by_name[names[one]] for one in ids]
        return model, self.prepare_optimizer(optimizer)

    Accelerator.prepare = prepare


def recorded(folder: Path, method: str, model: Path, data: Path, size: int) -> None:
    """One step, whose gradients (before clipping too) are written down."""
    step = torch.optim.AdamW.step

    def recording(self: torch.optim.AdamW, *args: object, **kwargs: object) -> object:
        flat = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        save_file({"gradient": torch.cat(flat)}, folder / f"gradient-{rank}.safetensors")
        return step(self, *args, **kwargs)

    torch.optim.AdamW.step = recording
    code = train(
        method, model, data, folder / "out",
        max_steps=1, batch_size=size, tokens_per_device=100, max_grad_norm=0,
    )  # fmt: skip
    assert code == 0


@pytest.mark.parametrize(
    ("method", "size"),
    [
        ("sft", 13),
        ("dpo", 7),
        ("reward_model", 1),
        ("feedme", 13),
        ("reward_conditioning", 13),
        ("rrhf", 7),
    ],
)
def test_the_first_step_is_the_same(method, size, tiny_llama, tmp_path):
    data = DATA.get(method, preferences)(tmp_path / "data.jsonl")
    found = {}
    for world in (None, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        codes = in_processes(recorded, folder, method, tiny_llama, data, size, world=world)
        assert set(codes) == {0}
        gradients = [load_file(p)["gradient"] for p in sorted(folder.glob("*.safetensors"))]
        assert all(torch.equal(gradients[0], other) for other in gradients[1:])
        (line,) = metrics(folder / "out")
        found[world] = line, gradients[0]
    (alone, gradient), (together, other) = found.values()
    assert alone["loss"] == pytest.approx(together["loss"], rel=1e-5)
    assert alone["tokens"] == together["tokens"]
    assert alone["grad_norm"] == pytest.approx(together["grad_norm"], rel=1e-5)
    assert (gradient - other).abs().max() <= 1e-5 * gradient.abs().max()
    assert gradient.abs().max() > 0
    assert len(read_lines(tmp_path / "2" / "out" / "metrics.jsonl")) == 1


STEPS = {"max_steps": 4, "batch_size": 8, "save_steps": 2, "learning_rate": 1e-3}


def under_fsdp(method: str, model: Path, data: Path, out: Path, until: int, flags: dict[str, Any]):
    sharded()
    end = Run._end_step

    def stop(self: Run, epoch: float) -> None:
        end(self, epoch)
        if self.step == until:
            os.kill(os.getpid(), signal.SIGKILL)

    Run._end_step = stop
    assert train(method, model, data, out, **flags) == 0


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("sft", {}),
        ("dpo", {"use_peft": True}),
        ("reward_model", {}),
        ("feedme", {}),
        ("reward_conditioning", {}),
        ("rrhf", {}),
    ],
)
def test_sharded_weights_are_trained_saved_and_resumed(method, flags, tiny_llama, tmp_path):
    data = DATA.get(method, preferences)(tmp_path / "data.jsonl")
    flags = {**STEPS, **flags}
    alone, out = tmp_path / "alone", tmp_path / "sharded"
    assert train(method, tiny_llama, data, alone, **flags) == 0
    codes = in_processes(under_fsdp, method, tiny_llama, data, out, 3, flags, world=2)
    assert -signal.SIGKILL in codes  # the other may notice before it is killed itself
    assert storage.last_checkpoint(out).name == "step-2"
    assert in_processes(under_fsdp, method, tiny_llama, data, out, 0, flags, world=2) == [0, 0]
    assert {p.name for p in out.iterdir()} == {p.name for p in alone.iterdir()}
    for one, other in zip(metrics(alone), metrics(out), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3, abs=1e-5)
    for path in (
        "model.safetensors",
        *(["adapter/adapter_model.safetensors"] * ("use_peft" in flags)),
    ):
        expected, found = load_file(alone / path), load_file(out / path)
        assert set(found) == set(expected)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=2e-4)
