"""A gateway in the test's own event loop, on a free port, and a client that sees every byte of an answer.

async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
    async with aiohttp.ClientSession() as client: … gateway.url …
    answer = await raw_post(gateway.url, "/v1/completions", {"prompt": "x", "stream": True})
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httptools
import orjson
from aiohttp import web

from llm_gateway.app import Gateway
from llm_gateway.settings import GatewaySettings
from llm_proxy.edge.connections import EdgeRunner

POLL_SECONDS = 0.002
PROBE = b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n"


class RunningGateway:
    """A gateway that serves inside the `async with` block. Keyword arguments are settings."""

    def __init__(self, *engines: str | dict[str, Any], clock: Callable[[], float] = time.monotonic, **settings: Any):
        self._settings = {"port": 0, "probe_interval": 0.02, **settings, "engines": list(engines)}
        self._clock = clock

    async def __aenter__(self) -> Self:
        self.parts = Gateway(GatewaySettings(**self._settings), self._clock)
        self._runner = EdgeRunner(self.parts.app(), self.parts.settings.edge, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def waiting(self) -> int:
        return len(self.parts.queue)

    @property
    def in_flight(self) -> int:
        return sum(engine.in_flight for engine in self.parts.pool.engines)

    async def until(self, condition: Callable[[Self], bool], timeout: float = 30.0) -> None:
        """Wait until `condition(self)` holds."""
        async with asyncio.timeout(timeout):
            while not condition(self):  # noqa: ASYNC110 - the gateway's parts have no event for a test
                await asyncio.sleep(POLL_SECONDS)

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a metric series as a scrape would show it, 0 if it does not exist yet."""
        return self.parts.metrics.value(name, labels)


@dataclass(slots=True)
class RawAnswer:
    """Everything that arrived on a connection in answer to one request."""

    heads: int = 0
    """HTTP heads that arrived before the answer was complete or the connection ended."""
    status: int = 0
    body: bytes = b""
    complete: bool = False
    """The answer ended as HTTP requires."""
    kept: bool = False
    """The connection served another request afterwards."""


async def raw_post(url: str, path: str, body: dict[str, Any] | bytes, timeout: float = 20.0) -> RawAnswer:
    """Send a request on a new connection, and a second request after a complete answer.

    Raise httptools.HttpParserError if the answer is not HTTP, for example if its body holds a second head.
    """
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    try:
        async with asyncio.timeout(timeout):
            writer.write(b"POST %b HTTP/1.1\r\nhost: gateway\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(raw)))
            writer.write(raw)
            answer = await _read_answer(reader)
            if answer.complete:
                writer.write(PROBE)
                answer.kept = (await _read_answer(reader)).status == 200
        return answer
    finally:
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> RawAnswer:
    answer = RawAnswer()
    parser = httptools.HttpResponseParser(_Notes(answer))
    try:
        while not answer.complete and (data := await reader.read(65536)):
            parser.feed_data(data)
            answer.status = parser.get_status_code() if answer.heads else 0
    except ConnectionError:
        pass
    return answer


class _Notes:
    """The callbacks of the HTTP parser."""

    def __init__(self, answer: RawAnswer) -> None:
        self._answer = answer

    def on_message_begin(self) -> None:
        self._answer.heads += 1

    def on_body(self, part: bytes) -> None:
        self._answer.body += part

    def on_message_complete(self) -> None:
        self._answer.complete = True
