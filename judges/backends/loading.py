"""Loads a checked checkpoint with transformers; what is wrong with it becomes a UserError."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from judges.backends.checkpoint import Checkpoint, read_object
from judges.errors import UserError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_dtype(name: str) -> None:
    """Raises UserError for a name that is none of DTYPES."""
    if name not in DTYPES:
        raise UserError(f"dtype {name!r}: write one of {', '.join(DTYPES)}")


def find_device(name: str) -> Any:
    """The device of that name; raises UserError where it cannot be used."""
    import torch

    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} cannot be used here ({reason}); try cpu") from None
    return device


def check_causal(folder: Path) -> None:
    """Raises UserError unless transformers knows the model as one that writes text."""
    import transformers
    from transformers.models import auto

    names: Any = auto  # most of transformers is not typed
    known = names.configuration_auto.CONFIG_MAPPING_NAMES
    causal = names.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    config = read_object(folder / "config.json")
    kind = config.get("model_type")
    if kind not in known:
        version = transformers.__version__
        raise UserError(
            f"{folder}/config.json: transformers {version} does not know model_type {kind!r}. A "
            "newer version may; code that comes with a model is never run"
        )
    heads = [str(head) for head in config.get("architectures") or []]
    writers = set(causal.values())
    fits = not heads or any(head in writers or head.endswith("ForCausalLM") for head in heads)
    if kind not in causal or not fits:
        raise UserError(
            f"{folder} is no causal language model, so it cannot write answers "
            f"(model_type {kind}, architecture {', '.join(heads) or 'not given'})"
        )


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder; raises UserError."""
    import transformers

    auto: Any = transformers.AutoTokenizer
    try:
        return auto.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - broken files raise whatever the parser meets
        raise UserError(f"{folder}: the tokenizer cannot be loaded ({first_line(error)})") from None


def load_model(checkpoint: Checkpoint, dtype: str, device: Any) -> Any:
    """The causal language model of a checkpoint on the device, with its adapter, not in training
    mode. Raises UserError; see `load_weights`."""
    model = load_weights("AutoModelForCausalLM", checkpoint.folder, dtype, device)
    if checkpoint.adapter is not None:
        model = _with_adapter(model, checkpoint.adapter)
    return move(model, checkpoint.folder, device)


def load_weights(auto: str, folder: Path, dtype: str, device: Any) -> Any:
    """The model in a folder by that class of transformers, not yet on the device.

    `dtype` auto is float32 for a checkpoint in half precision on a CPU. Raises UserError, also for
    weights that the file lacks: they would be random.
    """
    import torch
    import transformers

    loader: Any = getattr(transformers, auto)
    try:
        model, info = loader.from_pretrained(
            folder,
            dtype="auto" if dtype == "auto" else getattr(torch, dtype),
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # noqa: BLE001 - broken files raise whatever the parser meets
        raise UserError(f"{folder}: the model cannot be loaded ({first_line(error)})") from None
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{folder}: {len(missing)} weights are missing, among them {missing[0]}; without them "
            "the model would be noise. Save the whole model"
        )
    if dtype == "auto" and device.type == "cpu" and model.dtype in (torch.float16, torch.bfloat16):
        model = model.float()
    return model


def move(model: Any, folder: Path, device: Any) -> Any:
    """The model on the device, not in training mode; raises UserError where it does not fit."""
    try:
        return model.to(device).eval()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: does not fit on {device} ({first_line(error)})") from None


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter), use_safetensors=True)
    except Exception as error:  # noqa: BLE001 - broken files raise whatever the parser meets
        raise UserError(
            f"{adapter}: the adapter does not go onto its model ({first_line(error)})"
        ) from None


def first_line(error: Exception) -> str:
    """What an error says first, or what it is called where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences what transformers says about settings that are chosen here on purpose."""
    import transformers

    logging: Any = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
