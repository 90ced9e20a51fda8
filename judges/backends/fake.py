"""Models without a model, for tests and examples: each answer follows from its request alone."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence

from judges.backends.base import Completion, Request
from judges.backends.fake_judge import judge_logprobs, judge_reply
from judges.errors import UserError
from judges.prompting.chat import ChatTemplate
from judges.prompting.quoting import without_marks
from judges.schema import Message

KNOWN = {
    "constant": "gives one answer to everything",
    "echo": "repeats the last user turn",
    "words": "writes nonsense, long or short by the conversation",
    "judge": "judges by length, in whatever form a judge's prompt asks for",
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
        return without_marks(_TEMPLATE.render(messages, None))

    def length(self, request: Request) -> int:
        return len(self.render(request.messages).split())

    def complete_batch(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request; raises UserError for a schema that this one cannot obey."""
        return [self._complete(request) for request in requests]

    def close(self) -> None:
        """There is no memory to free."""

    def _complete(self, request: Request) -> Completion:
        if request.schema is not None and self.name != "judge":
            raise UserError(
                f'fake/{self.name} cannot obey a JSON schema: set form = "text" for the judge, or '
                "take fake/judge"
            )
        text = self._answer(request)
        words = [word.end() for word in re.finditer(r"\S+", text)]
        limit = request.sampling.max_tokens
        fits = limit is None or len(words) <= limit
        if not fits:
            words = words[:limit]
            text = text[: words[-1]] if words else ""
        return Completion(
            text=text,
            finish_reason="stop" if fits else "length",
            input_tokens=self.length(request),
            output_tokens=len(words),
            logprobs=self._logprobs(request, text) if request.top_logprobs else None,
        )

    def _logprobs(self, request: Request, text: str) -> tuple[tuple[str, float], ...]:
        """As of a model that is sure of what it writes; the judge's follow from the lengths."""
        if self.name == "judge" and (logprobs := judge_logprobs(request)):
            return logprobs
        return tuple((word, 0.0) for word in text.split()[:1])

    def _answer(self, request: Request) -> str:
        if self.name == "constant":
            return "This is the answer to every question."
        if self.name == "judge":
            return judge_reply(request)
        if self.name == "echo":
            turns = [turn.content for turn in request.messages if turn.role == "user"]
            return without_marks(turns[-1]) if turns else ""
        # As with a model, the seed matters only where tokens are drawn.
        sampling = request.sampling
        seed = (sampling.seed or 0) if (sampling.temperature or 0) > 0 else 0
        content = f"{seed}\n{self.render(request.messages)}"
        draw = random.Random(hashlib.sha256(content.encode()).digest())
        words = (
            "".join(draw.choices(_SYLLABLES, k=draw.randint(1, 3)))
            for _ in range(draw.randint(5, 80))
        )
        return " ".join(words).capitalize() + "."
