"""What the backends for servers share: the key, the connections, and what a failed call means.

The `openai` and `anthropic` packages are made by one generator and behave alike. Their own retries
are off, as the runner retries. Requests go through their `post`, which both offer for what their
typed methods do not know: those check request and reply once more, at twice the CPU. Connections
are aiohttp's: at 1,000 calls at once they take a sixth of the CPU that httpx's own pool takes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from judges.backends.base import CallFailed, ParameterRefused
from judges.backends.connections import ReplyTooLarge
from judges.backends.redaction import parsed, redacted
from judges.backends.spec import ModelSpec
from judges.errors import MissingExtraError, MissingKeyError, UserError
from judges.prompting.quoting import for_server
from judges.reading import printable

NO_CONNECTION = "the connection failed"
_DESCRIBE_S = 30.0
_MOST_TOKENS = 2**53  # as far as every number is exact, and fits into the ledger

_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size|limit)|(?:prompt|input|request) is too (?:long|large)"
    r"|maximum (?:model|sequence|prompt|input) length|too many (?:input |prompt )?tokens",
    re.IGNORECASE,
)
_KEPT_BACK = re.compile(
    r"content[ _](?:filter|policy|management)|invalid_prompt|usage polic|flagged|moderation",
    re.IGNORECASE,
)
# "billing" and "quota" also stand in the texts of mere rate limits.
_NO_MONEY = re.compile(
    r"insufficient_quota|billing_|spend_limit|credit balance|insufficient (?:balance|credit|fund)",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(r"(404:? *)?(page )?not found\.?", re.IGNORECASE)
"""What a server says that says no more than the status."""
_RESERVED = {"model", "messages", "system", "stream", "n"}


class Refused(Exception):
    """The provider gives no reply to this prompt, by its rules."""


class NotThere(UserError):
    """The server knows no such model, or no such address."""


class Endpoint:
    """The client of a model's server, and what the server's errors mean."""

    def __init__(
        self, spec: ModelSpec, sdk: ModuleType, client: Any, parameters: Mapping[str, str]
    ) -> None:
        """`parameters` are the wire's names → keys of a panel file, where they differ."""
        import aiohttp
        import httpx2

        self.spec = spec
        self._sdk = sdk
        self._client = client
        self._parameters = parameters
        self._response = httpx2.Response
        # The client lets through what aiohttp makes of replies that are no HTTP.
        self._errors = (aiohttp.ClientError, httpx2.HTTPError, OSError, zlib.error, ReplyTooLarge)

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        """The reply's object, and the seconds until it was there.

        Raises CallFailed, UserError, and Refused.
        """
        begin = time.perf_counter()
        response = await self.send(path, body)
        return self.object(response), time.perf_counter() - begin

    async def get(self, path: str) -> tuple[dict[str, Any] | None, Mapping[str, str]]:
        """The object at a path with the headers; None where the server tells nothing there.

        Raises UserError for a wrong key, and where there is no connection.
        """
        try:
            async with asyncio.timeout(_DESCRIBE_S):
                response = await self.send(path)
            return self.object(response), response.headers
        except (NotThere, Refused, TimeoutError):
            return None, {}
        except CallFailed as error:
            if error.reason != NO_CONNECTION:
                return None, {}
            complaint = f"{self.spec.spec}: no connection to {self.place} ({error.detail})"
        raise UserError(f"{complaint}. Is the server running?")

    async def close(self) -> None:
        await self._client.close()

    async def send(
        self, path: str, body: Mapping[str, Any] | None = None, files: Any = None
    ) -> Any:
        """The response to a GET, to a POST with a body, or to one with a form that holds files.
        Raises as `post` does."""
        form: Any = {"headers": {"Content-Type": "multipart/form-data"}} if files else {}
        problem: Exception
        try:
            if body is None:
                return await self._client.get(path, cast_to=self._response)
            return await self._client.post(
                path, body=body, files=files, options=form, cast_to=self._response
            )
        except self._sdk.APIStatusError as error:
            problem = self.meaning(error.status_code, error.body, error.response.headers, body)
        except (self._sdk.APIConnectionError, *self._errors) as error:
            problem = self._broken(error)
        # Raised out here, so that no exception holds on to the client's, which holds the key.
        raise problem

    def object(self, response: Any) -> dict[str, Any]:
        """The JSON object of a reply; what is none, or tells an error after all, is a failure."""
        value = self.parsed(response.content)
        if not isinstance(value, dict):
            detail = self.clean(response.text)
            raise CallFailed("the reply is not in the API's form", retry=True, detail=detail)
        if isinstance(value.get("error"), dict) and len(value) <= 3:
            detail = self.clean(text(get(value, "error", "message")))
            raise CallFailed("the server replied with an error", retry=True, detail=detail)
        return value

    def _broken(self, error: BaseException) -> CallFailed:
        """No connection, or one that ended before the reply did."""
        innermost = error
        while innermost.__cause__ is not None:
            innermost = innermost.__cause__
        if isinstance(innermost, ReplyTooLarge):
            return CallFailed("the reply is too large", retry=False)
        detail = self.clean(f"{type(innermost).__name__}: {innermost}")
        if getattr(innermost, "errno", None) == errno.EMFILE:
            return CallFailed("too many open files", retry=True, slow_down=True, detail=detail)
        return CallFailed(NO_CONNECTION, retry=True, detail=detail)

    def meaning(
        self,
        status: int,
        content: Any,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
    ) -> Exception:
        """What an HTTP status with its body means for the call."""
        error = get(content, "error") if isinstance(get(content, "error"), dict) else content
        said = text(get(error, "message")) or text(get(content, "detail")) or text(content)
        labels = [get(error, key) for key in ("type", "code")] + [get(error, "details")]
        signs = " ".join(map(str, [*labels, said[:300]]))
        detail = self.clean(said)
        name, place = self.spec.spec, self.place
        told = f": {detail}" if detail else ""
        if status == 401:
            variable = self.spec.key_variable
            return UserError(f"{name}: {place} does not take the key in {variable} (401)")
        if status == 402 or (status in (400, 403, 429) and _NO_MONEY.search(signs)):
            return UserError(f"{name}: the account at {place} has no credit ({status}){told}")
        if status in (400, 403) and _KEPT_BACK.search(signs):
            return Refused()
        if status == 413 or (status in (400, 422) and _TOO_LONG.search(signs)):
            return CallFailed("too long for the model's window", retry=False, detail=detail)
        if status in (400, 403, 422) and (key := self._parameter(error, said, body or {})):
            return ParameterRefused(f"{name}: {place} refuses {key} ({status}){told}", key)
        if status == 403:
            return UserError(
                f"{name}: {place} does not allow this key to use the model (403){told}"
            )
        if status == 404:
            told = "" if _NOT_FOUND.fullmatch(detail) else told
            for end in ("/chat/completions", "/messages"):
                told += f". Leave {end} out of the address" * place.endswith(end)
            return NotThere(f"{name}: {place} knows no such model, or no such address (404){told}")
        if status < 400:
            complaint = f"{name}: {place} sends its callers to another address ({status})"
            return UserError(f"{complaint}. Give that one as base_url")
        if status in (429, 503, 529):
            reason = f"the server has too much to do ({status})"
        elif status >= 500 or status in (408, 409, 425):
            reason = f"the server failed ({status})"
        else:
            reason = f"the server refused the request ({status})"
            return CallFailed(reason, retry=False, detail=detail)
        return CallFailed(
            reason,
            retry=headers.get("x-should-retry") != "false",
            after=retry_after(headers),
            slow_down=status in (429, 503, 529),
            detail=detail,
        )

    def _parameter(self, error: Any, said: str, body: Mapping[str, Any]) -> str | None:
        """The key of the parameter that an error is about: the one it names, else the first one
        in its text that was sent."""
        sent = [key for key in body if key not in _RESERVED]
        named = re.split(r"[.\[]", text(get(error, "param")))[0]
        if named not in sent:
            found = [
                (match.start(), key)
                for key in sent
                if (match := re.search(rf"(?<!\w){re.escape(key)}(?!\w)", said[:300]))
            ]
            if not found:
                return None
            named = min(found)[1]
        return self._parameters.get(named, named)

    @property
    def place(self) -> str:
        """The server's address without what may follow it."""
        parts = urlsplit(self.spec.url or "")
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    def parsed(self, content: bytes) -> Any:
        """The JSON that a server replied without the key, None where it is none."""
        return parsed(content, self._client.api_key or "")

    def clean(self, said: str) -> str:
        """What a server said, in one short line without the key or any part of it."""
        line = redacted(printable(said[:2000]), self._client.api_key or "")
        return line if len(line) <= 200 else f"{line[:199]}…"


