"""The connections of the clients for servers: as many as are wanted, and no endless reply."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

MOST_BYTES = 16 * 1024 * 1024
"""The largest reply to one call, and the longest line of a batch's results."""
MOST_BYTES_OF_A_BATCH = 1024 * 1024 * 1024
"""The largest file of results: of 10,000 replies, 100 KiB each."""
_PIECE = 2**20
"""So many bytes are unpacked at once."""
_CONNECT_S = 15.0
_OF_A_BATCH = ("/content", "/results")  # the paths of the results of a batch, one a line


class ReplyTooLarge(Exception):
    """A reply, or a line or the whole of a batch's results, has more bytes than it may."""


def http_client(sdk: ModuleType) -> Any:
    """Connections without a limit of their own: how many calls run at once is the runner's."""
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        """A reply's body, unpacked here, as a few bytes can unpack to gigabytes."""

        def __init__(self, body: Any, is_packed: bool, is_of_a_batch: bool) -> None:
            self._body = body
            self._is_of_a_batch = is_of_a_batch
            self._unpacker = zlib.decompressobj(wbits=31) if is_packed else None

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left, line = MOST_BYTES_OF_A_BATCH if self._is_of_a_batch else MOST_BYTES, 0
            async for raw in self._body:
                for piece in self._unpacked(raw):
                    left -= len(piece)
                    # Where a line ends inside a piece, its last bytes are not counted: pieces are
                    # small.
                    feed = piece.rfind(b"\n") if self._is_of_a_batch else -1
                    line = line + len(piece) if feed < 0 else len(piece) - feed - 1
                    if left < 0 or line > MOST_BYTES:
                        raise ReplyTooLarge
                    yield piece

        def _unpacked(self, raw: bytes) -> Iterator[bytes]:
            if self._unpacker is None:
                yield raw
                return
            while raw:
                yield self._unpacker.decompress(raw, _PIECE)
                raw = self._unpacker.unconsumed_tail

        async def aclose(self) -> None:
            await self._body.aclose()

    async def bound(response: Any) -> None:
        is_packed = response.headers.get("content-encoding", "").strip().lower() == "gzip"
        if is_packed:
            del response.headers["content-encoding"]
        elif "content-encoding" in response.headers:
            raise httpx2.DecodingError("packed in a way that was not asked for")
        is_of_a_batch = response.request.url.path.endswith(_OF_A_BATCH)
        response.stream = Bounded(response.stream, is_packed, is_of_a_batch)

    return sdk.DefaultAioHttpClient(
        limits=httpx2.Limits(max_connections=0, keepalive_expiry=4.0),  # 0: aiohttp's "no limit"
        timeout=httpx2.Timeout(None, connect=_CONNECT_S),  # the runner times the rest
        follow_redirects=False,  # the prompts go where the user sent them, and nowhere else
        headers={"accept-encoding": "gzip"},
        event_hooks={"response": [bound]},
    )
