"""The HTTP edge: limits on what a client connection can cost before it has sent a whole request.

    oversized or too many headers     431
    request that is not HTTP          400
    headers that trickle in           408, closed
    body that trickles in             408, closed (request/body.py)
    client that does not read         closed
    client that ends its side early   still gets its answer (half_close.py)
    Expect: 100-continue              100 only when the body is wanted; any other expectation gets 417
    connection that sends nothing     closed after `keepalive_timeout`
    more connections than allowed     503, closed

All answers are OpenAI error objects. aiohttp checks sizes but has timeouts for idle connections only. So a handler
notes when a request's first byte arrived and when the client stopped reading. One sweep over all connections, every
quarter of the shortest timeout, closes those that are late: a request needs no timer of its own. The log never repeats
what a client sent, as a broken request can hold its key.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import LineTooLong
from pydantic import BaseModel, ConfigDict, Field

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.edge import half_close
from llm_proxy.edge.responses import error_response

LINGER_SECONDS = 1.0
"""Time that a refused client gets to read the reason, while it may still be sending."""

SWEEPS_PER_TIMEOUT = 4


class EdgeSettings(BaseModel):
    """Limits on client connections."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_connections: int = Field(10_000, ge=1, description="open client connections; more get 503")
    max_header_bytes: int = Field(8190, ge=256, description="bytes of one header or of the request line; more gets 431")
    max_headers: int = Field(100, ge=8, description="headers of one request; more get 431")
    header_timeout: float = Field(10.0, gt=0, description="seconds from a request's first byte to its last header")
    body_timeout: float = Field(60.0, gt=0, description="seconds from a request's headers to the end of its body")
    send_timeout: float = Field(60.0, gt=0, description="seconds that a client can stop reading its answer")
    keepalive_timeout: float = Field(75.0, gt=0, description="seconds that a connection can be idle")


class EdgeHandler(web.RequestHandler):
    """One client connection."""

    __slots__ = ("_answered", "_blocked_since", "_half_closed", "_header_since")

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._header_since: float | None = None
        self._blocked_since: float | None = None
        self._answered = 0
        """Number of requests that were answered."""
        self._half_closed = False

    def data_received(self, data: bytes) -> None:
        """Parse the data. If it completes no request and none is being served, a request's headers are arriving."""
        seen = self._request_count
        super().data_received(data)
        if self._request_count != seen:
            self._header_since = None
        elif self._header_since is None and self._waiter is not None and not self._waiter.done():
            self._header_since = self._loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._blocked_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._blocked_since = None

    def close_if_late(self, now: float, settings: EdgeSettings) -> None:
        """Close the connection if its headers are overdue or the client has stopped reading for too long."""
        if self.transport is None:
            return
        if self._header_since is not None and now - self._header_since >= settings.header_timeout:
            message = f"the headers did not arrive within {settings.header_timeout:g} s"
            self.transport.write(raw_response(ApiError(ErrorKind.REQUEST_TIMEOUT, message)))
            self.force_close()
        elif self._blocked_since is not None and now - self._blocked_since >= settings.send_timeout:
            self.transport.abort()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio heeds what it returns
        """Note that the client has ended its side. Keep the connection open only if an answer is still due."""
        self._half_closed = self._request_count > self._answered
        if self._half_closed:
            half_close.watch(self, lambda: self._current_request)
        return self._half_closed

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response, or end the connection if another response has begun already.

        A handler that answers an error after its stream has begun has a defect. The client must not get a second head.
        """
        writer = cast(StreamWriter, request.writer)
        if (writer.output_size > 0 or writer.chunked) and not resp.prepared:
            self.logger.error("a second answer to %r was dropped", request.path)
            self.force_close()
            return resp, True
        if isinstance(resp, web.HTTPException):
            resp = error_response(_explain_http(request, resp))
        if not request.content.is_eof() and headers.EXPECT in request.headers:
            resp.force_close()  # without a 100 the client does not send the body
        self._answered += 1
        result = await super().finish_response(request, resp, start_time)
        if self._half_closed and not self._messages:
            self.force_close()
        return result

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log an exception, unless it is a badly encoded body: that is the client's fault."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a request that could not be parsed, or an exception that the application did not handle."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        response = error_response(self._explain(status, exc))
        response.force_close()
        return response

    def _explain(self, status: int, exc: BaseException | None) -> ApiError:
        reason = str(exc or "")
        if isinstance(exc, LineTooLong):
            limit = self.max_field_size
            return ApiError(ErrorKind.HEADERS_TOO_LARGE, f"a header or the request line is longer than {limit} bytes")
        if "Too many headers" in reason:
            return ApiError(ErrorKind.HEADERS_TOO_LARGE, f"there are more than {self.max_headers} headers")
        if status < 500:
            return ApiError(ErrorKind.INVALID_REQUEST, "this is not a valid HTTP request")
        self.logger.error("a request failed: %s", type(exc).__name__)
        return ApiError(ErrorKind.INTERNAL, "the server failed; see its log")


def _explain_http(request: web.BaseRequest, error: web.HTTPException) -> ApiError:
    """Return the error for a request that aiohttp's router refuses, such as CONNECT and OPTIONS *."""
    if error.status == ErrorKind.METHOD_NOT_ALLOWED.status:
        return ApiError(ErrorKind.METHOD_NOT_ALLOWED, f"{request.path} does not accept {request.method}")
    if error.status == ErrorKind.EXPECTATION_FAILED.status:
        return ApiError(ErrorKind.EXPECTATION_FAILED, "the only supported expectation is 100-continue")
    return ApiError(ErrorKind.NOT_FOUND, f"no such endpoint: {request.method} {request.path}")


