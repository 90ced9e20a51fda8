"""Finds the files of a model on this machine or on the Hub, and checks them before they are loaded.

Only safetensors are read, and no code that comes with a model is ever run. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from judges.errors import MissingExtraError, UserError
from judges.records import digest

_DOWNLOAD = ("*.safetensors", "*.json", "tokenizer*", "*.model", "*.txt", "*.jinja")
_NOT_DOWNLOADED = ("*/*", "consolidated*")  # the same weights once more, in other layouts
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_VOCABULARIES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "tekken.json",
)  # fmt: skip
_TOKENIZER_FILES = (
    *_VOCABULARIES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
# Written into the files by whoever saved them; no answer depends on them.
_NOTES = {"transformers_version", "_name_or_path", "peft_version", "base_model_name_or_path"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's folder, an adapter's on top of it if there is one, and where the tokenizer is."""

    folder: Path
    adapter: Path | None
    tokenizer: Path

    def fingerprint(self) -> dict[str, str]:
        """Part → `sha256:…` of the files that shape an answer. Reads all weights once."""
        configs = (self.folder / "config.json", self.folder / "generation_config.json")
        parts = {
            "weights": _hash_files(weight_files(self.folder)),
            "config": digest([_without_notes(path) for path in configs if path.is_file()]),
            "tokenizer": _hash_files(_present(self.tokenizer, _TOKENIZER_FILES)),
        }
        if self.adapter is not None:
            weights = _hash_files([self.adapter / "adapter_model.safetensors"])
            config = _without_notes(self.adapter / "adapter_config.json")
            parts["adapter"] = digest([weights, config])
        return parts


def pin_of(parts: Mapping[str, str]) -> str:
    """What binds a judge to its model: the hash of the weights, and one of all else that
    `Checkpoint.fingerprint` names."""
    others = {name: parts[name] for name in ("adapter", "config", "tokenizer") if name in parts}
    return f"{parts['weights']}+{digest(others).removeprefix('sha256:')}"


def find_checkpoint(
    path: str | Path, *, revision: str | None = None, adapter: str | Path | None = None
) -> Checkpoint:
    """The files of a model, an adapter or both, fetched from the Hub if need be, and checked.

    `path` is a folder, or `ORG/NAME[@REVISION]` on the Hub: with `hf/` before it or a `revision`
    surely, otherwise where there is no such folder. Raises UserError for all that could not be loaded.
    """
    folder = _locate(path, revision)
    if (folder / "adapter_config.json").is_file():
        if adapter is not None:
            raise UserError(f"{folder} is an adapter itself: no second one can go on top of it")
        if (folder / "config.json").is_file():
            raise UserError(
                f"{folder} holds both a model (config.json) and an adapter (adapter_config.json). "
                "Put the adapter into a folder of its own"
            )
        adapter, folder = folder, _base_of(folder)
    elif adapter is not None:
        adapter = _locate(adapter, None)
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"{folder}: an adapter on top of an adapter; merge the lower one first")
    _check_model(folder)
    if adapter is not None:
        adapter = Path(adapter)
        _check_adapter(adapter)
    with_vocabulary = [f for f in (adapter, folder) if f and _present(f, _VOCABULARIES)]
    if not with_vocabulary:
        raise UserError(
            f"{folder}: no tokenizer (looked for {', '.join(_VOCABULARIES[:4])}). Save the "
            "tokenizer into the model's folder: tokenizer.save_pretrained(FOLDER)"
        )
    tokenizer = with_vocabulary[0]
    return Checkpoint(folder, adapter, tokenizer)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that transformers would load from the folder, by name; raises UserError."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        weight_map = read_object(index).get("weight_map")
        names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
        if not names or not all(
            isinstance(name, str) and Path(name).name == name for name in names
        ):
            raise UserError(f"{index}: 'weight_map' must map each tensor to a file in this folder")
        if missing := sorted(name for name in names if not (folder / name).is_file()):
            raise UserError(f"{folder}: {missing[0]} is missing; {index.name} names it")
        return [folder / name for name in sorted(names)]
    if pickles := sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern)):
        raise _pickled(folder, pickles[0])
    raise UserError(f"{folder}: no weights (looked for model.safetensors and its index)")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises UserError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object was expected")
    return value


