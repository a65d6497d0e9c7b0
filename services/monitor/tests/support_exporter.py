"""Exporters that do what a test says, well or badly, and a head's samples in a form to compare."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from llm_monitor.collect import Collector
from llm_monitor.series import Matcher, Source


class Exporter:
    """A server that writes raw bytes, so that it can also break HTTP. It serves `body` unless `raw` is set."""

    def __init__(self) -> None:
        self.body = b"x 1\n"
        self.status = b"200 OK"
        self.headers: list[bytes] = []
        self.raw: list[bytes] | None = None
        """Bytes to write instead of an answer."""
        self.endless: bytes | None = None
        """Bytes to write again and again after the headers."""
        self.silent = False
        """Take requests and never answer."""
        self.requests = 0
        self.asked = b""
        """The last request's head."""
        self.written = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while asked := await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                self.asked = asked
                await self._answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            return
        if self.raw is not None:
            writer.writelines(self.raw)
            writer.close()
            return
        length = b"content-length: %d" % len(self.body) if self.endless is None else b"connection: close"
        writer.write(b"\r\n".join([b"HTTP/1.1 " + self.status, length, *self.headers, b"", b""]))
        if self.endless is None:
            writer.write(self.body)
        while self.endless is not None:
            writer.write(self.endless)
            self.written += len(self.endless)
            await writer.drain()
            await asyncio.sleep(0)


async def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  it depends on other processes and on clocks
            await asyncio.sleep(0.01)


@asynccontextmanager
async def exporter() -> AsyncIterator[Exporter]:
    served = Exporter()
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


class Cycles:
    """A collector that runs, and how a test waits for its cycles."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.times: list[float] = []
        self._passed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        collector.on_cycle(self._note)

    async def __aenter__(self) -> Cycles:
        self._task = asyncio.create_task(self.collector.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Wait until the condition holds after a cycle."""
        async with asyncio.timeout(timeout):
            while True:
                self._passed.clear()
                if condition():
                    return
                await self._passed.wait()

    async def more(self, count: int) -> None:
        """Wait for `count` more cycles."""
        wanted = len(self.times) + count
        await self.until(lambda: len(self.times) >= wanted)

    def _note(self, time: float) -> None:
        self.times.append(time)
        self._passed.set()


def samples(source: Source, metric: str, **labels: str) -> list[float | None]:
    """Return the values of the one series that matches, None for each stale marker; [] if there is none."""
    matchers = [Matcher("__name__", "=", metric), *(Matcher(name, "=", value) for name, value in labels.items())]
    found = source.select(matchers, -math.inf, math.inf)
    assert len(found) <= 1, found
    return [None if math.isnan(value) else value for value in found[0].values.tolist()] if found else []
