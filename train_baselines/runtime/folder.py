"""The folder of a run: whose it is, what of a training goes into a checkpoint, and its last state."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from judges.errors import UserError
from train_baselines.runtime import storage
from train_baselines.runtime.config import RunConfig
from train_baselines.runtime.devices import whole

# What may differ when a run is resumed: no weight depends on it, but for the last digits of rounding
# on the two that save memory.
_FREE = (
    "output_dir", "overwrite", "report_to", "save_steps", "export_steps",
    "tokens_per_device", "gradient_checkpointing",
)  # fmt: skip
_OURS = (
    "train_config.json", "metrics.jsonl", "checkpoints", "step-*", "adapter", "kept-*",
    "config.json", "*.safetensors", "*.safetensors.index.json",
)  # fmt: skip
_PACKAGES = ("herdbook", "torch", "transformers", "accelerate", "peft")


def settings(config: RunConfig) -> dict[str, Any]:
    """The settings as JSON holds them."""
    plain = {**dataclasses.asdict(config), "output_dir": str(config.output_dir)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def check_free(output: Path, method: str, config: RunConfig) -> None:
    """Raises UserError for a folder that this run may not write to or take up."""
    found = storage.read_run(output)
    if found is None:
        if (output / "config.json").is_file():
            raise UserError(f"{output} holds a model that is no run's: choose another --output-dir")
        return
    if config.overwrite:
        return
    anew = "choose another --output-dir, or begin anew with --overwrite True"
    if found.get("method") != method:
        raise UserError(f"{output} holds a run of {found.get('method')}, not of {method}: {anew}")
    before, now = found.get("config", {}), settings(config)
    differ = [k for k in now if k not in _FREE and before.get(k) != now[k]]
    if differ:
        name = differ[0]
        raise UserError(
            f"{output} holds a run with other settings ({name} was {before.get(name)!r}, is now "
            f"{now[name]!r}): {anew}"
        )
    if found.get("finished"):
        raise UserError(f"{output} holds a finished run of {method}: {anew}")


def clear(output: Path) -> None:
    """Removes a former run's files, and only those."""
    if storage.read_run(output) is None:
        return
    for pattern in _OURS:
        for path in output.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_scaffold(output: Path) -> None:
    """Removes what only resuming needs, once the run is done."""
    for path in (output / "checkpoints", *output.glob("kept-*")):
        shutil.rmtree(path, ignore_errors=True)


def describe(method: str, config: RunConfig, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into `train_config.json`."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "schema_version": storage.SCHEMA_VERSION,
        "method": method,
        "config": settings(config),
        "versions": versions,
        "facts": dict(facts),
    }


def fill(path: Path, write: Callable[[Path], None]) -> None:
    """Has a model written into a folder of its own, which is there when it is whole."""
    with storage.new_folder(path) as draft:
        write(draft)


def put(output: Path, write: Callable[[Path], None]) -> None:
    """Has a model written beside the folder's other files, which change only when it is whole."""
    draft = output / "checkpoints" / "model"
    fill(draft, write)
    for path in draft.iterdir():
        target = output / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    draft.rmdir()


# ------------------------------------------------------------------- what a checkpoint is made of
def training_tensors(trained: Mapping[str, nn.Parameter], optimizer: Any) -> dict[str, Tensor]:
    """Trained weights and the optimiser's state, by the parameters' names, on the CPU."""
    found = {}
    for name, parameter in trained.items():
        found[f"weights/{name}"] = parameter
        for key, value in optimizer.state[parameter].items():
            found[f"{key}/{name}"] = value
    return {name: whole(value).to("cpu", copy=True) for name, value in found.items()}


def restore_tensors(
    tensors: Mapping[str, Tensor], trained: Mapping[str, nn.Parameter], optimizer: Any
) -> None:
    """Puts back what `training_tensors` gave; raises UserError where it is another model's."""
    expected = {f"weights/{name}" for name in trained}
    if {name for name in tensors if name.startswith("weights/")} != expected:
        raise UserError(
            "the checkpoint holds other weights than the model: begin with --overwrite True"
        )
    for path, value in tensors.items():
        kind, _, name = path.partition("/")
        if kind == "weights":
            with torch.no_grad():
                trained[name].copy_(_like(value, trained[name]))
        elif kind != "random":
            optimizer.state[trained[name]][kind] = _like(value, trained[name])


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _like(value: Tensor, parameter: Any) -> Tensor:
    """A whole tensor on the parameter's device, sharded as it is."""
    if value.ndim == 0:  # the optimiser's count of steps: on the CPU, but for a fused one
        return value.to(parameter.device if parameter.is_cuda else "cpu")
    value = value.to(parameter.device)
    if hasattr(parameter, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value
