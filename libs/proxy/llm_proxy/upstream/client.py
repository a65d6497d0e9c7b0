"""The HTTP client towards the engines, and the meaning of its failures for a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

from llm_contract.errors import ErrorKind
from llm_proxy.upstream.connection import ConnectFailed, ConnectLate, Disconnected, HttpError, Response, Silent, Sink
from llm_proxy.upstream.pool import HttpClient
from llm_proxy.upstream.target import Target

Phase = Literal["connect", "headers", "body", "answer"]
Engine = TypeVar("Engine", bound=Target)


class EngineError(Exception, Generic[Engine]):
    """A failed exchange with an engine. `retryable` says whether another attempt can succeed."""

    def __init__(self, engine: Engine, phase: Phase, kind: ErrorKind, reason: str, *, retryable: bool) -> None:
        super().__init__(f"{engine.shown}: {reason}")
        self.engine = engine
        self.phase = phase
        self.kind = kind
        self.reason = reason
        self.retryable = retryable

    @property
    def late(self) -> bool:
        """Whether no connection was made in time: the engine is gone, or too busy to accept one."""
        return isinstance(self.__cause__, ConnectLate)

    @property
    def refused(self) -> bool:
        """Whether the connection failed at once, as with a closed port or an unknown host."""
        return self.phase == "connect" and not self.late


def ejected(engine: Engine) -> EngineError[Engine]:
    """Return the error for a request whose engine was ejected."""
    return EngineError(engine, "body", ErrorKind.ENGINE_FAILED, engine.reason, retryable=True)


class Upstream:
    """The HTTP client for all engines. The permits bound its connections. Timeouts are in seconds."""

    def __init__(self, connect_timeout: float, silence_timeout: float) -> None:
        self._client = HttpClient(connect_timeout, silence_timeout)

    async def send(
        self, engine: Target, method: str, path: str, headers: Mapping[str, str], *, body: bytes | None = None
    ) -> Response:
        """Send a request. Return the response once its headers have arrived; the caller reads the body and closes it.

        Raise EngineError.
        """
        try:
            target = engine.url(path).raw_path
            return await self._client.send(engine.base, method, target, headers, body=body or b"", tls=engine.tls)
        except HttpError as error:
            raise engine_error(engine, "headers", error) from error

    async def read(self, engine: Target, response: Response) -> bytes:
        """Return the whole body. Raise EngineError."""
        try:
            return await response.read()
        except HttpError as error:
            raise engine_error(engine, "body", error) from error

    async def read_some(self, engine: Target, response: Response) -> bytes:
        """Return the next bytes of the body, at least one; empty at its end. Raise EngineError."""
        try:
            return await response.read_some()
        except HttpError as error:
            raise engine_error(engine, "body", error) from error

    async def pipe(self, engine: Target, response: Response, sink: Sink) -> None:
        """Pass each part of the body to `sink` as it is parsed; see Response.pipe. Raise EngineError."""
        try:
            await response.pipe(sink)
        except HttpError as error:
            raise engine_error(engine, "body", error) from error

    async def health(self, engine: Target, timeout: float) -> int:
        """Return the status of the engine's /health. Raise EngineError."""
        status, _ = await self.fetch(engine, "GET", "/health", timeout)
        return status

    async def fetch(
        self, engine: Target, method: str, path: str, timeout: float, *, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Make a small request of our own, not for a client, and return status and body. Raise EngineError."""
        headers = {"content-type": "application/json"} if body else {}
        if engine.authorization is not None:
            headers["authorization"] = engine.authorization
        try:
            async with asyncio.timeout(timeout):
                target = engine.url(path).raw_path
                response = await self._client.send(
                    engine.base, method, target, headers, body=body or b"", tls=engine.tls
                )
                try:
                    return response.status, await response.read()
                finally:
                    response.close()
        except TimeoutError:
            raise engine_error(engine, "headers", Silent("no answer in time")) from None
        except HttpError as error:
            raise engine_error(engine, "headers", error) from error

    async def close(self) -> None:
        await self._client.close()


def engine_error(engine: Engine, phase: Phase, error: HttpError) -> EngineError[Engine]:
    """Return the EngineError for a failed exchange.

    Two kinds are retryable: no connection, and a connection that broke. A silent engine is not asked again, as that
    would double its load, nor is one that does not speak HTTP.
    """
    if isinstance(error, ConnectFailed):
        return EngineError(engine, "connect", ErrorKind.ENGINE_UNAVAILABLE, str(error), retryable=True)
    reason = str(error) if isinstance(error, Silent | Disconnected) else f"not a valid HTTP response: {error}"
    return EngineError(engine, phase, ErrorKind.ENGINE_FAILED, reason, retryable=isinstance(error, Disconnected))
