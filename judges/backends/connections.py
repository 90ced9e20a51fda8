"""The connections of the clients for servers: as many as are wanted, and no endless reply."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

MOST_BYTES = 16 * 1024 * 1024
"""The largest reply to one call."""
_CONNECT_S = 15.0
_OF_A_BATCH = ("/content", "/results")  # the paths of the results of a batch, which may be larger


class ReplyTooLarge(Exception):
    """A reply has more than MOST_BYTES."""


def http_client(sdk: ModuleType) -> Any:
    """Connections without a limit of their own: how many calls run at once is the runner's."""
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        """A reply's body, unpacked here, as a few bytes can unpack to gigabytes."""

        def __init__(self, body: Any, is_packed: bool) -> None:
            self._body = body
            self._unpacker = zlib.decompressobj(wbits=31) if is_packed else None

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = MOST_BYTES
            async for raw in self._body:
                chunk = raw
                if self._unpacker is not None:
                    chunk = self._unpacker.decompress(raw, left + 1)
                left -= len(chunk)
                if left < 0:
                    raise ReplyTooLarge
                yield chunk

        async def aclose(self) -> None:
            await self._body.aclose()

    async def bound(response: Any) -> None:
        if response.request.url.path.endswith(_OF_A_BATCH):
            return
        is_packed = response.headers.get("content-encoding", "").strip().lower() == "gzip"
        if is_packed:
            del response.headers["content-encoding"]
        elif "content-encoding" in response.headers:
            raise httpx2.DecodingError("packed in a way that was not asked for")
        response.stream = Bounded(response.stream, is_packed)

    return sdk.DefaultAioHttpClient(
        limits=httpx2.Limits(max_connections=0, keepalive_expiry=4.0),  # 0: aiohttp's "no limit"
        timeout=httpx2.Timeout(None, connect=_CONNECT_S),  # the runner times the rest
        follow_redirects=False,  # the prompts go where the user sent them, and nowhere else
        headers={"accept-encoding": "gzip"},
        event_hooks={"response": [bound]},
    )
