"""What every language-model backend is given and gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from judges.schema import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. None means: as the model's own generation config says."""

    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One conversation to be continued. `id` is the caller's own name for it."""

    id: str
    messages: tuple[Message, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model wrote: the answer, and apart from it the thinking before the answer.

    `finish_reason` is `stop` where the model ended by itself and `length` where it ran into
    `max_tokens` or the end of its window.
    """

    text: str
    reasoning: str = ""
    finish_reason: str = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None


class OutOfMemory(Exception):
    """A batch did not fit; the runner halves it and tries again."""


class LocalLLM(Protocol):
    """A model in this process, called with one batch at a time."""

    batch_size: int

    @property
    def settings(self) -> Mapping[str, str | None]:
        """What was chosen at loading, for people to read: chat template, system prompt, …"""
        ...

    def fingerprint(self) -> Mapping[str, str]:
        """Part (weights, adapter, tokenizer, template, …) → hash of all that shapes an answer."""
        ...

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt as the model sees it."""
        ...

    def length(self, request: Request) -> int:
        """Tokens of the prompt; batches are made of requests of similar length."""
        ...

    def complete_batch(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request, in the same order; raises OutOfMemory."""
        ...
