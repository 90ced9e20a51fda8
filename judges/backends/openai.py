"""Models behind OpenAI's chat completions: OpenAI itself (`openai/NAME`), and every server that
speaks the same (`openai-api/NAME` with a base URL): vLLM, SGLang, llama.cpp, Ollama, ….

`max_tokens` is sent as `max_completion_tokens` to OpenAI, whose newer models refuse the old name,
and as `max_tokens` to other servers, of which some know no other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from judges.backends.base import (
    CallFailed,
    Completion,
    ParameterRefused,
    Request,
    ServerFacts,
    credible,
)
from judges.backends.connections import http_client
from judges.backends.remote import (
    Endpoint,
    NotThere,
    Refused,
    add_extra,
    api_key,
    check,
    content,
    count,
    get,
    shutdown_in,
    text,
)
from judges.backends.spec import ModelSpec
from judges.errors import UserError
from judges.prompting.thinking import TAGS, split_thinking
from judges.reading import printable

_PARAMETERS = {
    "max_completion_tokens": "max_tokens",
    "response_format": "schema",
    "logprobs": "top_logprobs",
}
_FINISHED = {"length": "length", "content_filter": "refused"}
_BROKEN_OFF = {"abort", "error"}
_LEAST_LOGPROB = -9999.0  # what servers write for "impossible"
_CLOSING = re.compile("|".join(re.escape(tag) for tag in TAGS if "/" in tag), re.IGNORECASE)


class OpenAILLM:
    """A model at one server, for any number of calls at once from one event loop."""

    def __init__(self, spec: ModelSpec, endpoint: Endpoint) -> None:
        self.spec = spec
        self.endpoint = endpoint

    @classmethod
    def open(cls, spec: ModelSpec) -> OpenAILLM:
        """No call is made yet. Raises UserError without a key (`openai-api` needs none), for an
        address that is none, and without the package."""
        check(spec, "openai")
        import openai

        own = spec.provider == "openai-api"
        key = api_key(spec, needed=not own)
        client = openai.AsyncOpenAI(
            api_key=key,
            base_url=spec.url,
            max_retries=0,
            timeout=None,
            http_client=http_client(openai),
        )
        if own:  # what the environment says of an account at OpenAI is no other server's business
            client.organization = client.project = None
        return cls(spec, Endpoint(spec, openai, client, _PARAMETERS))

    async def complete(self, request: Request) -> Completion:
        body = self.body(request)
        try:
            reply, seconds = await self.endpoint.post("/chat/completions", body)
        except Refused:
            return Completion(text="", finish_reason="refused")
        except NotThere as error:
            complaint = str(error)
        else:
            return completion(reply, seconds)
        if names := [text(get(model, "id")) for model in await self._listed()]:
            complaint += f". It serves {printable(', '.join(names[:5]))}"
        elif not self.endpoint.place.endswith("/v1"):
            complaint += ". Most addresses end in /v1"
        raise UserError(complaint)

    async def describe(self) -> ServerFacts:
        """Asks the models endpoint: OpenAI's knows shutdown dates, vLLM's and SGLang's the window.

        A server without the endpoint, or that does not list the model, tells nothing: some answer
        to any name.
        """
        name = self.spec.name
        headers: Mapping[str, str] = {}
        if self.spec.provider == "openai":
            facts, headers = await self.endpoint.get(f"/models/{quote(name)}")
        else:
            facts = next((m for m in await self._listed() if get(m, "id") == name), None)
        if facts is None:
            return ServerFacts()
        context = count(get(facts, "max_model_len")) or count(get(facts, "context_length"))
        return ServerFacts(
            served=text(get(facts, "id")) or None,
            context=context or count(get(facts, "meta", "n_ctx")),
            shutdown=shutdown_in(facts, headers),
        )

    async def _listed(self) -> list[Any]:
        """The models of a server that lists them; OpenAI's own are too many to be shown."""
        if self.spec.provider == "openai":
            return []
        models = get((await self.endpoint.get("/models"))[0], "data")
        return models if isinstance(models, list) else []

    async def close(self) -> None:
        await self.endpoint.close()

    def body(self, request: Request) -> dict[str, Any]:
        """What is sent; raises UserError for what the API does not know."""
        sampling, own = request.sampling, self.spec.provider == "openai-api"
        chosen = {
            "max_tokens" if own else "max_completion_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "top_k": sampling.top_k,
            "repetition_penalty": sampling.repetition_penalty,
        }
        if not own:
            for key in ("top_k", "repetition_penalty"):
                if chosen[key] is not None:
                    raise ParameterRefused(f"{self.spec.spec}: OpenAI knows no {key}", key)
        body: dict[str, Any] = {
            "model": self.spec.name,
            "messages": [{"role": m.role, "content": content(m.content)} for m in request.messages],
        }
        body |= {key: value for key, value in chosen.items() if value is not None}
        if request.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        add_extra(body, request.extra, self.spec)
        return body


