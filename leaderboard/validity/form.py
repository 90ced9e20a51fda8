"""The annotation page: one HTML file in which a person says which answer of each pair is better.

It works from the disk and asks no server for anything. It is blind: no name of a model, no id and
no earlier label is in it. Pairs and sides are shuffled by the seed; what the page gives back names
the outputs as the pairs do. `read_humans` reads it together with the pairs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

from judges.base import stable_fraction
from judges.errors import UserError
from judges.records import digest, write_atomic
from judges.schema import Comparison
from leaderboard.validity.humans import Humans

SCHEMA_VERSION = 1
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
"""What could end a script element, or a line in one, as JSON writes it otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What the page gives back: labels by the digest of the pair's texts."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    schema_version: Literal[1]
    form: str
    """Digest of the pairs and the seed that the page was made of."""
    seed: int
    annotator: str
    labels: Mapping[str, str]
    """Digest → `output_1`, `output_2` or `tie`."""
    sampled: str | None = None
    """How the pairs were drawn, as the file that they are from said."""


def write_form(
    pairs: Humans | Sequence[Comparison], path: str | Path, *, title: str, seed: int = 0
) -> int:
    """Write the page, and return how many pairs are in it; equal pairs are in it once.

    Raises UserError where there are none, or half of a surrogate pair is in a text.
    """
    comparisons = pairs.comparisons if isinstance(pairs, Humans) else pairs
    shuffled = _shuffled(comparisons, seed)
    if not shuffled:
        raise UserError("there are no pairs to make an annotation page of")
    content = {
        "schema_version": SCHEMA_VERSION,
        "form": form_digest(comparisons, seed),
        "seed": seed,
        "sampled": pairs.sampled if isinstance(pairs, Humans) else None,
        "pairs": [_shown(pair, seed) for pair in shuffled],
    }
    write_atomic(Path(path), _page(content, title))
    return len(shuffled)


def form_digest(comparisons: Iterable[Comparison], seed: int) -> str:
    """What binds labels to the pairs and the seed of their page, whatever order the pairs are in."""
    return digest({"seed": seed, "pairs": [pair.digest for pair in _shuffled(comparisons, seed)]})


def _shuffled(comparisons: Iterable[Comparison], seed: int) -> list[Comparison]:
    """The pairs in an order that is drawn: whoever stops early has labelled a random part."""
    unique = {pair.digest: pair for pair in comparisons}
    return sorted(
        unique.values(), key=lambda pair: (stable_fraction(seed, "place", pair.digest), pair.digest)
    )


def _shown(pair: Comparison, seed: int) -> dict[str, Any]:
    is_turned = stable_fraction(seed, "side", pair.digest) < 0.5
    answers = [pair.output_1, pair.output_2]
    return {
        "digest": pair.digest,
        "turns": pair.instruction.turns,
        "answers": answers[::-1] if is_turned else answers,
        "turned": is_turned,
    }


def _page(content: Mapping[str, Any], title: str) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style, script = (_part(f"form.{kind}") for kind in ("css", "js"))
    data = json.dumps(content, ensure_ascii=False).translate(_ESCAPED)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_part("form.html.jinja")).render(
        title=title,
        n=len(content["pairs"]),
        style=Markup(style),
        script=Markup(script),
        data=Markup(data),  # nothing that ends its element is left in it
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _part(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
