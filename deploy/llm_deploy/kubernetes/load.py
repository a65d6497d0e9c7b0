"""Steady load on one address, whose every answer is checked: requests at a fixed rate, and long streams.

async with Load(url, key) as load:
    …                                  # restart something
load.summary()                         # failed requests, cut streams, and why

Clients keep their connections open, as real ones do. So a server that leaves must say so on each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from statistics import median
from typing import Any, Self

import aiohttp
import orjson

from llm_contract import sse

RATE = 20.0
STREAMS = 20
STREAM_TOKENS = 1900
"""Close to the shipped model's context of 2,048: about half a minute where two cores serve twenty streams."""
REQUEST_TOKENS = 4
TIMEOUT = aiohttp.ClientTimeout(total=240)
FINISH_SECONDS = 240.0


class Load:
    """`rate` requests a second and `streams` streams, one after the other each, from the block's start to its end."""

    def __init__(
        self, url: str, key: str, *, rate: float = RATE, streams: int = STREAMS, tokens: int = STREAM_TOKENS
    ) -> None:
        self._url = f"{url}/v1/completions"
        self._headers = {"Authorization": f"Bearer {key}"}
        self._rate, self._streams, self._tokens = rate, streams, tokens
        self._stop = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()
        self.requests: list[str] = []
        """Why each request failed; empty if it did not."""
        self.streams: list[str] = []
        self.stream_seconds: list[float] = []
        self.request_seconds: list[float] = []

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=TIMEOUT)
        self._clients = [asyncio.create_task(self._stream_again(number)) for number in range(self._streams)]
        self._clients.append(asyncio.create_task(self._arrive()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send nothing new, and wait for what runs."""
        self._stop.set()
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await asyncio.gather(*self._clients, *self._requests)
        finally:
            await self._session.close()

    def summary(self) -> dict[str, Any]:
        return {
            "requests": len(self.requests),
            "failed": sum(map(bool, self.requests)),
            "streams": len(self.streams),
            "cut": sum(map(bool, self.streams)),
            "why": dict(Counter(filter(None, [*self.requests, *self.streams]))),
            "request_seconds": _spread(self.request_seconds),
            "stream_seconds": _spread(self.stream_seconds),
        }

    async def _arrive(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stop.is_set():
            task = asyncio.create_task(self._request())
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
            due += 1 / self._rate
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _stream_again(self, number: int) -> None:
        await asyncio.sleep(number / self._streams)
        while not self._stop.is_set():
            begun = time.monotonic()
            self.streams.append(await self._ask(f"def stream_{number}(argument):", self._tokens, stream=True))
            self.stream_seconds.append(time.monotonic() - begun)

    async def _request(self) -> None:
        begun = time.monotonic()
        self.requests.append(await self._ask("import os", REQUEST_TOKENS, stream=False))
        self.request_seconds.append(time.monotonic() - begun)

    async def _ask(self, prompt: str, tokens: int, *, stream: bool) -> str:
        """Send one request. Return why its answer is not complete, or ""."""
        limits = {"max_tokens": tokens, "ignore_eos": True, "temperature": 0.0}
        body = {"model": "main", "prompt": prompt, "stream": stream, **limits}
        if stream:
            body["stream_options"] = {"include_usage": True}
        try:
            async with self._session.post(self._url, json=body) as response:
                if response.status != 200:
                    return f"status {response.status}: {(await response.text())[:120]}"
                if stream:
                    return await _read(response, tokens)
                usage = orjson.loads(await response.read())["usage"]
                return _missing(usage, tokens)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}"[:120]


async def _read(response: aiohttp.ClientResponse, tokens: int) -> str:
    decoder, usage = sse.Decoder(), None
    async for chunk in response.content.iter_any():
        for data in decoder.feed(chunk):
            if data == sse.DONE_DATA:
                return _missing(usage, tokens)
            event = orjson.loads(data)
            if "error" in event:
                return f"error event: {event['error']}"[:120]
            usage = event.get("usage") or usage
    return "it ended without [DONE]"


def _missing(usage: dict[str, int] | None, tokens: int) -> str:
    got = usage["completion_tokens"] if usage else None
    return "" if got == tokens else f"{got} tokens where {tokens} were asked"


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {"median": round(median(seconds), 3), "longest": round(max(seconds), 3)}