def _locate(path: str | Path, revision: str | None) -> Path:
    name = str(path)
    if name.startswith("hf/"):
        name, _, at = name.removeprefix("hf/").partition("@")
        return _fetch(name, revision or at or None)
    if revision is None and Path(path).is_dir():
        return Path(path)
    hub, _, at = name.partition("@")
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", hub):
        return _fetch(hub, revision or at or None)
    if revision is not None:
        raise UserError(f"{name}: revision {revision!r} is for a name on the Hub (ORG/NAME)")
    raise UserError(f"{name}: there is no such folder")


def commit_of(name: str, revision: str | None) -> str | None:
    """The commit that a branch or tag of a model on the Hub stands for now (`main` where none is
    named): as the Hub says, else the copy on this machine. None where neither knows."""
    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    if find_spec("huggingface_hub") is None:
        return None
    import huggingface_hub

    with suppress(Exception):  # the network fails in the ways of many libraries
        return huggingface_hub.model_info(name, revision=revision, timeout=10).sha
    with suppress(Exception):
        folder = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=["config.json"], local_files_only=True
        )
        return Path(folder).name
    return None


def _fetch(name: str, revision: str | None) -> Path:
    if find_spec("huggingface_hub") is None:
        raise MissingExtraError("huggingface_hub", "local")
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(_DOWNLOAD),
            ignore_patterns=list(_NOT_DOWNLOADED),
        )
    except Exception as error:  # noqa: BLE001 - the network fails in the ways of many libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        at = f" at revision {revision!r}" if revision else ""
        raise UserError(
            f"{name}{at}: no such folder here, and it could not be fetched from the Hugging Face "
            f"Hub ({reason}). Check the name and the network; a gated model needs HF_TOKEN"
        ) from None
    return Path(folder)


def _base_of(adapter: Path) -> Path:
    """The folder of the model under an adapter, as the adapter's config names it."""
    config = read_object(adapter / "adapter_config.json")
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base:
        raise UserError(f"{adapter}/adapter_config.json: no base_model_name_or_path")
    # Training writes the name as it was typed, so it can also be seen from the working folder.
    for folder in (adapter / base, Path(base)):
        if folder.is_dir():
            return folder
    if Path(base).is_absolute() or base.startswith("."):
        raise UserError(
            f"{adapter}: its base model {base} is not there. Correct base_model_name_or_path in "
            "adapter_config.json, or give the base model with adapter=FOLDER"
        )
    return _locate(base, revision)


def _check_model(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json, so this is not a model's folder")
    read_object(folder / "config.json")
    for path in weight_files(folder):
        _check_safetensors(path)


def _check_adapter(adapter: Path) -> None:
    if not (adapter / "adapter_config.json").is_file():
        raise UserError(f"{adapter}: no adapter_config.json, so this is not an adapter's folder")
    read_object(adapter / "adapter_config.json")
    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file():
        if pickles := sorted(p.name for pattern in _PICKLES for p in adapter.glob(pattern)):
            raise _pickled(adapter, pickles[0])
        raise UserError(f"{adapter}: no adapter_model.safetensors")
    _check_safetensors(weights)


def _check_safetensors(path: Path) -> None:
    """Reads the header, which also shows a file that was cut off."""
    if find_spec("safetensors") is None:
        raise MissingExtraError("safetensors", "local")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: broken or cut off ({error}). Copy or download the file again"
        ) from None


def _pickled(folder: Path, name: str) -> UserError:
    return UserError(
        f"{folder}/{name}: pickled weights are refused, as loading them can run code. Convert "
        "them to safetensors where you trust them: model.save_pretrained(FOLDER)"
    )


def _present(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / name for name in sorted(names) if (folder / name).is_file()]


def _without_notes(path: Path) -> dict[str, Any]:
    return {key: value for key, value in read_object(path).items() if key not in _NOTES}


def _hash_files(paths: Iterable[Path]) -> str:
    """One hash over the names, sizes and bytes of files."""
    hasher = hashlib.sha256()
    for path in paths:
        hasher.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"
