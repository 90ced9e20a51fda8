"""What the user calls a model, resolved: an answers file, a local model, or a row that is there.

| written as | is |
| --- | --- |
| `answers.jsonl` (.json, .csv, .parquet) | answers that were made elsewhere |
| `path/to/folder` | a transformers model or PEFT adapter on this machine |
| `hf/org/name[@revision]` | the same from the Hugging Face Hub |
| `fake/NAME` | a backend without a model, for tests |
| `NAME` with `--only judge` | the answers of the row of that name |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from judges.backends.base import LocalLLM
from judges.errors import UserError
from leaderboard.user_files import SUFFIXES, check_name, safe_name

_ROW = ", and no row of that name with answers"
MODEL_ARGS = ("adapter", "batch_size", "chat_template", "device", "dtype", "system_prompt")


@dataclass(frozen=True, slots=True)
class AnswersFile:
    """Answers that were made elsewhere."""

    path: Path


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the board whose answers are there already."""

    name: str


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that this process can run."""

    spec: str
    args: Mapping[str, str]

    @property
    def default_name(self) -> str:
        """The last two parts of the folder or of the Hub's name, as one."""
        return "__".join(safe_name(part) for part in self.parts)

    @property
    def parts(self) -> list[str]:
        if self.spec.startswith(("hf/", "fake/")):
            return self.spec.split("/", 1)[1].split("/")
        return [part for part in Path(self.spec).resolve().parts[-2:] if part != "/"]

    def load(self) -> LocalLLM:
        """The model, ready to answer; raises UserError for what is wrong with it."""
        batch_size = str(self.args.get("batch_size", "16"))
        if not batch_size.isdecimal() or int(batch_size) < 1:
            raise UserError(f"--model-args batch_size={batch_size}: a positive number is needed")
        if self.spec.startswith("fake/"):
            from judges.backends.fake import FakeLLM

            llm = FakeLLM(self.spec.removeprefix("fake/"))
            if "batch_size" in self.args:
                llm.batch_size = int(batch_size)
            return llm
        from judges.backends.transformers import TransformersLLM

        path, revision = self.spec, ""
        if path.startswith("hf/"):
            path, _, revision = path.partition("@")
        return TransformersLLM.load(
            path,
            revision=revision or None,
            adapter=self.args.get("adapter"),
            dtype=self.args.get("dtype", "auto"),
            device=self.args.get("device", "auto"),
            batch_size=int(batch_size),
            chat_template=self.args.get("chat_template"),
            system_prompt=self.args.get("system_prompt"),
        )


Model = AnswersFile | StoredRow | LocalModel


def parse_model_args(text: str | None) -> dict[str, str]:
    """`k=v,k=v` as a dict; raises UserError for a pair without `=`."""
    args: dict[str, str] = {}
    # A comma parts two pairs only before a known key: a system prompt may hold commas.
    for pair in re.split(rf",(?=\s*(?:{'|'.join(MODEL_ARGS)})=)", text) if text else []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(
                f"--model-args {pair!r}: write key=value,key=value; known: {', '.join(MODEL_ARGS)}"
            )
        args[key.strip()] = value.strip()
    return args


def resolve(spec: str, args: Mapping[str, str], *, stored: Path | None = None) -> Model:
    """What the user means by a model; `stored` is the folder of the board whose rows count too.

    Raises UserError when there is no such thing, and for an argument that it does not take.
    """
    known = ("batch_size",) if spec.startswith("fake/") else MODEL_ARGS
    if unknown := sorted(set(args) - set(known)):
        pair = f"{unknown[0]}={args[unknown[0]]}"
        raise UserError(f"--model-args {pair!r}: {spec} takes only {', '.join(known)}")
    if stored is not None and "/" not in spec and (stored / spec / "outputs.jsonl").is_file():
        return StoredRow(spec)
    path = Path(spec)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        if args:
            raise UserError(f"{spec} is a file of answers: --model-args does not go with it")
        return AnswersFile(path)
    if spec.startswith(("hf/", "fake/")) or path.is_dir():
        return LocalModel(spec, args)
    if path.is_file():
        raise UserError(f"{spec}: unknown format; answers files are {', '.join(SUFFIXES)}")
    raise UserError(
        f"model {spec!r}: no such file or folder{_ROW if stored else ''}. A model is an answers "
        f"file ({', '.join(SUFFIXES)}), a model folder, hf/ORG/NAME or fake/NAME"
    )


def row_name(model: Model, chosen: str | None, generator: str | None) -> str:
    """The row's name: the one chosen, else the file's generator or name, else the model's."""
    if chosen is not None:
        return check_name(chosen, "--name")
    if isinstance(model, StoredRow):
        return check_name(model.name, "the row's name")
    if isinstance(model, LocalModel):
        return check_name(model.default_name, "the model's name")
    return check_name(safe_name(generator or model.path.stem), "the model's name")


def given_name(model: Model, generator: str | None) -> str:
    """What the row would be called without --name, were every text fit to be a folder's name."""
    if isinstance(model, StoredRow):
        return model.name
    return "__".join(model.parts) if isinstance(model, LocalModel) else generator or model.path.stem
