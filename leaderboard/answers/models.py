"""What the user calls a model, resolved: an answers file, a language model, or a row that is there.

| written as | is |
| --- | --- |
| `answers.jsonl` (.json, .csv, .parquet) | answers that were made elsewhere |
| `path/to/folder` | a transformers model or PEFT adapter on this machine |
| `hf/org/name[@revision]` | the same from the Hugging Face Hub |
| `vllm/PATH_OR_NAME` | a model in this process, run by vLLM |
| `openai/NAME`, `anthropic/NAME` | a model of that provider |
| `openai-api/NAME` with a base URL | any server that speaks OpenAI's chat completions |
| `fake/NAME` | a backend without a model, for tests |
| `NAME` with `--only judge` | the answers of the row of that name |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from judges.backends.base import Sampling
from judges.backends.spec import ModelSpec, Provider
from judges.errors import UserError
from judges.schema import Instruction, Message
from leaderboard.user_files import SUFFIXES, check_name, safe_name

_ROW = ", and no row of that name with answers"
_REMOTE_ARGS = ("api_key_env", "reasoning_effort", "system_prompt", "unset")
MODEL_ARGS: dict[Provider, tuple[str, ...]] = {
    "transformers": (
        "adapter", "batch_size", "chat_template", "device", "dtype", "system_prompt",
    ),
    "vllm": (
        "adapter", "chat_template", "dtype", "gpu_memory_utilization", "max_model_len",
        "system_prompt", "tensor_parallel_size",
    ),
    "openai": _REMOTE_ARGS,
    "openai-api": _REMOTE_ARGS,
    "anthropic": _REMOTE_ARGS,
    "fake": ("batch_size",),
}  # fmt: skip
"""Provider → what --model-args may say of its models."""
UNSETTABLE = ("max_tokens", "repetition_penalty", "seed", "temperature", "top_k", "top_p")
_PREFIXES = ("openai/", "anthropic/", "openai-api/", "vllm/", "hf/", "fake/")


@dataclass(frozen=True, slots=True)
class AnswersFile:
    """Answers that were made elsewhere."""

    path: Path


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the board whose answers are there already."""

    name: str


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model that can be asked, in this process or behind a server.

    `args` are those of --model-args that shape the requests to a server; a model in this process
    has all of them in its spec.
    """

    spec: ModelSpec
    args: Mapping[str, str]

    @property
    def default_name(self) -> str:
        """The last two parts of the folder or of the name at its provider, as one."""
        return "__".join(safe_name(part) for part in self.parts)

    @property
    def parts(self) -> list[str]:
        name = self.spec.name
        if self.spec.spec.startswith(_PREFIXES) and not Path(name).is_dir():
            return name.removeprefix("hf/").split("/")[-2:]
        return [part for part in Path(name).resolve().parts[-2:] if part != "/"]

    def sampling(self, board: Sampling) -> Sampling:
        """The board's sampling, without what this server is not to be sent; Anthropic knows no
        seed."""
        names = self.args.get("unset", "").split("+") if "unset" in self.args else []
        if unknown := [name for name in names if name not in UNSETTABLE]:
            raise UserError(
                f"--model-args unset={unknown[0]}: write one of {', '.join(UNSETTABLE)}, several "
                "with + between them"
            )
        if self.spec.provider == "anthropic":
            names.append("seed")
        return replace(board, **dict.fromkeys(names))

    def messages(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The conversation as this server is sent it: behind its system prompt, if it has one."""
        prompt = self.args.get("system_prompt")
        if prompt is None or any(turn.role == "system" for turn in messages):
            return messages
        return (Message("system", prompt), *messages)

    @property
    def extra(self) -> dict[str, Any]:
        """Further parameters that this server is sent."""
        return {k: v for k, v in self.args.items() if k == "reasoning_effort"}


Model = AnswersFile | StoredRow | LanguageModel