def completion(reply: Mapping[str, Any], seconds: float | None = None) -> Completion:
    """What the API's reply says; raises CallFailed where it holds no answer."""
    choice = get(reply, "choices", 0)
    message = get(choice, "message")
    finish = text(get(choice, "finish_reason"))
    usage = get(reply, "usage")
    cached = count(get(usage, "prompt_tokens_details", "cached_tokens"))
    charged = Completion(
        text="",
        input_tokens=count(get(usage, "prompt_tokens")),
        output_tokens=count(get(usage, "completion_tokens")),
        cached_tokens=count(get(usage, "prompt_cache_hit_tokens")) if cached is None else cached,
        reasoning_tokens=count(get(usage, "completion_tokens_details", "reasoning_tokens")),
        served=text(get(reply, "model")) or None,
        seconds=seconds,
    )
    if not isinstance(message, dict) or finish in _BROKEN_OFF:
        paid = charged if isinstance(usage, dict) else None
        raise CallFailed("the reply holds no answer", retry=True, paid=paid)
    answer = _text(message.get("content"))
    reasoning = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    if not reasoning:
        split = split_thinking(answer, opened=False)
        reasoning, answer = split.reasoning, split.answer
    # What the model calls a function with is an answer: some judges ask for a form in that way.
    answer = answer or text(get(message, "tool_calls", 0, "function", "arguments"))
    finish_reason = _FINISHED.get(finish, "stop")
    if refusal := text(message.get("refusal")):
        answer, finish_reason = refusal, "refused"
    return replace(
        charged,
        text=answer,
        reasoning=reasoning,
        finish_reason=finish_reason,
        logprobs=_logprobs(get(choice, "logprobs", "content"), after_thinking=bool(reasoning)),
    )


def _text(value: object) -> str:
    """A message's content: a text, or the text parts of a list."""
    if isinstance(value, list):
        return "".join(text(get(part, "text")) for part in value if get(part, "type") == "text")
    return text(value)


def _logprobs(places: object, *, after_thinking: bool) -> tuple[tuple[str, float], ...] | None:
    """The likeliest tokens where the answer begins: at its first token that is not blank, if any is.

    A server that writes thinking as well gives log-probabilities of both in one list; without the
    thinking's end in it nobody knows where the answer begins.
    """
    if not isinstance(places, list) or not places:
        return None
    if after_thinking:
        places = _behind_thinking(places)
    of_text = (place for place in places if text(get(place, "token")).strip())
    place = next(of_text, places[0] if places else None)
    listed = get(place, "top_logprobs") or [place]
    pairs = [(get(entry, "token"), get(entry, "logprob")) for entry in listed]
    # Bounded before it becomes a float: JSON holds whole numbers that no float can.
    known = [
        (token, float(max(logprob, _LEAST_LOGPROB)) if logprob <= 1 else math.nan)
        for token, logprob in pairs
        if isinstance(token, str) and isinstance(logprob, int | float)
    ]
    return credible(known)


def _behind_thinking(places: list[Any]) -> list[Any]:
    seen = ""
    for n, place in enumerate(places):
        seen = (seen + text(get(place, "token")))[-40:]
        if _CLOSING.search(seen):
            return places[n + 1 :]
    return []
