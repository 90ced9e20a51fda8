"""The settings that every method has, and how they are read: a TOML file, then flags."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import MISSING, dataclass, fields
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_type_hints

from judges.backends.loading import is_out_of_memory
from judges.errors import UserError
from judges.reading import printable
from judges.records import read_toml, validated

LORA_FACTOR = 10
"""With LoRA the default learning rate is this often the full one (Schulman et al. 2025, "LoRA
without regret", find a factor of ten nearly whatever the model)."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What all methods share. A method's config is a subclass: its own fields, and the defaults of
    its paper for some of these."""

    full_learning_rate: ClassVar[float]
    """The method's learning rate where all weights are trained."""

    model_name_or_path: str
    """Where to start: a folder, or ORG/NAME[@REVISION] on the Hugging Face Hub."""
    dataset: str
    """A file (json, jsonl, parquet), or ORG/NAME[:SPLIT] on the Hub."""
    output_dir: Path
    """The checkpoint goes here, and what is needed to resume."""
    overwrite: bool = False
    """Begin anew where output_dir holds another run."""
    seed: int = 0
    chat_template: str | None = None
    """`plain` or a file, for another template than the tokenizer's own."""
    max_length: int = 512
    """Tokens of a prompt with its answer; longer ones are dropped and counted, never cut."""

    num_train_epochs: int = 1
    max_steps: int | None = None
    """Optimiser steps in all, whatever num_train_epochs says."""
    batch_size: int = 64
    """Examples behind one optimiser step, over all devices."""
    tokens_per_device: int = 8192
    """Padded tokens in one forward pass of a device; a step takes as many passes as it needs."""

    learning_rate: float | None = None
    """Unset it is the method's own; with LoRA ten times that."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = 0.03
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """Of matrices; vectors such as norms and biases are never decayed."""
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    """Longer gradients are scaled to this norm; 0 lets all pass."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 is autocast over float32 weights; auto is bf16 on a GPU that has it, else fp32."""
    gradient_checkpointing: bool = False
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    torch_compile: bool = False

    use_peft: bool = False
    """Train LoRA adapters instead of all weights; the result is merged, and the adapter beside it."""
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_target_modules: tuple[str, ...] = ("all-linear",)

    save_steps: int = 100
    """Steps between two checkpoints to resume from; the last one is kept."""
    export_steps: int | None = None
    """Steps between two copies of the model to evaluate, in output_dir/step-N."""
    report_to: str = "none"
    """A tracker that accelerate knows, such as tensorboard or wandb."""

    def resolved_learning_rate(self) -> float:
        """The learning rate that is used; with LoRA the default one is LORA_FACTOR times larger."""
        if self.learning_rate is not None:
            return self.learning_rate
        return self.full_learning_rate * (LORA_FACTOR if self.use_peft else 1)

    def check(self) -> None:
        """Raises UserError for settings that mean nothing."""
        for name in ("num_train_epochs", "batch_size", "tokens_per_device", "max_length",
                     "save_steps", "max_steps", "export_steps", "lora_r"):  # fmt: skip
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} = {value}: at least 1 is needed")
        if self.resolved_learning_rate() <= 0:
            raise UserError(f"learning_rate = {self.learning_rate}: a positive number is needed")
        if not 0 <= self.warmup_ratio <= 1:
            raise UserError(f"warmup_ratio = {self.warmup_ratio}: a share from 0 to 1 is needed")
        if not 0 <= self.lora_dropout < 1:
            raise UserError(
                f"lora_dropout = {self.lora_dropout}: a share from 0 to below 1 is needed"
            )
        for name in ("weight_decay", "max_grad_norm"):
            if (value := getattr(self, name)) < 0:
                raise UserError(f"{name} = {value}: it cannot be negative")


Config = TypeVar("Config", bound=RunConfig)


def parse(kind: type[Config], args: Sequence[str], prog: str) -> Config:
    """The settings of a command line: flags, and below them those of `--config FILE.toml`.

    Raises UserError for an unknown key or flag and for a value of the wrong type.
    """
    import tyro

    args = list(args)
    default: Any = {}
    for n, arg in enumerate(args):
        if arg == "--config" or arg.startswith("--config="):
            given = args[n : n + 2] if arg == "--config" else arg.split("=", 1)
            if len(given) < 2:
                raise UserError("--config: name a TOML file")
            default = {"default": _from_toml(kind, Path(given[1]))}
            args = args[:n] + args[n + (2 if arg == "--config" else 1) :]
            break
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            settings: Config = tyro.cli(
                kind, args=args, prog=prog, config=(tyro.conf.FlagConversionOff,), **default
            )
    except SystemExit as end:
        if not end.code:
            raise
        lines = [line.strip("╭╮╰╯│─ ") for line in told.getvalue().splitlines()[1:]]
        raise UserError(f"{' '.join(takewhile(bool, lines))} See: {prog} --help") from None
    return settings


def _from_toml(kind: type[Config], path: Path) -> Config:
    import tyro

    table = read_toml(path)
    known = {field.name: field for field in fields(kind)}
    if unknown := [name for name in table if name not in known]:
        raise UserError(
            f"{path}: {printable(unknown[0])!r} is no setting; known: {', '.join(sorted(known))}"
        )
    hints = get_type_hints(kind)
    values: dict[str, Any] = {
        name: validated(hints[name], value, f"{path}: {name}") for name, value in table.items()
    }
    for name, field in known.items():
        if name not in values and field.default is MISSING:
            values[name] = tyro.MISSING
    return kind(**values)


def command_line(
    kind: type[Config], train: Callable[[Config], Path], args: Sequence[str] | None = None
) -> int:
    """The body of a method's `main`: settings → `train` → exit code; errors without a traceback."""
    name = train.__module__ if train.__module__ != "__main__" else _run_as()
    try:
        folder = train(parse(kind, sys.argv[1:] if args is None else args, f"python -m {name}"))
    except UserError as error:
        print(f"{name}: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            f"\n{name}: interrupted; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        return 130
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        print(
            f"{name}: out of memory. Lower --tokens-per-device, or set --gradient-checkpointing "
            "True: with these the run goes on from its last checkpoint",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        print(f"{name}: {error.strerror} ({error.filename})", file=sys.stderr)
        return 2
    import os

    if os.environ.get("RANK", "0") == "0":
        print(folder)
    return 0


def _run_as() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else "train"