def parse_model_args(text: str | None) -> dict[str, str]:
    """`k=v,k=v` as a dict; raises UserError for a pair without `=`."""
    known = sorted({name for names in MODEL_ARGS.values() for name in names})
    args: dict[str, str] = {}
    # A comma parts two pairs only before a known key: a system prompt may hold commas.
    for pair in re.split(rf",(?=\s*(?:{'|'.join(known)})=)", text) if text else []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(
                f"--model-args {pair!r}: write key=value,key=value; known: {', '.join(known)}"
            )
        args[key.strip()] = value.strip()
    return args


def resolve(
    spec: str,
    args: Mapping[str, str],
    *,
    stored: Path | None = None,
    base_url: str | None = None,
) -> Model:
    """What the user means by a model; `stored` is the folder of the board whose rows count too.

    Raises UserError when there is no such thing, and for an argument that it does not take.
    """
    if stored is not None and "/" not in spec and (stored / spec / "outputs.jsonl").is_file():
        return StoredRow(spec)
    path = Path(spec)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        if args or base_url is not None:
            flag = "--model-args" if args else "--base-url"
            raise UserError(f"{spec} is a file of answers: {flag} does not go with it")
        return AnswersFile(path)
    if not spec.startswith(_PREFIXES) and not path.is_dir():
        if path.is_file():
            raise UserError(f"{spec}: unknown format; answers files are {', '.join(SUFFIXES)}")
        raise UserError(
            f"model {spec!r}: no such file or folder{_ROW if stored else ''}. A model is an "
            f"answers file ({', '.join(SUFFIXES)}), a model folder, hf/ORG/NAME, vllm/PATH, "
            "openai/NAME, anthropic/NAME, openai-api/NAME with --base-url, or fake/NAME"
        )
    return language_model(spec, args, base_url)


def language_model(
    spec: str, args: Mapping[str, str], base_url: str | None = None
) -> LanguageModel:
    """The model of a spec with its arguments; raises UserError for one that it does not take."""
    found = ModelSpec(spec=spec)
    known = MODEL_ARGS[found.provider]
    if unknown := sorted(set(args) - set(known)):
        pair = f"{unknown[0]}={args[unknown[0]]}"
        raise UserError(f"--model-args {pair!r}: {spec} takes only {', '.join(known)}")
    if not found.name or (found.name.startswith("/") and found.is_remote):
        raise UserError(f"model {spec!r}: the name behind {found.provider}/ is missing")
    if not found.is_remote:
        if base_url is not None:
            raise UserError(f"--base-url is for models behind a server, not for {spec}")
        return LanguageModel(ModelSpec(spec=spec, args=dict(args)), dict(args))
    reach = ModelSpec(spec=spec, base_url=base_url, api_key_env=args.get("api_key_env"))
    return LanguageModel(reach, {k: v for k, v in args.items() if k != "api_key_env"})


def refuse_to_send(instructions: Iterable[Instruction], spec: ModelSpec, who: str = "") -> None:
    """Raises UserError where one of the instructions is private, and the model behind a server
    that is not on this machine."""
    is_private = any(instruction.visibility == "private" for instruction in instructions)
    if is_private and not spec.is_on_this_machine:
        raise UserError(
            f"{who}{': ' * bool(who)}{spec.spec} is not on this machine, and the instructions are "
            "private. Take a model in this process (a folder, hf/ORG/NAME, vllm/PATH) or "
            "openai-api/NAME on 127.0.0.1, or make a board without --private"
        )


def row_name(model: Model, chosen: str | None, generator: str | None) -> str:
    """The row's name: the one chosen, else the file's generator or name, else the model's."""
    if chosen is not None:
        return check_name(chosen, "--name")
    if isinstance(model, StoredRow):
        return check_name(model.name, "the row's name")
    if isinstance(model, LanguageModel):
        return check_name(model.default_name, "the model's name")
    return check_name(safe_name(generator or model.path.stem), "the model's name")


def given_name(model: Model, generator: str | None) -> str:
    """What the row would be called without --name, were every text fit to be a folder's name."""
    if isinstance(model, StoredRow):
        return model.name
    return (
        "__".join(model.parts) if isinstance(model, LanguageModel) else generator or model.path.stem
    )
