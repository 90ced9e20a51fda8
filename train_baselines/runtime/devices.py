"""Where a run computes: `accelerate` knows the processes, the devices and the precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from judges.errors import MissingExtraError, UserError
from train_baselines.runtime.config import RunConfig


class Model(nn.Module):
    """What a run trains: a module that can write itself as a Hugging Face checkpoint."""

    def save(self, folder: Path | None) -> None:
        """Writes weights, config, tokenizer and all that `from_pretrained` asks for.

        All processes call it, since each may hold a part of the weights; those with no folder
        write nothing.
        """
        raise NotImplementedError


def make_accelerator(config: RunConfig) -> Any:
    """What accelerate knows of the processes, of which `accelerate launch` starts several."""
    try:
        from accelerate import Accelerator
    except ImportError:
        raise MissingExtraError("accelerate", "train") from None
    from accelerate.state import AcceleratorState

    bf16 = config.precision == "bf16"
    if config.precision == "auto":
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    AcceleratorState._reset_state()  # else a second run of a process cannot have another precision
    made = Accelerator(
        # Unsaid, processes of torchrun on a CPU would not find one another, and each train alone.
        cpu=not torch.accelerator.is_available(),
        mixed_precision="bf16" if bf16 else "no",
        log_with=None if config.report_to == "none" else config.report_to,
        project_dir=config.output_dir,
    )
    if made.distributed_type.value == "FSDP" and not made.is_fsdp2:
        raise UserError("FSDP in its first version is not supported: set fsdp_version to 2")
    return made


def whole(value: Tensor) -> Tensor:
    """A tensor as one process would hold it; all processes call this for one that is sharded."""
    gathered: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return gathered.detach()
