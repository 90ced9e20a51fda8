"""What a call to the tests' server is and what can come of it, in OpenAI's and Anthropic's formats."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Wire = Literal["openai", "anthropic"]


@dataclass(frozen=True)
class Asked:
    """One call as the server saw it."""

    wire: Wire
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    number: int
    """How many calls there were before this one."""
    in_flight: int
    """How many calls the server works at, this one among them."""
    raw: bytes = b""

    @cached_property
    def prompt(self) -> str:
        """The last user turn."""
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(p["text"] for p in content)

    @cached_property
    def nonce(self) -> str:
        """The code of the frames in a judge's prompt."""
        found = re.search(r"^\[begin [a-z ]+ (\w{13})\]$", self.prompt, re.MULTILINE)
        return found[1] if found else ""

    @cached_property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema that the reply must obey."""
        if self.wire == "anthropic":
            return self.body.get("output_config", {}).get("format", {}).get("schema")
        return self.body.get("response_format", {}).get("json_schema", {}).get("schema")

    @cached_property
    def draw(self) -> random.Random:
        """Chance that follows from the body alone."""
        return random.Random(hashlib.sha256(self.raw).digest())


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model says. None for what the server leaves out."""

    text: str | None = "A"
    reasoning: str = ""
    finish: Literal["stop", "length", "refused"] = "stop"
    refusal: str = ""
    """OpenAI's text beside a refusal; without it a refusal is a content filter's."""
    top: tuple[tuple[str, float], ...] | None = None
    """The likeliest tokens at each place that the reply has."""
    usage: bool = True
    cached: int = 0
    served: str = ""
    """The model's name in the reply, where it is not the one asked for."""
    latency: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the server does instead of a reply: an error of its API, bytes of any kind, or silence."""

    status: int = 500
    message: str = "the server had an error"
    type: str = "server_error"
    code: str | int | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """The body as it is, instead of an error of the API."""
    how: Literal["answer", "hang", "reset", "cut"] = "answer"
    """`cut` ends the connection in the middle of the body."""
    latency: float = 0.0


def openai_reply(asked: Asked, reply: Reply) -> dict[str, Any]:
    finish = {"stop": "stop", "length": "length"}.get(reply.finish)
    finish = finish or ("stop" if reply.refusal else "content_filter")
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    message["refusal"] = reply.refusal or None
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish}
    choice["logprobs"] = None
    if reply.top is not None and asked.body.get("logprobs"):
        top = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in reply.top]
        n = asked.body.get("top_logprobs", 0)
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top[:n]}], "refusal": None}
    body: dict[str, Any] = {"id": f"chatcmpl-{asked.number}", "object": "chat.completion"}
    body |= {"created": 1_700_000_000, "choices": [choice]}
    body["model"] = reply.served or asked.body["model"]
    if reply.usage:
        thought, said = _tokens(reply.reasoning), _tokens(reply.text or "")
        read = sum(_tokens(turn["content"]) for turn in asked.body["messages"])
        body["usage"] = {
            "prompt_tokens": read,
            "completion_tokens": thought + said,
            "total_tokens": read + thought + said,
            "prompt_tokens_details": {"cached_tokens": reply.cached},
            "completion_tokens_details": {"reasoning_tokens": thought},
        }
    return body


def anthropic_reply(asked: Asked, reply: Reply) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": "c2ln"})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    stop = {"stop": "end_turn", "length": "max_tokens", "refused": "refusal"}[reply.finish]
    body: dict[str, Any] = {"id": f"msg_{asked.number}", "type": "message", "role": "assistant"}
    body |= {"model": reply.served or asked.body["model"], "content": blocks}
    body |= {"stop_reason": stop, "stop_sequence": None}
    if reply.usage:
        thought, said = _tokens(reply.reasoning), _tokens(reply.text or "")
        turns = [turn["content"] for turn in asked.body["messages"]]
        read = sum(map(_tokens, [asked.body.get("system", ""), *turns]))
        body["usage"] = {
            "input_tokens": read - reply.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": reply.cached,
            "output_tokens": thought + said,
            "output_tokens_details": {"thinking_tokens": thought},
        }
    return body


def error_body(wire: Wire, fault: Fault) -> dict[str, Any]:
    error: dict[str, Any] = {"type": fault.type, "message": fault.message}
    if wire == "anthropic":
        return {"type": "error", "error": error, "request_id": "req_1"}
    return {"error": {**error, "param": fault.param, "code": fault.code}}


def _tokens(text: str) -> int:
    return len(text.split())


def unknown_model(wire: Wire, name: str) -> Fault:
    if wire == "anthropic":
        return Fault(status=404, type="not_found_error", message=f"model: {name}")
    return Fault(
        status=404,
        type="invalid_request_error",
        code="model_not_found",
        message=f"The model `{name}` does not exist or you do not have access to it.",
    )
