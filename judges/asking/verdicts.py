"""The one place where a verdict is asked for and read.

A judge writes its verdict in one of two forms. `json`: the whole reply is one JSON object, whose
schema goes to the server. `text`: the last line of the reply is `VERDICT <nonce>: <verdict>`. Both
hold the prompt's nonce, which the texts under judgement cannot know, so that a judge that quotes an
answer, or only repeats it, never lets the answer write the verdict. It stands behind the reasons and
right before the verdict: where a quote in the reasons ends the reply, as a brace does at a server
that holds it to the schema, there is no code yet. A reply with anything but exactly one verdict has
none: it is missing, never guessed.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, NoReturn, TypeVar

from judges.backends.spec import ModelSpec
from judges.records import digest

EMPTY = "the reply is empty"
NO_VERDICT = "no verdict in the reply"
TWO_VERDICTS = "two verdicts in the reply"
CODE_TWICE = "the prompt's code stands twice in the reply"
OTHER_VERDICT = "the verdict in the reply is not one of those asked for"
NOT_JSON = "the reply is not one JSON object"
NOT_LAST = "the reply goes on after its verdict"
"""Why a reply holds no verdict, as it stands in annotations."""

Written = Literal["json", "text"]
FormChoice = Literal["auto", "json", "text"]
V = TypeVar("V")


def written_by(spec: ModelSpec, choice: FormChoice) -> Written:
    """The form for a model; `auto` is `json` where its server or vLLM can hold it to a schema."""
    if choice != "auto":
        return choice
    return "text" if spec.provider in ("transformers", "fake") else "json"


class Value(ABC, Generic[V]):
    """What a verdict can be. A kind knows how it is written in both forms."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """The JSON schema, of parts that every server with schemas knows."""

    @abstractmethod
    def in_words(self, written: Written) -> str:
        """What may be written, for the judge."""

    @abstractmethod
    def from_json(self, value: object) -> V | None:
        """The verdict of a parsed JSON value, or None where it is none."""

    @abstractmethod
    def from_text(self, text: str) -> V | None:
        """The verdict of the text behind the colon, or None where it is none."""

    @abstractmethod
    def to_json(self, value: V) -> object: ...

    @abstractmethod
    def to_text(self, value: V) -> str: ...


@dataclass(frozen=True, slots=True)
class Choice(Value[str]):
    """One of several words; `options` is word → what it stands for."""

    options: Mapping[str, str]

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.options)}

    def in_words(self, written: Written) -> str:
        mark = '"' if written == "json" else "`"
        words = [f"{mark}{word}{mark} ({meaning})" for word, meaning in self.options.items()]
        return f"{', '.join(words[:-1])} or {words[-1]}"

    def from_json(self, value: object) -> str | None:
        return value if isinstance(value, str) and value in self.options else None

    def from_text(self, text: str) -> str | None:
        return self.from_json(text.lower())

    def to_json(self, value: str) -> object:
        return value

    def to_text(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Scale(Value[int]):
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def schema(self) -> dict[str, Any]:
        # Not every server knows minimum and maximum.
        return {"type": "integer", "enum": list(range(self.low, self.high + 1))}

    def in_words(self, written: Written) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def from_json(self, value: object) -> int | None:
        if type(value) is not int:  # neither true nor 7.0
            return None
        return value if self.low <= value <= self.high else None

    def from_text(self, text: str) -> int | None:
        return self.from_json(int(text)) if re.fullmatch(r"-?[0-9]{1,9}", text) else None

    def to_json(self, value: int) -> object:
        return value

    def to_text(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Ticks(Value[tuple[bool, ...]]):
    """Yes or no for each of `count` numbered criteria."""

    count: int

    @property
    def _numbers(self) -> list[str]:
        return [str(n) for n in range(1, self.count + 1)]

    def schema(self) -> dict[str, Any]:
        return _object({number: {"type": "boolean"} for number in self._numbers})

    def in_words(self, written: Written) -> str:
        if written == "json":
            return (
                "an object with one key for each criterion, its number in quotation marks "
                f'("1" to "{self.count}"), whose value is true where it is met, else false'
            )
        example = "`1 yes`" if self.count == 1 else "`1 yes, 2 no` and so on"
        return (
            f"each number from 1 to {self.count} with `yes` where the criterion is met and `no` "
            f"where it is not, parted by commas: {example}"
        )

    def from_json(self, value: object) -> tuple[bool, ...] | None:
        if not isinstance(value, dict) or set(value) != set(self._numbers):
            return None
        ticks = [value[number] for number in self._numbers]
        return tuple(ticks) if all(type(tick) is bool for tick in ticks) else None

    def from_text(self, text: str) -> tuple[bool, ...] | None:
        found = [
            re.fullmatch(r"(\d+):? (yes|no)", part.strip()) for part in text.lower().split(",")
        ]
        if [match and match[1] for match in found] != self._numbers:
            return None
        return tuple(match is not None and match[2] == "yes" for match in found)

    def to_json(self, value: tuple[bool, ...]) -> object:
        return dict(zip(self._numbers, value, strict=True))

    def to_text(self, value: tuple[bool, ...]) -> str:
        words = ["yes" if tick else "no" for tick in value]
        return ", ".join(f"{n} {word}" for n, word in zip(self._numbers, words, strict=True))


@dataclass(frozen=True, slots=True)
class Reading(Generic[V]):
    """The verdict in a reply, or None and the reason why there is none."""

    value: V | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Form(Generic[V]):
    """How a reply must be written: its form, what the verdict can be, reasons before it or not."""

    written: Written
    value: Value[V]
    reasoning: bool

    @property
    def digest(self) -> str:
        """Changes with everything that a judge is told about how to write its verdict."""
        return digest([self.instructions(), self.schema()])

    def schema(self) -> dict[str, Any] | None:
        """What a request gives the server; the same for all prompts, as servers compile it once."""
        if self.written == "text":
            return None
        reasons: dict[str, Any] = {"reasoning": {"type": "string"}} if self.reasoning else {}
        return _object({**reasons, "code": {"type": "string"}, "verdict": self.value.schema()})

    def instructions(self) -> str:
        """How to write the reply, in words for the judge; `{nonce}` stands for the nonce."""
        what = self.value.in_words(self.written)
        if self.written == "json":
            reasons = '- "reasoning": your reasons, in a few sentences\n' if self.reasoning else ""
            return (
                "Reply with one JSON object and nothing else. Its keys, in this order:\n"
                f'{reasons}- "code": "{{nonce}}", copied exactly\n- "verdict": {what}'
            )
        begin = (
            "First give your reasons in a few sentences. Then end your reply with one line"
            if self.reasoning
            else "Reply with one line and nothing else,"
        )
        return (
            f"{begin} in exactly this form:\n\nVERDICT {{nonce}}: …\n\n"
            f"In place of the dots write {what}. Write the code {{nonce}} nowhere else."
        )

    def read(self, reply: str, nonce: str) -> Reading[V]:
        """The verdict that the reply holds. `nonce` is that of the prompt it replies to."""
        if not reply.strip():
            return Reading(None, EMPTY)
        return (
            self._read_json(reply, nonce)
            if self.written == "json"
            else self._read_text(reply, nonce)
        )

    def write(self, value: V, nonce: str, reasons: str = "") -> str:
        """A reply that holds the verdict: what `read` reads."""
        if self.written == "text":
            line = f"VERDICT {nonce}: {self.value.to_text(value)}"
            return f"{reasons}\n{line}" if self.reasoning else line
        parts = {"reasoning": reasons} if self.reasoning else {}
        return json.dumps({**parts, "code": nonce, "verdict": self.value.to_json(value)})

    def _read_json(self, reply: str, nonce: str) -> Reading[V]:
        fenced = _FENCE.fullmatch(reply)
        try:
            found = json.loads(
                fenced[1] if fenced else reply,
                object_pairs_hook=_without_duplicates,
                parse_constant=_refuse_constant,
            )
        except _DuplicateError:
            return Reading(None, TWO_VERDICTS)
        except (ValueError, RecursionError):
            return Reading(None, NOT_JSON)
        if not isinstance(found, dict):
            return Reading(None, NOT_JSON)
        keys = ["reasoning", "code", "verdict"] if self.reasoning else ["code", "verdict"]
        if list(found) != keys or found["code"] != nonce:  # in another order they prove nothing
            return Reading(None, NO_VERDICT)
        if self.reasoning and not isinstance(found["reasoning"], str):
            return Reading(None, NO_VERDICT)
        value = self.value.from_json(found["verdict"])
        return Reading(value, OTHER_VERDICT if value is None else None)

    def _read_text(self, reply: str, nonce: str) -> Reading[V]:
        lines = [line for line in reply.splitlines() if line.strip()]
        holding = [_bare(line) for line in lines if nonce in line]
        if not holding:
            return Reading(None, NO_VERDICT)
        line = re.compile(rf"verdict {nonce} ?: ?(.+)", re.IGNORECASE)
        said = [found[1] for one in holding if (found := line.fullmatch(one))]
        if len(holding) > 1 or reply.count(nonce) > 1:
            return Reading(None, TWO_VERDICTS if len(said) > 1 else CODE_TWICE)
        if nonce not in lines[-1]:
            return Reading(None, NOT_LAST)
        if not said or (len(lines) > 1 and not self.reasoning):
            return Reading(None, NO_VERDICT)
        value = self.value.from_text(said[0])
        return Reading(value, OTHER_VERDICT if value is None else None)


def _bare(line: str) -> str:
    """The line without marks of emphasis and quotation and a full stop, which models like to add."""
    return " ".join(re.sub(r"[*_`\"']", "", line).split()).removesuffix(".")


_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


class _DuplicateError(ValueError):
    """A key stands twice in an object."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateError
    return found


def _refuse_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity; no other reader of JSON does.
    raise ValueError(name)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
