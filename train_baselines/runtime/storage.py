"""What a run leaves on disk to be resumed: a checkpoint is whole or it is not there.

`output_dir/checkpoints/step-N/` holds `tensors.safetensors` (weights that are trained, the
optimiser's state, the states of torch's random numbers) and `state.json` (all else). It is written
beside its place, flushed to the disk and then renamed, and only then the one before it goes: a
killed process or a full disk costs the steps since the last checkpoint, never the checkpoint.
Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from judges.errors import UserError
from judges.records import write_atomic

SCHEMA_VERSION = 1
_FOLDER = "checkpoints"


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint: tensors by name, and what JSON holds."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it stands at `path`, whole and on the disk, when the block ends.

    Raises UserError where the disk is full or cannot be written to; what stood there stays then.
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        for file in draft.rglob("*"):
            _sync(file)
        _sync(draft)
        shutil.rmtree(path, ignore_errors=True)
        os.rename(draft, path)
        _sync(path.parent)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if _is_disk(error):
            raise UserError(
                f"{path}: could not be written ({str(error).splitlines()[0]}). What was saved "
                "before is intact: make room, and run the same command again"
            ) from None
        raise


def _is_disk(error: BaseException) -> bool:
    """Whether the disk is at fault; the writers of tensors have errors of their own for it."""
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_checkpoint(output: Path, step: int, saved: Saved) -> None:
    """Writes the checkpoint of a step, then removes the ones before it."""
    from safetensors.torch import save_file

    with new_folder(output / _FOLDER / f"step-{step}") as folder:
        save_file(saved.tensors, folder / "tensors.safetensors")
        state = {"schema_version": SCHEMA_VERSION, "step": step, **saved.state}
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    for old in _checkpoints(output):
        if old.name != f"step-{step}":
            shutil.rmtree(old)


def last_checkpoint(output: Path) -> Path | None:
    """The folder of the last whole checkpoint, if there is one."""
    found = sorted(_checkpoints(output), key=lambda path: int(path.name.removeprefix("step-")))
    return found[-1] if found else None


def _checkpoints(output: Path) -> list[Path]:
    return [p for p in (output / _FOLDER).glob("step-*") if (p / "state.json").is_file()]


def load_checkpoint(folder: Path) -> Saved:
    """Reads a checkpoint; raises UserError for one that is damaged."""
    from safetensors.torch import load_file

    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return Saved(load_file(folder / "tensors.safetensors"), state)
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever its reader meets
        raise UserError(
            f"{folder}: the checkpoint cannot be read ({error}). Remove it, or train with --overwrite"
        ) from None


# ----------------------------------------------------------------------------- train_config.json
def read_run(output: Path) -> dict[str, Any] | None:
    """What `train_config.json` says of the run in a folder; None where there is none."""
    path = output / "train_config.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); train with --overwrite") from None
    return found if isinstance(found, dict) else {}


def write_run(output: Path, run: Mapping[str, Any]) -> None:
    """Writes `train_config.json` in one step."""
    write_atomic(output / "train_config.json", json.dumps(run, indent=2, ensure_ascii=False) + "\n")


def cut_metrics(path: Path, steps: int) -> None:
    """Removes the lines behind a step, which is trained from again, and a torn last line."""
    if not path.is_file():
        return
    lines = path.read_bytes().split(b"\n")[:-1]
    kept = [line for line in lines if json.loads(line)["step"] <= steps]
    write_atomic(path, "".join(line.decode() + "\n" for line in kept))


# -------------------------------------------------------------------------------- random numbers
def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of the generators of torch, numpy and Python in this process."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - the global one
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    numpy_state = [name, np.asarray(keys).tolist(), position, has_gauss, cached]
    return tensors, {"python": random.getstate(), "numpy": numpy_state}


def set_random_state(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Puts back what `random_state` gave."""
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
