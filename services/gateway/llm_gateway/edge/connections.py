"""The HTTP edge: what a connection may cost us before a request of it is a request.

    oversized or too many headers     431
    request that is not HTTP          400
    headers that trickle in           408, closed
    body that trickles in             408, closed (the reading of bodies is in `body`)
    client that does not read         closed
    client that ends its side early   gets its answer (half_close.py)
    Expect: 100-continue              100 only when the body is wanted; any other expectation is 417
    connection that sends nothing     closed after `keepalive_timeout`
    more connections than allowed     503, closed

All answers are OpenAI's error object. aiohttp checks sizes; it has no timeouts but for idle connections, so a handler
notes the time when a request's first byte came and when the client stopped reading, and one sweep over all connections
every quarter of the shortest timeout closes those that are late: nothing is scheduled per request. What a client sent
is never logged; a broken request may hold its key.
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
from llm_gateway.edge import half_close
from llm_gateway.edge.responses import error_response

LINGER_SECONDS = 1.0
"""A client that still sends while it is refused gets this long to read why."""

SWEEPS_PER_TIMEOUT = 4


class EdgeSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_connections: int = Field(10_000, ge=1, description="open client connections; more get 503")
    max_header_bytes: int = Field(8190, ge=256, description="length of one header, or of the request line; else 431")
    max_headers: int = Field(100, ge=8, description="headers of one request; else 431")
    header_timeout: float = Field(10.0, gt=0, description="seconds from a request's first byte to its last header")
    body_timeout: float = Field(60.0, gt=0, description="seconds from a request's headers to the end of its body")
    send_timeout: float = Field(60.0, gt=0, description="seconds that a client may stop reading its answer")
    keepalive_timeout: float = Field(75.0, gt=0, description="seconds that a connection may be idle")


class EdgeHandler(web.RequestHandler):
    """One client connection."""

    __slots__ = ("_answered", "_blocked_since", "_half_closed", "_header_since")

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._header_since: float | None = None
        self._blocked_since: float | None = None
        self._answered = 0
        """Requests whose answer was sent."""
        self._half_closed = False

    def data_received(self, data: bytes) -> None:
        """A chunk that completes no request, when none is being served, is the start of one, or more of it."""
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
        if self.transport is None:
            return
        if self._header_since is not None and now - self._header_since >= settings.header_timeout:
            message = f"the headers did not arrive within {settings.header_timeout:g} s"
            self.transport.write(raw_response(ApiError(ErrorKind.REQUEST_TIMEOUT, message)))
            self.force_close()
        elif self._blocked_since is not None and now - self._blocked_since >= settings.send_timeout:
            self.transport.abort()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio heeds what it returns
        """The client sends no more. If it is owed an answer the connection stays open for that, else it closes."""
        self._half_closed = self._request_count > self._answered
        if self._half_closed:
            half_close.watch(self, lambda: self._current_request)
        return self._half_closed

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send no second head: if another response than `resp` has begun, the connection ends.

        A handler that answers an error after its stream has begun is a defect; the client's HTTP must not pay for it.
        """
        writer = cast(StreamWriter, request.writer)
        if (writer.output_size > 0 or writer.chunked) and not resp.prepared:
            self.logger.error("a second answer to %r was dropped", request.path)
            self.force_close()
            return resp, True
        if isinstance(resp, web.HTTPException):
            resp = error_response(_explain_http(request, resp))
        if not request.content.is_eof() and headers.EXPECT in request.headers:
            resp.force_close()  # a client that was not told to go on does not send the body
        self._answered += 1
        result = await super().finish_response(request, resp, start_time)
        if self._half_closed and not self._messages:
            self.force_close()
        return result

    def log_exception(self, *args: Any, **options: Any) -> None:
        """A body that is not encoded as its headers say is the client's fault, and not worth a line."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """For requests that could not be parsed, and for whatever escapes the application's own error handling."""
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
        return ApiError(ErrorKind.INTERNAL, "the gateway failed; its log says why")


def _explain_http(request: web.BaseRequest, error: web.HTTPException) -> ApiError:
    """For what aiohttp's router refuses by itself: targets that are no path, as of CONNECT and OPTIONS *."""
    if error.status == ErrorKind.METHOD_NOT_ALLOWED.status:
        return ApiError(ErrorKind.METHOD_NOT_ALLOWED, f"{request.method} is not a method of {request.path}")
    if error.status == ErrorKind.EXPECTATION_FAILED.status:
        return ApiError(ErrorKind.EXPECTATION_FAILED, "the only expectation that is met is 100-continue")
    return ApiError(ErrorKind.NOT_FOUND, f"there is no {request.method} {request.path}")


async def expect(request: web.Request) -> None:
    """The routes' handler of Expect: 100 is sent when the body is read, so not before a refusal."""
    if request.version >= HttpVersion11 and request.headers.get(headers.EXPECT, "").lower() != "100-continue":
        raise web.HTTPExpectationFailed


class EdgeServer(web.Server):
    """Makes the handler of each new connection, and sweeps over those there are."""

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
    """aiohttp's runner, with this edge. `access_log` is off: the gateway has metrics."""

    def __init__(self, app: web.Application, settings: EdgeSettings, *, shutdown_timeout: float) -> None:
        super().__init__(app, handler_cancellation=True, access_log=None, shutdown_timeout=shutdown_timeout)
        self._settings = settings

    async def _make_server(self) -> web.Server:
        """aiohttp has no public way to bring one's own handler class."""
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
    """A connection too many: told so at once, and closed when the client has had time to read it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sink = cast(asyncio.Transport, transport)
        message = f"{self._limit} connections are open, which is all there may be"
        sink.write(raw_response(ApiError(ErrorKind.TOO_MANY_CONNECTIONS, message, retry_after=LINGER_SECONDS)))
        sink.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, sink.abort)


def raw_response(error: ApiError) -> bytes:
    """A whole HTTP response, for a connection that has no request to answer."""
    response = error_response(error)
    body = cast(bytes, response.body)
    fields = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [
        f"HTTP/1.1 {error.kind.status} {response.reason}",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
