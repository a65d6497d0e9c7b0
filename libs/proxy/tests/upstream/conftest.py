"""Helpers for the tests in this folder, as fixtures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from llm_proxy.upstream.pool import HttpClient

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a socket's end has no event here
            await asyncio.sleep(0.001)


class Server:
    """A server that runs `answer` for each request, counts connections and keeps the requests."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.connections = 0
        self.ended = 0
        self.requests: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            writer.close()


@asynccontextmanager
async def serving(answer: Answer | bytes, silence: float = 30.0) -> AsyncIterator[tuple[Server, HttpClient, URL]]:
    async def write(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(answer, bytes)
        writer.write(answer)

    server = Server(write if isinstance(answer, bytes) else answer)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    client = HttpClient(connect_timeout=30.0, silence_timeout=silence)
    try:
        yield server, client, URL(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    finally:
        await client.close()
        listener.close()
        await until(lambda: server.ended == server.connections)


@pytest.fixture(name="serving", scope="session")
def _serving_fixture() -> Any:
    return serving
