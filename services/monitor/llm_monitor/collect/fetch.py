"""One HTTP request for one page, bounded in time and size, whatever the other side does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp

MAX_PAGE_BYTES = 8 * 2**20
HEADERS = {
    # The plain text format keeps vLLM's names; nothing compressed, so that no small answer grows large.
    "accept": "text/plain; version=0.0.4, */*; q=0.1",
    "accept-encoding": "identity",
    "user-agent": "llm-monitor",
}


class Answer(NamedTuple):
    body: bytes
    date: str = ""
    """Date header; empty if there is none."""


Fetch = Callable[[], Awaitable[Answer]]
"""Return a target's page, or raise ScrapeFailed. It can be cancelled."""


class ScrapeFailed(Exception):
    """A scrape without a page. `outcome` is one of `llm_contract.monitor_metrics.SCRAPE_OUTCOMES`."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Fetcher:
    """A pool of kept connections to all targets."""

    def __init__(self, max_bytes: int = MAX_PAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # the caller limits the time
            headers=HEADERS,
            auto_decompress=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def fetch(self, url: str, key_file: Path | None = None) -> Answer:
        """Return the page at a URL. Raises ScrapeFailed.

        The key is read each time, so that a new one needs no restart.
        """
        headers = {"authorization": f"Bearer {_key(key_file)}"} if key_file else None
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    raise ScrapeFailed("status", f"it answered with status {response.status}")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise ScrapeFailed("garbage", "it compressed its page, which was not asked for")
                return Answer(await self._read(response), response.headers.get("date", ""))
        except aiohttp.ClientConnectorError as error:
            raise ScrapeFailed("connect", f"no connection: {_reason(error.os_error)}") from error
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise ScrapeFailed("connect", f"the connection broke: {error or type(error).__name__}") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise ScrapeFailed("garbage", f"it does not answer in HTTP: {error or type(error).__name__}") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self._max_bytes:
            response.close()
            raise self._too_long()
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > self._max_bytes:
                response.close()
                raise self._too_long()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_long(self) -> ScrapeFailed:
        return ScrapeFailed("size", f"its page is longer than {self._max_bytes} bytes")


def _key(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ScrapeFailed("status", f"its key cannot be read: {error}") from None


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)


async def within(seconds: float, fetch: Fetch) -> Answer:
    """Return what `fetch` returns. Raises ScrapeFailed, also if it takes longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await fetch()
    except TimeoutError:
        raise ScrapeFailed("timeout", f"it did not answer within {seconds:g} s") from None
