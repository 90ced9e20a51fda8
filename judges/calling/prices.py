"""What a call costs, and what else is known of a model before it is called.

The table in models.toml is dated; the user's own prices.toml goes before it. What neither says is
not known, and stays so: a missing price is None, never zero.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from judges.backends.base import Completion
from judges.backends.spec import DEFAULT_URLS, ModelSpec
from judges.errors import UserError
from judges.records import read_toml, validated

_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")
_LATEST = re.compile(r"-latest$")
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices of one model, in USD per million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """Of prompt tokens that the provider had cached; None: as much as any others."""
    batch: float | None = None
    """The share that a call through the batch API costs; None where that is not known."""
    up_to: int | None = None
    """The longest prompt, in tokens, that these prices are for."""
    as_of: date | None = None
    source: str = ""
    """The file that says so."""

    def cost(self, completion: Completion, batch: bool = False) -> float | None:
        """What a call cost, in USD; None where the server did not tell its tokens, or the price of
        such a call is not known."""
        if self.input == self.output == 0:
            return 0.0
        tokens, written = completion.input_tokens, completion.output_tokens
        if tokens is None or written is None or (self.up_to is not None and tokens > self.up_to):
            return None
        return self.of_tokens(tokens, written, completion.cached_tokens or 0, batch)

    def of_tokens(
        self,
        input_tokens: float,
        output_tokens: float,
        cached_tokens: float = 0,
        batch: bool = False,
    ) -> float | None:
        """USD for so many tokens of any number of calls, none of them longer than `up_to`.

        Tokens that were cached are among the input. None where the price of batches is not known.
        """
        share = self.batch if batch else 1.0
        if share is None:
            return None
        cached = min(cached_tokens, input_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        dollars = (input_tokens - cached) * self.input + cached * cached_price
        return share * (dollars + output_tokens * self.output) / 1e6


FREE = Price(input=0, output=0, cached_input=0, batch=1, source="runs in this process")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model; None is not known."""

    family: str | None
    context: int | None
    """Tokens of its window."""
    logprobs: bool | None
    """Whether log-probabilities come back whatever the other parameters are."""
    shutdown: date | None
    """The first day on which the provider answers no more."""
    is_alias: bool | None
    """Whether the provider may put another model behind the name."""
    as_of: date | None
    """When this was known; None where nothing was looked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One model of models.toml or prices.toml."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model: str
    base_url: str | None = None
    input: _Amount | None = None
    cached_input: _Amount | None = None
    output: _Amount | None = None
    batch: _Amount | None = None
    up_to: _Count | None = None
    context: _Count | None = None
    logprobs: bool | None = None
    floats: bool | None = None
    shutdown: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The keys of models.toml and prices.toml."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    models: tuple[Line, ...]
    schema_version: int = 1
    as_of: date | None = None
    batch: _Amount | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Table:
    """What one file says."""

    source: str
    file: _File
    is_own: bool
    """Whether the user wrote it: then a name holds wherever the model is served."""

    def find(self, spec: ModelSpec, served: str | None) -> Line | None:
        """The line that fits best: of the served name, or else the name that was asked for."""
        url = _url(spec)
        provider: str = spec.provider
        if not self.is_own:
            at_home = [name for name, home in DEFAULT_URLS.items() if url == home]
            if not at_home:
                return None
            provider = at_home[0]
        lines = [
            line
            for line in self.file.models
            if line.base_url is None or line.base_url.rstrip("/") == url
        ]
        names = [f"{provider}/{name}" for name in (served, spec.name) if name]
        if self.is_own:
            names.append(spec.spec)
        for name in names:
            for asked in (name, _DATED.sub("", name), _LATEST.sub("", name)):
                for line in lines:
                    if line.model == asked:
                        return line
        starts = [
            ln for ln in lines if ln.model.endswith("*") and spec.spec.startswith(ln.model[:-1])
        ]
        return max(starts, key=lambda ln: (len(ln.model), ln.base_url is not None), default=None)

    def price(self, line: Line) -> Price | None:
        if line.input is None or line.output is None:
            return None
        return Price(
            input=line.input,
            output=line.output,
            cached_input=line.cached_input,
            batch=self.file.batch if line.batch is None else line.batch,
            up_to=line.up_to,
            as_of=self.file.as_of,
            source=self.source,
        )


class Prices:
    """The price table, the user's own lines before ours."""

    def __init__(self, tables: tuple[_Table, ...]) -> None:
        self._tables = tables

    @classmethod
    def load(cls) -> Prices:
        """Ours, and the user's where there are any: the file that HERDBOOK_PRICES names, else
        herdbook/prices.toml in the folder for settings. Raises UserError for what is wrong there.
        """
        named = os.environ.get("HERDBOOK_PRICES")
        own = Path(named).expanduser() if named else _settings_folder() / "prices.toml"
        if named and not own.is_file():
            raise UserError(f"HERDBOOK_PRICES: {own}: no such file")
        return cls(((_read(own, is_own=True),) if own.is_file() else ()) + (_packaged(),))

    def of(self, spec: ModelSpec, served: str | None = None) -> Price | None:
        """The price of a model, or None where it is not known; a model in this process is free.

        `served` is the name that the server gives. It decides where it is a dated version of the
        model that was asked for, or where that has no price; else a server could choose what its
        calls count for in a budget.
        """
        if not spec.is_remote:
            return FREE
        price = self._price(spec, None)
        if served is not None and (price is None or _is_version(served, spec.name)):
            return self._price(spec, served)
        return price

    def _price(self, spec: ModelSpec, served: str | None) -> Price | None:
        for table in self._tables:
            line = table.find(spec, served)
            if line is not None and (price := table.price(line)) is not None:
                return price
        return None

    def facts(self, spec: ModelSpec) -> ModelFacts:
        """What is known of a model; never asks the server."""
        found = []
        if spec.is_remote:
            pairs = [(table, table.find(spec, None)) for table in self._tables]
            found = [(table, line) for table, line in pairs if line is not None]

        def first(field: str) -> Any:
            values = [getattr(line, field) for _, line in found]
            return next((value for value in values if value is not None), None)

        return ModelFacts(
            family=family_of(spec.name),
            context=first("context"),
            logprobs=first("logprobs"),
            shutdown=first("shutdown"),
            is_alias=_is_alias(spec, first("floats")),
            as_of=found[0][0].file.as_of if found else None,
        )