def api_key(spec: ModelSpec, *, needed: bool) -> str:
    """The key from the environment; "none" where it is not needed and not there."""
    variable = spec.key_variable
    key = os.environ.get(variable or "", "").strip()
    if not key and variable is None and needed:
        raise MissingKeyError(
            f"{spec.spec}: no key is named for {spec.url}. Put one into an environment variable "
            "that ends in _API_KEY, and its name into api_key_env"
        )
    if not key:
        if not needed:
            return "none"
        raise MissingKeyError(
            f"{spec.spec}: there is no key in the environment variable {variable}. Set it, or use "
            "a model that needs none: a folder, vllm/PATH, openai-api/NAME with a server of yours"
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{spec.spec}: what {variable} holds is no key: it has odd characters")
    return key


def check(spec: ModelSpec, package: str) -> None:
    """Raises UserError where a package is not installed, the address is none, or the model is given
    what it cannot use."""
    for name in (package, "aiohttp"):
        if find_spec(name) is None:
            raise MissingExtraError(name, "api")
    if spec.args:
        raise UserError(
            f"{spec.spec}: {min(spec.args)!r} in args: those are for models in this process. What "
            "a server is to be told goes into extra"
        )
    url = spec.url or ""
    try:
        address = urlsplit(url)
        is_address = address.scheme in ("http", "https") and address.hostname and not address.query
        is_address = is_address and address.port != 0
    except ValueError:
        is_address = False
    if "@" in url:
        raise UserError(
            f"{spec.spec}: its base_url holds a name or a password. Put the key into an "
            "environment variable and name that in api_key_env"
        )
    if not is_address:
        raise UserError(f"{spec.spec}: {url!r} is no address (http://HOST:PORT/v1, say)")


def add_extra(body: dict[str, Any], extra: Mapping[str, Any], spec: ModelSpec) -> None:
    """Puts further parameters into a request's body; what is there already is not replaced."""
    for key, value in extra.items():
        own = body.get(key)
        if isinstance(own, dict) and isinstance(value, Mapping) and not own.keys() & value.keys():
            body[key] = {**own, **value}
        elif key in body or key in _RESERVED:
            raise UserError(f"{spec.spec}: extra must not hold {key!r}: it is set already")
        else:
            body[key] = value


def content(prompt: str) -> str:
    """A message's text for a server; half of a surrogate pair, which no server takes, is a "?"."""
    return for_server(prompt).encode("utf-8", "replace").decode()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that the server asks to wait: retry-after-ms, or retry-after in both its forms."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        given = headers.get("retry-after", "")
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", given):
            return float(given)
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def shutdown_in(facts: object, headers: Mapping[str, str]) -> str | None:
    """When a model will be gone, by what its server tells of it or by a Sunset header (RFC 8594)."""
    for key in ("shutdown_date", "retires_at"):
        if told := text(get(facts, key)):
            return printable(told)[:40]
    try:
        return parsedate_to_datetime(headers.get("sunset", "")).date().isoformat()
    except (TypeError, ValueError):
        return None


def get(value: Any, *path: str | int) -> Any:
    """What lies at a path of keys and places in parsed JSON; None where nothing does."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def text(value: object) -> str:
    """The value where it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int | None:
    """A number of tokens; None for what cannot be one."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MOST_TOKENS else None
