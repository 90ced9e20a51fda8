"""Panel files beside what their judges are: writing one, finding a key's line, filling in models.

A packaged panel may leave its models open: `model = "{judge}"` is a slot, which `fill_models` fills.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from judges.errors import UserError

SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""A model that a panel leaves open."""
_HOST = re.compile(
    r"(openai-api/[^@]*)@((?:localhost|(?:\d+\.){3}\d+|(?:[\w-]+\.)+[a-z]{2,}|[\w.-]+(?=:\d\d))"
    r"(?::\d+)?(?:/.*)?)",
    re.IGNORECASE,
)
"""A model at an address that is not written as one; `gemini@001` is a name."""


# ----------------------------------------------------------------------------------- model slots
def model_slots(panel: Mapping[str, Any]) -> list[str]:
    """The models that a panel leaves open, in the order of its judges."""
    slots = [SLOT.fullmatch(str(table.get("model", ""))) for table in panel["judges"]]
    return list(dict.fromkeys(slot[1] for slot in slots if slot))


def fill_models(panel: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """The panel with models in its slots: each of `given` is SLOT=MODEL, or MODEL for all others.

    A model is written as anywhere; openai-api/NAME may be followed by @URL, where it is served.
    Raises UserError for a slot that stays open, or that there is not.
    """
    slots, chosen = model_slots(panel), dict[str, str]()
    for text in given:
        slot, equals, model = text.partition("=")
        if not equals or "/" in slot:
            slot, model = "", text
        if not slots:
            raise UserError(f"--judge-model {text}: the panel leaves no model open")
        if not model:
            raise UserError(f"--judge-model {text}: the model is missing, as in {slot}=openai/NAME")
        if slot and slot not in slots:
            raise UserError(
                f"--judge-model {text}: the panel has no model {slot!r}; it has {', '.join(slots)}"
            )
        if slot in chosen:
            raise UserError(f"--judge-model {text}: a second one for {slot or 'all models'}")
        chosen[slot] = model
    if left := [slot for slot in slots if slot not in chosen and "" not in chosen]:
        raise UserError(
            f"the panel leaves its models open: {', '.join(left)}. Say which they are with "
            f"--judge-model [SLOT=]MODEL, for example --judge-model {left[0]}=openai/NAME"
        )
    judges = []
    for table in panel["judges"]:
        slot_of = SLOT.fullmatch(str(table.get("model", "")))
        model = chosen.get(slot_of[1], chosen.get("", "")) if slot_of else ""
        judges.append({**table, **served(model)} if slot_of else dict(table))
    return {**panel, "judges": judges}


def served(text: str) -> dict[str, str]:
    """The keys `model` and, where MODEL@URL was written, `base_url`."""
    model, at, url = text.partition("@http")
    if model.startswith(("openai/", "anthropic/", "openai-api/")) and model.endswith("/"):
        raise UserError(f"{text}: the name behind {model} is missing")
    if not at and (found := _HOST.fullmatch(text)):
        raise UserError(
            f"{text}: an address begins with http:// or https://: {found[1]}@http://{found[2]}"
        )
    if not at:
        return {"model": text}
    if not model.startswith("openai-api/"):
        raise UserError(f"{text}: a URL goes with openai-api/NAME only")
    return {"model": model, "base_url": f"http{url}"}


# ----------------------------------------------------------------------------------------- as text
_REFUSED = "  # delete this line where the server refuses it"


def panel_toml(panel: Mapping[str, Any]) -> str:
    """A panel as its file: one key a line, so that each has a line to be named by."""
    head = {"schema_version": 1, **{k: v for k, v in panel.items() if k != "judges"}}
    blocks = [tomli_w.dumps(head)]
    for table in panel["judges"]:
        plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
        inner = {key: value for key, value in table.items() if isinstance(value, dict)}
        lines = tomli_w.dumps(plain).rstrip("\n").split("\n")
        if "model" in table:
            lines = [line + _REFUSED * line.startswith("temperature =") for line in lines]
        blocks.append("\n".join(["[[judges]]", *lines]) + "\n")
        if inner:
            blocks.append(tomli_w.dumps({"judges": inner}))
    return "\n".join(blocks)


def line_of(path: Path, judge: int, key: str) -> int | None:
    """The line of a panel or judge file on which the n-th judge, from 0, has this key; `extra.x` is
    the key x of its table extra. None where it is on no line of its own."""
    table, _, last = key.rpartition(".")
    for number, at, inside, line in _lines(path):
        if at == judge and inside == table and re.match(rf"\s*\"?{re.escape(last)}\"?\s*=", line):
            return number
        if at == judge and not inside and table and re.match(rf"\s*{table}\s*=.*\b{last}\b", line):
            return number
        if at == judge and inside == "{}" and re.search(rf"\b{re.escape(last)}\b\s*=", line):
            return number
    return None


def _lines(path: Path) -> Iterator[tuple[int, int, str, str]]:
    """Line number, the judge it is of, the table in the judge's table, and the line."""
    judge, inside, in_list = -1, "", False
    text = path.read_text(encoding="utf-8", errors="replace")
    is_panel = bool(re.search(r"^\s*(\[\[\s*judges\s*\]\]|judges\s*=)", text, re.MULTILINE))
    if not is_panel:
        judge = 0
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"\s*\[\[\s*judges\s*\]\]", line):
            judge, inside = judge + 1, ""
        elif found := re.match(r"\s*\[\s*(?:judges\s*\.\s*)?([\w.]+)\s*\]\s*(#.*)?$", line):
            inside = found[1]
        elif re.match(r"\s*judges\s*=\s*\[", line):
            in_list, inside = True, "{}"
        if in_list and "{" in line:
            judge += 1
        yield number, judge, inside, line
