"""Models behind Anthropic's messages (`anthropic/NAME`).

The API wants a limit to the answer: 4,096 tokens where none is set, thinking among them. It knows
no seed and no log-probabilities, so that a request for either is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from judges.backends.base import (
    TOKENS_IF_UNLIMITED,
    CallFailed,
    Completion,
    ParameterRefused,
    Request,
    ServerFacts,
)
from judges.backends.connections import http_client
from judges.backends.remote import (
    Endpoint,
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

_PARAMETERS = {"output_config": "schema"}
_FINISHED = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}


class AnthropicLLM:
    """A model of Anthropic's, for any number of calls at once from one event loop."""

    def __init__(self, spec: ModelSpec, endpoint: Endpoint) -> None:
        self.spec = spec
        self.endpoint = endpoint

    @classmethod
    def open(cls, spec: ModelSpec) -> AnthropicLLM:
        """No call is made yet. Raises UserError without a key, for an address that is none, and
        without the package."""
        check(spec, "anthropic")
        import anthropic

        client = anthropic.AsyncAnthropic(
            api_key=api_key(spec, needed=True),
            base_url=(spec.url or "").removesuffix("/v1"),  # the client's own paths begin with it
            max_retries=0,
            timeout=None,
            http_client=http_client(anthropic),
        )
        return cls(spec, Endpoint(spec, anthropic, client, _PARAMETERS))

    async def complete(self, request: Request) -> Completion:
        body = self.body(request)
        try:
            reply, seconds = await self.endpoint.post("/v1/messages", body)
        except Refused:
            return Completion(text="", finish_reason="refused")
        return completion(reply, seconds)

    async def describe(self) -> ServerFacts:
        """Asks the models endpoint; a server without it tells nothing."""
        facts, headers = await self.endpoint.get(f"/v1/models/{quote(self.spec.name)}")
        if facts is None:
            return ServerFacts()
        return ServerFacts(
            served=text(facts.get("id")) or None,
            context=count(facts.get("max_input_tokens")),
            shutdown=shutdown_in(facts, headers),
        )

    async def close(self) -> None:
        await self.endpoint.close()

    def body(self, request: Request) -> dict[str, Any]:
        """What is sent; raises UserError for what the API does not know."""
        sampling, name = request.sampling, self.spec.spec
        limit = sampling.max_tokens
        for key in ("seed", "repetition_penalty"):
            if getattr(sampling, key) is not None:
                raise ParameterRefused(f"{name}: Anthropic knows no {key}", key)
        if request.top_logprobs:
            complaint = f"{name}: Anthropic gives no log-probabilities, which this judge needs"
            raise ParameterRefused(complaint, "top_logprobs")
        turns = request.messages
        first = next((n for n, turn in enumerate(turns) if turn.role != "system"), len(turns))
        chosen = {
            "system": "\n\n".join(content(turn.content) for turn in turns[:first]) or None,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
        body: dict[str, Any] = {
            "model": self.spec.name,
            "max_tokens": TOKENS_IF_UNLIMITED if limit is None else limit,
            "messages": [{"role": t.role, "content": content(t.content)} for t in turns[first:]],
        }
        body |= {key: value for key, value in chosen.items() if value is not None}
        if request.schema is not None:
            form = {"type": "json_schema", "schema": dict(request.schema)}
            body["output_config"] = {"format": form}
        add_extra(body, request.extra, self.spec)
        return body


def completion(reply: Mapping[str, Any], seconds: float | None = None) -> Completion:
    """What the API's reply says; raises CallFailed where it holds no answer."""
    blocks, stop = reply.get("content"), text(reply.get("stop_reason"))
    usage = reply.get("usage")
    read = [count(get(usage, f"{key}_input_tokens")) for key in ("cache_creation", "cache_read")]
    fresh = count(get(usage, "input_tokens"))
    charged = Completion(
        text="",
        # Anthropic counts the prompt in three parts.
        input_tokens=None if fresh is None else count(fresh + sum(part or 0 for part in read)),
        output_tokens=count(get(usage, "output_tokens")),
        cached_tokens=read[1],
        reasoning_tokens=count(get(usage, "output_tokens_details", "thinking_tokens")),
        served=text(reply.get("model")) or None,
        seconds=seconds,
    )
    if not isinstance(blocks, list):
        paid = charged if isinstance(usage, dict) else None
        raise CallFailed("the reply holds no answer", retry=True, paid=paid)
    return replace(
        charged,
        text="".join(text(get(block, "text")) for block in blocks if get(block, "type") == "text"),
        reasoning="\n\n".join(
            text(get(block, "thinking")) for block in blocks if get(block, "type") == "thinking"
        ),
        finish_reason=_FINISHED.get(stop, "stop"),
    )
