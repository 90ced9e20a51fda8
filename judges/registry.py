"""From names and TOML to judges and panels. A judge kind is named here and nowhere else.

A panel file has a table `[[judges]]` for each judge: its `kind`, and the fields of that kind's
class. A judge file is one such table by itself: a new judge of a kind that there is takes no code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from importlib import import_module, resources
from math import isfinite
from pathlib import Path, PurePath
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from judges.backends.spec import ModelSpec
from judges.base import Judge
from judges.errors import UserError
from judges.panel import MAX_NAME, Panel
from judges.panel_files import SLOT, line_of, served
from judges.prompting.templates import chat_template_file
from judges.records import read_toml

KINDS = {
    "checklist": "judges.kinds.checklist:Checklist",
    "heuristic": "judges.kinds.heuristic:Heuristic",
    "recorded": "judges.kinds.recorded:Recorded",
    "pairwise": "judges.kinds.pairwise:Pairwise",
    "pairwise_logprob": "judges.kinds.pairwise_logprob:PairwiseLogprob",
    "pointwise": "judges.kinds.pointwise:Pointwise",
    "checklist_llm": "judges.kinds.checklist_llm:ChecklistLLM",
    "reward_model": "judges.kinds.reward_model:RewardModel",
    "alpaca_eval": "judges.kinds.alpaca_eval_config:AlpacaEvalConfig",
    "synthetic": "judges.kinds.synthetic:Synthetic",
}
"""Kind of judge → module and class. The class's fields are the keys of its table in a panel."""

ASKING = ("pairwise", "pairwise_logprob", "pointwise", "checklist_llm")
"""The kinds that ask a language model by a prompt of ours."""

SPEC_FIELD = {
    "heuristic": "rule",
    "recorded": "path",
    **dict.fromkeys(ASKING, "model"),
    "reward_model": "model",
    "alpaca_eval": "path",
}
"""The field that the part after the slash of a judge's short name fills: heuristic/longest."""

EXAMPLES = {
    "heuristic": "heuristic/longest|shortest|random",
    "recorded": "recorded/FILE",
    **{kind: f"{kind}/MODEL" for kind in ASKING},
    "reward_model": "reward_model/PATH",
    "alpaca_eval": "alpaca_eval/FOLDER",
}

CHAT_TEMPLATE = "args.chat_template"
PANEL_KEYS = ("aggregate", "assign", "judges", "note", "schema_version")
_PROVIDERS = ("openai", "anthropic", "openai-api", "vllm", "hf", "fake")


# ------------------------------------------------------------------------------------- one judge
def make_judge(table: Mapping[str, Any], folder: Path) -> Judge:
    """A judge from its table in a panel file; paths are seen from `folder`.

    Raises UserError for an unknown kind, unknown or missing keys, and values of the wrong type.
    """
    for _, complaint in _faults(table):
        raise UserError(complaint)
    settings = dict(table)
    kind = settings.pop("kind")
    known, cls = judge_fields(kind), _judge_class(kind)
    if "model" in settings:
        if slot := SLOT.fullmatch(settings["model"]):
            raise UserError(
                f"the panel leaves its model {slot[1]!r} open; say which it is: --judge-model "
                f"{slot[1]}=MODEL, for example {slot[1]}=openai/NAME"
            )
        if _is_needed(known["name"]):
            settings.setdefault("name", default_name(kind, settings["model"]))
    missing = [f.name for f in known.values() if _is_needed(f) and f.name not in settings]
    if missing:
        # A name follows from the model.
        key = "model" if "model" in missing else missing[0]
        raise UserError(f"judge kind {kind!r}: missing key {key!r}")
    if "folder" in get_type_hints(cls):
        settings["folder"] = folder
    judge: Judge = cls(**settings)
    return judge


