"""Responses that the service makes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

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
