"""Reads an evaluator config of AlpacaEval (0.6.6): `configs.yaml` and the template that it names.

Its settings are taken as that package takes them, with its own defaults where they are not given.
What would change a verdict and cannot be done here is refused with the reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from judges.alpaca_eval.parsers import Parser, is_preference, make_parser
from judges.backends.base import Sampling
from judges.errors import UserError
from judges.schema import Message, Role

PLACEHOLDER = re.compile(r"\{(instruction|output_1|output_2)\}")

# An alias can stand for any amount of text, and a number of a megabyte takes minutes to read.
_MOST_BYTES = 64 * 1024
_START, _END = "<|im_start|>", "<|im_end|>"
_READ = (
    "prompt_template", "fn_completions", "completions_kwargs", "fn_completion_parser",
    "completion_parser_kwargs", "completion_key", "batch_size", "processors_to_kwargs",
)  # fmt: skip
_WITHOUT_EFFECT = (
    "pretty_name", "link", "seed", "is_shuffle", "is_randomize_output_order", "random_seed_column",
    "annotation_column", "completion_column", "prfx_to_completion_cols",
    "packages_for_which_to_show_version", "is_add_default_processors",
)  # fmt: skip
_CALL_WITHOUT_EFFECT = (
    "price_per_token", "num_procs", "batch_size", "n_retries", "sleep_time", "is_strip",
    "model_kwargs", "requires_chatml", "is_chat", "is_chatml_prompt", "client_function_name",
)  # fmt: skip
_CALL_EXTRA = (
    "frequency_penalty", "presence_penalty", "logit_bias", "stop", "stop_sequences",
    "response_format", "reasoning_effort", "tools", "tool_choice",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Server:
    """What a name in `fn_completions` stands for."""

    provider: str
    max_tokens: str
    """What it calls the largest number of tokens; 2048 unless given."""
    temperature: float
    top_p: float | None


_SERVERS = {
    "openai_completions": _Server("openai", "max_tokens", 0.7, 1.0),
    "anthropic_completions": _Server("anthropic", "max_tokens_to_sample", 0.7, None),
    "vllm_local_completions": _Server("vllm", "max_new_tokens", 1.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked of which model."""

    model: str
    """As in `judges.backends.spec`."""
    base_url: str | None
    """Where the config says that the model is served."""
    is_chat: bool
    """False for a model that takes a text and no turns."""
    sampling: Sampling
    top_logprobs: int
    extra: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorConfig:
    """What a judge needs of a config."""

    annotator: str
    source: Path
    """The YAML file."""
    template: Path
    turns: tuple[Message, ...]
    parser: Parser
    settings: Mapping[str, Any]
    """The parser's."""
    call: Call

    def files(self) -> dict[str, Path]:
        """The files that a copy needs: path below a folder of its own → file; the YAML file first.

        They lie there to one another as they do here, so that a copy is read in the same way.
        """
        above = _above(self.source)
        return {
            Path(os.path.abspath(file)).relative_to(above).as_posix(): file
            for file in (self.source, self.template)
        }