def _faults(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key → what is wrong with it: no such kind, or no such key of it, or a value of another type."""
    kind = table.get("kind")
    try:
        known = judge_fields(kind)
    except UserError as error:
        yield "kind", str(error)
        return
    hints = get_type_hints(_judge_class(kind))
    for key in sorted(set(table) - {"kind", *known}):
        yield key, f"judge kind {kind!r}: unknown key {key!r}; known: {', '.join(known)}"
    for key in filter(known.__contains__, table):
        what = f"judge kind {kind!r}: {key}"
        try:
            _check_type(what, hints[key], table[key])
            if "model" in hints:
                _check_range(what, key, table[key])
        except UserError as error:
            yield key, str(error)


def _check_tables(path: Path, tables: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError that names the file, and the line where a judge's table has a wrong key."""
    for n, table in enumerate(tables):
        for key, complaint in _faults({k: v for k, v in table.items() if k != "weight"}):
            line = line_of(path, n, key)
            raise UserError(f"{path}{f', line {line}' if line else ''}: {complaint}")


def judge_fields(kind: object) -> dict[str, Field[Any]]:
    """Key → field of a judge's table; raises UserError for an unknown kind."""
    cls = _judge_class(kind)
    return {field.name: field for field in fields(cls) if field.init and field.name != "folder"}


def spec_of(judge: Judge) -> ModelSpec | None:
    """The model that a judge asks or runs; None for a program and for recorded verdicts."""
    spec = getattr(judge, "spec", None)
    if isinstance(spec, ModelSpec):
        return spec
    model = getattr(judge, "model", None)
    return ModelSpec(spec=model, args=getattr(judge, "args", {})) if model else None


def own_files(judge: Judge) -> Mapping[str, Path]:
    """What a judge reads beside what its table names: an evaluator config names files of its own."""
    return getattr(judge, "files", dict)()


def default_name(kind: str, model: str) -> str:
    """What a judge is called that is given no name: its kind and model, of a folder its end."""
    provider, slash, rest = model.partition("/")
    if provider not in _PROVIDERS:
        provider, slash, rest = "", "", model
    parts = [part for part in PurePath(rest).parts if part not in ("/", ".", "..")][-2:]
    return f"{kind}/{provider}{slash}{'/'.join(parts)}"[:MAX_NAME]


def _judge_class(kind: object) -> type[Any]:
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"unknown judge kind {kind!r}; known: {', '.join(KINDS)}")
    module, name = KINDS[kind].split(":")
    cls: type[Any] = getattr(import_module(module), name)
    return cls


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _check_type(what: str, hint: Any, value: object) -> None:
    """Raises UserError for a value of another type than the field's."""
    if get_origin(hint) is Literal and not _fits(hint, value):
        choices = ", ".join(map(str, get_args(hint)))
        raise UserError(f"{what} must be one of {choices}, not {value!r}")
    if not _fits(hint, value):
        raise UserError(f"{what} must be of type {_spelt(hint)}, not {value!r}")
    if isinstance(value, dict) and not _is_json(value):
        raise UserError(f"{what} must hold no date and no number like nan and inf")
    if isinstance(value, float) and not isfinite(value):
        raise UserError(f"{what} must lie in the range of numbers, not {value!r}")


def _check_range(what: str, key: str, value: Any) -> None:
    """Raises UserError for a parameter that no language model takes."""
    if key == "temperature" and value < 0:
        raise UserError(f"{what} must not lie below 0, as {value!r} does")
    if key == "top_p" and not 0 < value <= 1:
        raise UserError(f"{what} must lie above 0 and not above 1, not {value!r}")
    if key == "max_tokens" and value < 1:
        raise UserError(f"{what} must be 1 or more, not {value!r}")


def _fits(hint: Any, value: object) -> bool:
    """Whether a value as TOML holds it can be a field of this type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (Union, UnionType):
        return any(_fits(one, value) for one in inner)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(_fits(inner[1], v) for v in value.values())
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list) and all(_fits(inner[0], v) for v in value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, str if hint is Path else hint)


def _is_json(value: object) -> bool:
    """Whether a value can be sent to a server: no date, and no number that is none."""
    if isinstance(value, dict):
        return all(_is_json(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_is_json(inner) for inner in value)
    return isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))


def _spelt(hint: Any) -> str:
    """A type in words: the None of an optional key cannot be written in TOML."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_spelt(one) for one in inner if one is not type(None))
    if origin is not None:
        names = ", ".join(_spelt(one) for one in inner if one is not Ellipsis)
        return f"{origin.__name__}[{names}]"
    return "str" if hint is Path else getattr(hint, "__name__", str(hint))


# ----------------------------------------------------------------------- judges by name and by file
def judge_table(spec: str) -> dict[str, Any]:
    """The panel table of a judge's short name (`checklist`, `heuristic/longest`, `pairwise/MODEL`,
    …), or of a judge file, whose paths become ones that hold from anywhere."""
    if spec.endswith(".toml"):
        return read_judge(Path(spec))
    kind, _, rest = spec.partition("/")
    if kind not in KINDS:
        raise UserError(
            f"unknown judge {spec!r}; known kinds: {', '.join(known_specs())}; or a judge file, "
            "NAME.toml"
        )
    if bool(rest) != (kind in SPEC_FIELD):
        raise UserError(f"judge {spec!r}: write it as {' or '.join(known_specs(kind))}")
    table: dict[str, Any] = {"kind": kind}
    if kind in ASKING:
        # Written out, so that whoever has a server that refuses it sees what to delete.
        return table | served(rest) | {"temperature": 0.0}
    return table | ({SPEC_FIELD[kind]: rest} if rest else {})


