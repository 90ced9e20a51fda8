"""Models without a model, for tests and examples: each answer follows from its request alone."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence

from judges.backends.base import Completion, Request
from judges.errors import UserError
from judges.prompting import ChatTemplate
from judges.schema import Message

KNOWN = {
    "constant": "gives one answer to everything",
    "echo": "repeats the last user turn",
    "words": "writes nonsense, long or short by the conversation",
}
_VERSION = "1"
_TEMPLATE = ChatTemplate("plain")
_SYLLABLES = ("ba", "do", "fi", "ga", "lu", "mo", "ne", "ri", "sa", "tu", "ve", "zo")


class FakeLLM:
    """One of the backends in `KNOWN`; a token is a word."""

    def __init__(self, name: str) -> None:
        """`name` with or without `fake/` before it; raises UserError for one that is not known."""
        self.name = name.removeprefix("fake/")
        self.batch_size = 8
        if self.name not in KNOWN:
            known = ", ".join(f"fake/{known}" for known in KNOWN)
            raise UserError(f"unknown model 'fake/{self.name}'; known: {known}")

    @property
    def settings(self) -> Mapping[str, str | None]:
        return {"chat_template": _TEMPLATE.source, "system_prompt": None}

    def fingerprint(self) -> Mapping[str, str]:
        return {"name": f"fake/{self.name}", "version": _VERSION}

    def render(self, messages: Sequence[Message]) -> str:
        return _TEMPLATE.render(messages, None)

    def length(self, request: Request) -> int:
        return len(self.render(request.messages).split())

    def complete_batch(self, requests: Sequence[Request]) -> list[Completion]:
        return [self._complete(request) for request in requests]

    def _complete(self, request: Request) -> Completion:
        text = self._answer(request)
        words = [word.end() for word in re.finditer(r"\S+", text)]
        fits = len(words) <= request.sampling.max_tokens
        if not fits:
            words = words[: request.sampling.max_tokens]
            text = text[: words[-1]] if words else ""
        return Completion(
            text=text,
            finish_reason="stop" if fits else "length",
            input_tokens=self.length(request),
            output_tokens=len(words),
        )

    def _answer(self, request: Request) -> str:
        if self.name == "constant":
            return "This is the answer to every question."
        if self.name == "echo":
            turns = [turn.content for turn in request.messages if turn.role == "user"]
            return turns[-1] if turns else ""
        # As with a model, the seed matters only where tokens are drawn.
        seed = request.sampling.seed if request.sampling.temperature > 0 else 0
        content = f"{seed}\n{self.render(request.messages)}"
        draw = random.Random(hashlib.sha256(content.encode()).digest())
        words = (
            "".join(draw.choices(_SYLLABLES, k=draw.randint(1, 3)))
            for _ in range(draw.randint(5, 80))
        )
        return " ".join(words).capitalize() + "."