def read_config(path: Path) -> EvaluatorConfig:
    """The config of a folder or a YAML file; raises UserError for what is broken or not supported."""
    source = path / "configs.yaml" if path.is_dir() else path
    annotators = _yaml(source)
    if len(annotators) != 1:
        names = ", ".join(map(str, annotators))
        raise UserError(
            f"{source}: holds {len(annotators)} annotators ({names}), and a judge is one; copy its "
            "entry to a file of its own"
        )
    ((annotator, table),) = annotators.items()
    if not isinstance(table, dict):
        raise UserError(f"{source}: {annotator}: a table was expected")
    if unknown := [key for key in table if key not in (*_READ, *_WITHOUT_EFFECT)]:
        raise UserError(f"{source}: unknown key {unknown[0]!r}; known: {', '.join(_READ)}")
    if table.get("batch_size", 1) != 1:
        raise UserError(
            f"{source}: batch_size {table['batch_size']!r}: comparisons that share a prompt sway one "
            "another; Herdbook asks for one at a time, so only batch_size 1 is read"
        )
    # It keeps the reasons in a column of their own and changes no verdict.
    if others := set(_table(source, table, "processors_to_kwargs")) - {"ChainOfThoughtProcessor"}:
        raise UserError(f"{source}: the processor {min(others)} is not supported")
    template, turns = _template(source, table.get("prompt_template"))
    settings = _table(source, table, "completion_parser_kwargs")
    parser = _parser(source, table.get("fn_completion_parser", "regex_parser"), settings)
    wanted = "completions_all" if parser.reads_logprobs else "completions"
    if table.get("completion_key", "completions") != wanted:
        raise UserError(f"{source}: {parser.name} needs completion_key: {wanted}")
    return EvaluatorConfig(
        annotator=str(annotator),
        source=source,
        template=template,
        turns=turns,
        parser=parser,
        settings=settings,
        call=_call(source, table, parser),
    )


def _yaml(source: Path) -> dict[Any, Any]:
    import yaml

    if not source.is_file():
        raise UserError(
            f"{source}: no such file; give the folder of an AlpacaEval evaluator config"
        )
    with source.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UserError(f"{source}: a config may have {_MOST_BYTES:,} bytes")

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
                raise UserError(f"{source}, line {line}: an alias; write out what it stands for")
            return super().compose_node(parent, index)

    try:
        loaded = yaml.load(content.decode(), Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        # Its own words show lines of the file, and some keep keys there.
        mark = getattr(error, "problem_mark", None)
        where = f"{source}, line {mark.line + 1}" if mark else source
        raise UserError(f"{where}: not valid YAML") from None
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"{source}: the table of an annotator was expected")
    return loaded


def _table(source: Path, table: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key) or {}
    if not isinstance(value, dict):
        raise UserError(f"{source}: {key} must be a table")
    return value


def _above(source: Path) -> Path:
    """The folder that holds the config's folder."""
    return Path(os.path.abspath(source)).parent.parent


