"""Responses that the service makes itself."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import orjson
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_writer import StreamWriter

from llm_contract.errors import ApiError, ErrorKind

CLOSE_AFTER = (ErrorKind.DRAINING, ErrorKind.BODY_TOO_LARGE, ErrorKind.REQUEST_TIMEOUT)
"""Errors after which the connection closes: the service is shutting down, or part of the body is unread."""


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return the error as an OpenAI error object, with Retry-After if the error has one."""
    response = json_response(error.body(), status=error.kind.status, headers={**(headers or {}), **error.headers()})
    if error.kind in CLOSE_AFTER:
        response.force_close()
    return response


class WholeResponse(web.StreamResponse):
    """A response whose head and body are known: both go out in one write.

    aiohttp's own response copies the headers twice and formats them one by one, a sixth of a short request's time in a
    proxy. `fields` are sent as they are, so names and values must be printable. The application's signals can add to
    `headers`. It answers GET and POST.
    """

    def __init__(self, body: bytes, *, status: int, fields: Mapping[str, str]) -> None:
        super().__init__(status=status)
        self.whole = body
        self.fields = fields

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the response. Raise ConnectionResetError if the client is gone."""
        transport, writer = request.transport, cast(StreamWriter, request.writer)
        if self.prepared:
            return None
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        await request._prepare_hook(self)
        data = self._head(request) + self.whole
        transport.write(data)
        writer.output_size += len(data)
        self._eof_sent = True
        await writer.drain()
        return None

    def _head(self, request: web.BaseRequest) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, '')}"]
        lines += [f"{name}: {value}" for fields in (self.fields, self.headers) for name, value in fields.items()]
        lines += [f"content-length: {len(self.whole)}", f"date: {rfc822_formatted_time()}"]
        if not self._keep_alive and request.version == HttpVersion11:
            lines.append("connection: close")
        elif self._keep_alive and request.version == HttpVersion10:
            lines.append("connection: keep-alive")
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


REASONS = {status.value: status.phrase for status in HTTPStatus}
