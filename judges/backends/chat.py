"""What models in this process have in common: chats become token ids, new tokens a completion."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from judges.backends.base import Completion, Request
from judges.prompting.chat import ChatTemplate
from judges.prompting.quoting import without_marks
from judges.prompting.thinking import TAGS, answer_begins, opens_thinking, split_thinking
from judges.schema import Message

MAX_TOKENS = 8192
"""New tokens at most where neither the request nor the model's config says how many."""


def seed_for(seed: int, request_id: str) -> int:
    """A seed of this request's own, of 64 bits with sign."""
    key = hashlib.blake2b(f"{seed}\0{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(key, "big", signed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a model wrote behind one prompt."""

    tokens: Sequence[int] = ()
    """With the one that ended it."""
    stopped: bool = False
    """Whether it ended by itself."""
    likeliest: Sequence[Sequence[tuple[int, float]]] = ()
    """The likeliest tokens at each place with their log-probabilities, where they were asked for."""


@dataclass(slots=True, kw_only=True)
class ChatModel(ABC):
    """A tokenizer, a chat template and what the model's files say of generation."""

    tokenizer: Any
    template: ChatTemplate
    parts: Mapping[str, str]
    generation: Mapping[str, Any]
    """The model's own generation_config.json."""
    model_eos: Sequence[int]
    """The tokens that end an answer as the model's files say."""
    batch_size: int
    eos: frozenset[int] = field(init=False)
    """Every token that ends an answer."""
    hidden: frozenset[int] = field(init=False)
    """Control tokens, which are left out of an answer; the tags around thinking stay in."""

    def __post_init__(self) -> None:
        ends = (
            *self.model_eos,
            self.tokenizer.eos_token_id,
            self.template.end_of_turn(self.tokenizer),
        )
        self.eos = frozenset(token for token in ends if token is not None)
        added = self.tokenizer.added_tokens_decoder
        self.hidden = frozenset(n for n, t in added.items() if t.special and str(t) not in TAGS)

    @property
    @abstractmethod
    def window(self) -> int | None:
        """Tokens that fit into the model, prompt and answer together; None for no limit."""

    def fingerprint(self) -> Mapping[str, str]:
        return self.parts

    def render(self, messages: Sequence[Message]) -> str:
        return without_marks(self.template.render(messages, self.tokenizer))

    def length(self, request: Request) -> int:
        return len(self.prompt_of(request)[1])

    def prompt_of(self, request: Request) -> tuple[str, list[int]]:
        """The prompt as text, data of others between its marks, and as token ids."""
        prompt = self.template.render(request.messages, self.tokenizer)
        return prompt, self.template.encode(prompt, self.tokenizer)

    def limit(self, request: Request, prompt_tokens: int) -> int:
        """New tokens that the request may get."""
        wanted = request.sampling.max_tokens
        if wanted is None:
            wanted = int(self.generation.get("max_new_tokens") or MAX_TOKENS)
        return max(0, wanted if self.window is None else min(wanted, self.window - prompt_tokens))

    def setting(self, request: Request, name: str, off: float) -> float:
        """A setting of the request's sampling; what it leaves open is as the model's config says."""
        chosen = getattr(request.sampling, name)
        chosen = self.generation.get(name) if chosen is None else chosen
        return off if chosen is None else float(chosen)

    def temperature(self, request: Request) -> float:
        """The request's own, else the model's: 0 where its config does not say that it draws."""
        if request.sampling.temperature is None and not self.generation.get("do_sample"):
            return 0.0
        return self.setting(request, "temperature", 1.0)

    def text(self, tokens: Sequence[int]) -> str:
        kept = [token for token in tokens if token not in self.hidden]
        text = self.tokenizer.decode(
            kept, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)

    def completion(self, prompt: str, prompt_tokens: int, written: Written) -> Completion:
        """What was written, with thinking and stop texts taken off."""
        text = self.text(written.tokens)
        for stop in self.template.stops:
            text = text.partition(stop)[0]
        opened = opens_thinking(prompt)
        split = split_thinking(text, opened)
        logprobs = None
        if written.likeliest:
            first = answer_begins(written.tokens, self.text, opened)
            logprobs = None if first is None else self._spelled(written.likeliest[first])
        return Completion(
            text=split.answer,
            reasoning=split.reasoning,
            finish_reason="stop" if written.stopped else "length",
            input_tokens=prompt_tokens,
            output_tokens=len(written.tokens),
            logprobs=logprobs,
        )

    def _spelled(self, likeliest: Sequence[tuple[int, float]]) -> tuple[tuple[str, float], ...]:
        """Tokens as text, control tokens as well."""
        return tuple(
            (str(self.tokenizer.decode([token], skip_special_tokens=False)), logprob)
            for token, logprob in likeliest
        )
