"""The nouns of Herdbook: instruction, output, comparison, annotation.

All are frozen dataclasses. A preference is encoded in one way everywhere: a number in [0, 1], the
probability that **output 2** is better; 0.5 is a tie; None is missing, with a reason in `error`.
In an evaluation output 1 is the reference's and output 2 the model's, so that the mean preference
is the model's win rate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

# Records are read from files that others wrote: an unknown field there is an error.
_STRICT = {"extra": "forbid"}

Role = Literal["system", "user", "assistant"]
Order = Literal["original", "swapped", "none"]
"""`original`: output 1 was shown first; `swapped`: output 2 was; `none`: no order was shown, as
to a judge that looks at each answer alone, or none is known, as for a recorded verdict."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What a model is asked: a conversation that ends with a user turn.

    `checks` are criteria for `judges.criteria.share`; `gold_answer` meets all of them. The text of a
    private instruction never leaves the machine.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    id: str
    messages: tuple[Message, ...]
    category: str = ""
    checks: tuple[Mapping[str, Any], ...] = ()
    gold_answer: str | None = None
    visibility: Literal["public", "private"] = "public"

    @property
    def text(self) -> str:
        """The last user turn."""
        return self.messages[-1].content

    @property
    def turns(self) -> list[list[str]]:
        """Role and content of every message: what a model is shown."""
        return [[turn.role, turn.content] for turn in self.messages]

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any turn; an answer is stored with them."""
        return _digest(self.turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a model answered. Its `reasoning` is kept apart and never judged."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    instruction_id: str
    generator: str
    text: str
    reasoning: str = ""
    finish_reason: str | None = None
    length: int | None = None
    """Characters, where the text itself was not published and `text` is empty."""
    prompt: str | None = None
    """Digest of the instruction that was answered, where it is known."""
    served: str | None = None
    """The name that the server gave the model that answered."""
    cost_usd: float | None = None
    """What the call cost when it was made; None: no server was asked, or its price is not known."""

    @property
    def characters(self) -> int:
        return len(self.text) if self.length is None else self.length


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two answers to one instruction."""

    id: str
    instruction: Instruction
    output_1: str
    output_2: str
    generator_1: str
    generator_2: str

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any text of the comparison.

        Verdicts are stored with it, so that one on other texts is never taken for one on these.
        """
        return _digest([self.instruction.turns, self.output_1, self.output_2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotator's verdict on one comparison in one order of presentation.

    `preference` is the probability that output 2 is better, whatever the order it was shown in;
    None is a missing verdict, and `error` then says why.
    """

    comparison_id: str
    annotator: str
    order: Order
    preference: float | None
    error: str | None = None
    digest: str | None = None
    cost_usd: float | None = None
    """What the calls behind the verdict cost when they were made; None: no call, or no price."""
    served: str | None = None
    """The name that the server gave the model that judged."""
    n_calls: int = 0
    """Replies of a model that the verdict was read from."""
    judge: str | None = None
    """Digest of the judge's identity; one of that name that is another has another."""


def _digest(texts: list[Any]) -> str:
    content = json.dumps(texts, ensure_ascii=True)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