def known_specs(only: str | None = None) -> list[str]:
    """How the judges' short names are written, or that of one kind."""
    return [EXAMPLES.get(kind, kind) for kind in KINDS if only in (None, kind)]


def read_judge(path: Path) -> dict[str, Any]:
    """The table of a judge file; the files that it names are seen from its folder."""
    table = _judge(path, read_toml(path))
    if "judges" in table:
        raise UserError(f"{path} is a file of a panel: give it with --panel")
    if "kind" not in table:
        raise UserError(f"{path}: a judge needs a `kind`; known: {', '.join(KINDS)}")
    _check_tables(path, [table])
    named = {key: str(path.parent / value) for key, value in named_files(table).items()}
    if (template := named.pop(CHAT_TEMPLATE, None)) is not None:
        named["args"] = table["args"] | {"chat_template": template}
    return table | named


def _judge(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in table.items() if key != "schema_version"}
    return {"name": path.stem, **own}


def named_files(table: Mapping[str, Any]) -> dict[str, str]:
    """Key → path of the files that a judge's table names: its prompt, its verdicts, its folder, its
    chat template."""
    found = {}
    if isinstance(prompt := table.get("prompt"), str) and prompt.endswith(".toml"):
        found["prompt"] = prompt
    if isinstance(path := table.get("path"), str):
        found["path"] = path
    args = table.get("args")
    own = args.get("chat_template") if isinstance(args, dict) else None
    if isinstance(own, str) and chat_template_file({"chat_template": own}, Path()) is not None:
        found[CHAT_TEMPLATE] = own
    return found


# ---------------------------------------------------------------------------------------- panels
def read_panel(path: Path) -> dict[str, Any]:
    """A panel file as a dict: `aggregate`, `assign`, `note`, and `judges`, a list of tables. A judge
    file is a panel of one.

    Raises UserError for broken TOML, an unknown key, or no judges.
    """
    panel = read_toml(path)
    if "kind" in panel and "judges" not in panel:
        panel = {"judges": [_judge(path, panel)]}
    if unknown := sorted(set(panel) - set(PANEL_KEYS)):
        raise UserError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(PANEL_KEYS)}")
    judges = panel.get("judges")
    is_list = isinstance(judges, list) and all(isinstance(table, dict) for table in judges)
    if not (judges and is_list):
        raise UserError(f"{path}: a panel needs at least one [[judges]] table")
    _check_tables(path, judges)
    return panel


def make_panel(panel: Mapping[str, Any], folder: Path, file: Path | None = None) -> Panel:
    """The panel of a panel file's content; paths in it are seen from `folder`.

    A complaint about a judge names its line, where the content came from `file`.
    """
    judges, weights = [], []
    for n, table in enumerate(panel["judges"]):
        own = {key: value for key, value in table.items() if key != "weight"}
        weight = table.get("weight", 1)
        try:
            judges.append(make_judge(own, folder))
            _check_type("weight", float, weight)
        except UserError as error:
            line = line_of(file, n, "kind") if file else None
            raise UserError(f"{file}, line {line}: {error}" if line else str(error)) from None
        weights.append(float(weight))
    aggregate = panel.get("aggregate", "mean")
    is_weighted = aggregate == "weighted" or any("weight" in table for table in panel["judges"])
    return Panel(
        judges=tuple(judges),
        aggregate=aggregate,
        weights=tuple(weights) if is_weighted else (),
        assign=panel.get("assign", "all"),
    )


def wanted_panel(spec: str) -> tuple[dict[str, Any], Path, Path | None]:
    """What --panel names: a packaged panel, a panel file, or one judge by its short name. Gives the
    panel's content, the folder that its paths are seen from, and the file that it is from."""
    packaged = packaged_panels()
    file = packaged.get(spec, Path(spec))
    if file.is_file():
        return read_panel(file), file.parent, file
    try:
        return {"judges": [judge_table(spec)]}, Path(), None
    except UserError:
        raise UserError(
            f"no panel {spec!r}; packaged: {', '.join(packaged)}; or give a panel file, or a judge: "
            f"{', '.join(known_specs())}"
        ) from None


def packaged_panels() -> dict[str, Path]:
    """Name → file of the panels that come with Herdbook."""
    folder = Path(str(resources.files("judges"))) / "panels"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