async def expect(request: web.Request) -> None:
    """Check the Expect header of a route. The 100 is sent later, when the body is read, so not before a refusal."""
    if request.version >= HttpVersion11 and request.headers.get(headers.EXPECT, "").lower() != "100-continue":
        raise web.HTTPExpectationFailed


class EdgeServer(web.Server):
    """Creates a handler for each new connection and sweeps over the open ones."""

    def __init__(self, server: web.Server, settings: EdgeSettings, **options: Any) -> None:
        handler, factory = server.request_handler, server.request_factory
        super().__init__(handler, request_factory=factory, handler_cancellation=server.handler_cancellation)
        self._settings = settings
        self._options = options
        self._sweeper: asyncio.TimerHandle | None = None
        self._interval = min(settings.header_timeout, settings.send_timeout) / SWEEPS_PER_TIMEOUT
        self._sweep()

    def __call__(self) -> web.RequestHandler:
        if len(self._connections) >= self._settings.max_connections:
            return cast(web.RequestHandler, Refused(self._settings.max_connections))
        return EdgeHandler(self, loop=self._loop, **self._options)

    async def shutdown(self, timeout: float | None = None) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        await super().shutdown(timeout)

    def _sweep(self) -> None:
        now = self._loop.time()
        for handler in self.connections:
            cast(EdgeHandler, handler).close_if_late(now, self._settings)
        self._sweeper = self._loop.call_later(self._interval, self._sweep)


class EdgeRunner(web.AppRunner):
    """aiohttp's runner with this edge. The access log is off, as the services have metrics."""

    def __init__(self, app: web.Application, settings: EdgeSettings, *, shutdown_timeout: float) -> None:
        super().__init__(app, handler_cancellation=True, access_log=None, shutdown_timeout=shutdown_timeout)
        self._settings = settings

    async def _make_server(self) -> web.Server:
        """Override a private method: aiohttp has no public way to set the handler class."""
        settings = self._settings
        return EdgeServer(
            await super()._make_server(),
            settings,
            access_log=None,
            keepalive_timeout=settings.keepalive_timeout,
            max_line_size=settings.max_header_bytes,
            max_field_size=settings.max_header_bytes,
            max_headers=settings.max_headers,
            lingering_time=LINGER_SECONDS,
        )


class Refused(asyncio.Protocol):
    """A connection above the limit. It gets a 503 at once and is closed when the client has had time to read it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sink = cast(asyncio.Transport, transport)
        message = f"all {self._limit} connections are in use; retry later"
        sink.write(raw_response(ApiError(ErrorKind.TOO_MANY_CONNECTIONS, message, retry_after=LINGER_SECONDS)))
        sink.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, sink.abort)


def raw_response(error: ApiError) -> bytes:
    """Return a whole HTTP response as bytes, for a connection that has no request to answer."""
    response = error_response(error)
    body = cast(bytes, response.body)
    fields = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [
        f"HTTP/1.1 {error.kind.status} {response.reason}",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
