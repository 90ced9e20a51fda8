"""From names and TOML to judges and panels. A judge kind is named here and nowhere else."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from importlib import import_module, resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

from judges.base import Judge
from judges.errors import UserError
from judges.panel import Panel

KINDS = {
    "checklist": "judges.checklist:Checklist",
    "heuristic": "judges.heuristic:Heuristic",
    "recorded": "judges.recorded:Recorded",
}
"""Kind of judge → module and class. The class's fields are the keys of its table in a panel."""

SPEC_FIELD = {"heuristic": "rule", "recorded": "path"}
"""The field that the part after the slash of a judge's short name fills: heuristic/longest."""


def make_judge(table: Mapping[str, Any], folder: Path) -> Judge:
    """A judge from its table in a panel file; paths are seen from `folder`.

    Raises UserError for an unknown kind, unknown or missing keys, and values of the wrong type.
    """
    settings = dict(table)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"unknown judge kind {kind!r}; known: {', '.join(KINDS)}")
    module, name = KINDS[kind].split(":")
    cls = getattr(import_module(module), name)
    known = [field for field in fields(cls) if field.name != "folder"]
    names = [field.name for field in known]
    if unknown := sorted(set(settings) - set(names)):
        raise UserError(
            f"judge kind {kind!r}: unknown key {unknown[0]!r}; known: {', '.join(names)}"
        )
    missing = [f.name for f in known if f.default is MISSING and f.name not in settings]
    if missing:
        raise UserError(f"judge kind {kind!r}: missing key {missing[0]!r}")
    hints = get_type_hints(cls)
    for key, value in settings.items():
        _check_type(f"judge kind {kind!r}: {key}", hints[key], value)
    if "folder" in hints:
        settings["folder"] = folder
    judge: Judge = cls(**settings)
    return judge


def _check_type(what: str, hint: Any, value: object) -> None:
    choices = get_args(hint)
    if choices and all(isinstance(choice, str) for choice in choices):
        if value not in choices:
            raise UserError(f"{what} must be one of {', '.join(choices)}, not {value!r}")
        return
    allowed = choices or (hint,)
    fits = isinstance(value, allowed) or (float in allowed and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in allowed):
        wanted = " or ".join(t.__name__ for t in allowed if t is not type(None))
        raise UserError(f"{what} must be of type {wanted}, not {value!r}")


def judge_table(spec: str) -> dict[str, Any]:
    """The panel table of a judge's short name: `checklist`, `heuristic/longest`, `recorded/FILE`."""
    kind, _, rest = spec.partition("/")
    if kind not in KINDS:
        raise UserError(f"unknown judge {spec!r}; known kinds: {', '.join(known_specs())}")
    if bool(rest) != (kind in SPEC_FIELD):
        raise UserError(f"judge {spec!r}: write it as {' or '.join(known_specs(kind))}")
    return {"kind": kind} | ({SPEC_FIELD[kind]: rest} if rest else {})


def known_specs(only: str | None = None) -> list[str]:
    """How the judges' short names are written, or that of one kind."""
    examples = {"heuristic": "heuristic/longest|shortest|random", "recorded": "recorded/FILE"}
    return [examples.get(kind, kind) for kind in KINDS if only in (None, kind)]


def read_panel(path: Path) -> dict[str, Any]:
    """A panel file as a dict: `aggregate`, and `judges`, a list of tables.

    Raises UserError for broken TOML, an unknown key, or no judges.
    """
    try:
        panel = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML ({error})") from None
    known = {"schema_version", "aggregate", "judges"}
    if unknown := sorted(set(panel) - known):
        raise UserError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    judges = panel.get("judges")
    if (
        not isinstance(judges, list)
        or not judges
        or not all(isinstance(table, dict) for table in judges)
    ):
        raise UserError(f"{path}: a panel needs at least one [[judges]] table")
    return panel


def make_panel(panel: Mapping[str, Any], folder: Path) -> Panel:
    """The panel of a panel file's content; paths in it are seen from `folder`."""
    judges: Sequence[Mapping[str, Any]] = panel["judges"]
    return Panel(
        judges=tuple(make_judge(table, folder) for table in judges),
        aggregate=panel.get("aggregate", "mean"),
    )


def packaged_panels() -> dict[str, Path]:
    """Name → file of the panels that come with Herdbook."""
    folder = Path(str(resources.files("judges"))) / "panels"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