def _is_version(served: str, asked: str) -> bool:
    return bool(_DATED.search(served)) and _DATED.sub("", served) == _LATEST.sub("", asked)


def family_of(name: str) -> str | None:
    """The family that a model belongs to or was trained further from, as far as its name tells.

    Of a path or `org/name` the last part counts, and the one before it only where that tells
    nothing; where two families are named, as for a distilled model, the first.
    """
    parts = name.replace("__", "/").rstrip("/").split("/")
    for part in parts[:-3:-1]:
        plain = re.sub(r"[^a-z0-9]+", "-", part.casefold())
        if found := _family_pattern().search(plain):
            return found.lastgroup
    return None


@cache
def _family_pattern() -> re.Pattern[str]:
    families: dict[str, list[str]] = _packaged_toml()["families"]
    # Of two that begin at one place the longer: gpt-j is no gpt.
    starts = [(start, family) for family, starts in families.items() for start in starts]
    by_family = sorted(families, key=lambda f: -max(len(s) for s, of in starts if of == f))
    groups = "|".join(
        f"(?P<{family}>{'|'.join(map(re.escape, families[family]))})" for family in by_family
    )
    return re.compile(rf"(?:^|-)(?:{groups})(?=\d|-|$)")


def _is_alias(spec: ModelSpec, floats: bool | None) -> bool | None:
    if not spec.is_remote:
        return False
    if _LATEST.search(spec.name):
        return True
    if _DATED.search(spec.name) and _url(spec) in DEFAULT_URLS.values():
        return False
    return floats


def _url(spec: ModelSpec) -> str | None:
    try:
        return spec.url
    except UserError:  # openai-api/NAME, and nobody has said where
        return None


def _settings_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "herdbook"


@cache
def _packaged_toml() -> dict[str, Any]:
    text = (resources.files("judges") / "models.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def _packaged() -> _Table:
    table = {key: value for key, value in _packaged_toml().items() if key != "families"}
    return _Table("models.toml", validated(_File, table, "models.toml"), is_own=False)


def _read(path: Path, *, is_own: bool) -> _Table:
    file = validated(_File, read_toml(path), str(path))
    for line in file.models:
        if (line.input is None) != (line.output is None):
            raise UserError(f"{path}: {line.model}: give both input and output, or neither")
        if line.cached_input is not None and line.input is None:
            raise UserError(f"{path}: {line.model}: cached_input without input and output")
    return _Table(str(path), file, is_own=is_own)