def _template(source: Path, name: object) -> tuple[Path, tuple[Message, ...]]:
    """The template's file, and its turns with placeholders."""
    if not isinstance(name, str) or not name.strip() or "\n" in name:
        raise UserError(f"{source}: prompt_template must be the path of a file")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(
            f"{source}: prompt_template {name!r} must be a path inside {_above(source)}"
        )
    places = [_above(source) / name, source.parent / name, source.parent / Path(name).name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        tried = " nor in ".join(str(place.parent) for place in places[:2])
        raise UserError(f"{source}: prompt_template {name!r} is neither in {tried}")
    try:
        text = found.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise UserError(f"{found}: not UTF-8") from None
    turns = _turns(found, text)
    names = re.findall(r"\{([a-z][a-z_0-9]*)\}", "".join(turn.content for turn in turns))
    if other := sorted(set(names) - {"instruction", "output_1", "output_2"}):
        raise UserError(
            f"{found}: the placeholder {{{other[0]}}} is not known; Herdbook has instruction, "
            "output_1 and output_2"
        )
    for each in ("instruction", "output_1", "output_2"):
        if names.count(each) != 1:
            raise UserError(f"{found}: {{{each}}} stands {names.count(each)} times in it, not once")
    return found, turns


def _turns(file: Path, text: str) -> tuple[Message, ...]:
    """The turns of a template in ChatML; one without any is the user's turn."""
    if _START not in text:
        return (Message("user", text),)
    if not text.startswith(_START) or not text.endswith(_END):
        raise UserError(f"{file}: must begin with {_START} and end with {_END}")
    turns = []
    for part in text.split(_START)[1:]:
        name, _, rest = part.partition("\n")
        role: Role | None = next((one for one in get_args(Role) if one == name.strip()), None)
        if role is None:
            raise UserError(
                f"{file}: a turn of {name.strip()!r}; known: {', '.join(get_args(Role))}"
            )
        turns.append(Message(role, rest.partition(_END)[0].strip()))
    return tuple(turns)


def _parser(source: Path, name: object, settings: Mapping[str, Any]) -> Parser:
    try:
        parser = make_parser(name, settings)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    if parser.name == "regex_parser":
        wrong = [value for value in settings["outputs_to_match"] if not is_preference(value)]
        if wrong:
            raise UserError(f"{source}: outputs_to_match: {wrong[0]!r} is no number from 1 to 2")
    if settings.get("log_prob_index", "batch") not in ("batch", 0):
        raise UserError(
            f"{source}: log_prob_index {settings['log_prob_index']!r}: log-probabilities are read "
            "at the first token of a reply only"
        )
    return parser


def _call(source: Path, table: Mapping[str, Any], parser: Parser) -> Call:
    name = table.get("fn_completions", "openai_completions")
    server = _SERVERS.get(name) if isinstance(name, str) else None
    if server is None:
        raise UserError(
            f"{source}: fn_completions {name!r} is not supported; known: {', '.join(_SERVERS)}"
        )
    given = dict(_table(source, table, "completions_kwargs"))
    model = given.pop("model_name", None)
    if not isinstance(model, str) or not model.strip():
        raise UserError(f"{source}: completions_kwargs.model_name must name a model")

    def number(key: str, default: float | None, *, whole: bool = False) -> Any:
        value = given.pop(key, default)
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if value is not None and not fits:
            raise UserError(f"{source}: completions_kwargs.{key} must be a number")
        return value

    sampling = Sampling(
        max_tokens=number(server.max_tokens, 2048, whole=True),
        temperature=number("temperature", server.temperature),
        top_p=number("top_p", server.top_p),
        top_k=number("top_k", None, whole=True),
        seed=number("seed", None, whole=True),
    )
    top_logprobs = number("top_logprobs", 0, whole=True) if given.pop("logprobs", False) else 0
    if parser.reads_logprobs and not top_logprobs:
        raise UserError(f"{source}: {parser.name} needs logprobs: true, and top_logprobs")
    base_url = _base_url(source, given.pop("client_kwargs", None))
    extra = {key: given.pop(key) for key in _CALL_EXTRA if key in given}
    if unknown := [key for key in given if key not in _CALL_WITHOUT_EFFECT]:
        raise UserError(f"{source}: completions_kwargs.{unknown[0]} is not supported")
    return Call(
        model=f"{'openai-api' if base_url else server.provider}/{model}",
        base_url=base_url,
        is_chat=_is_chat(server.provider, model, given),
        sampling=sampling,
        top_logprobs=top_logprobs if parser.reads_logprobs else 0,
        extra=extra,
    )


def _base_url(source: Path, client: object) -> str | None:
    if client is None:
        return None
    if not isinstance(client, dict) or set(client) - {"base_url"}:
        raise UserError(
            f"{source}: of client_kwargs only base_url is read; name the variable that holds the "
            "key with `api_key_env` in the panel"
        )
    url = client.get("base_url")
    if url is not None and not isinstance(url, str):
        raise UserError(f"{source}: client_kwargs.base_url must be a text")
    return url


def _is_chat(provider: str, model: str, given: Mapping[str, Any]) -> bool:
    """Whether the package would have sent turns to this model."""
    if provider == "vllm":
        return bool(given.get("is_chatml_prompt", False))
    if provider == "anthropic" and given.get("client_function_name") == "completions":
        return False
    plain = (
        "instruct" in model
        or ("gpt-3" in model and "turbo" not in model)
        or model.startswith("text-")
    )
    turns = provider != "openai" or not plain
    return bool(given.get("is_chat", given.get("requires_chatml", turns)))
