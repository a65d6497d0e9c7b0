"""The request body: read within bounds, parsed once, and sent on as it came unless `priority` has to change."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind


async def read(request: web.Request, limit: int, timeout: float) -> bytes:
    """Raises ApiError: 413 for a body over `limit` bytes, from Content-Length before it is read if that is given; 408
    for one that is not there after `timeout` seconds; 400 for one that is not encoded as its headers say.
    """
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        if request.content.is_eof():
            return await request.read()
        if request.headers.get(headers.EXPECT):
            await _go_on(request)
        async with asyncio.timeout(timeout):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    except TimeoutError:
        raise ApiError(ErrorKind.REQUEST_TIMEOUT, f"the body did not arrive within {timeout:g} s") from None
    except web.RequestPayloadError:
        raise ApiError(ErrorKind.INVALID_REQUEST, "the body is not encoded as its headers say") from None


def parse(raw: bytes) -> dict[str, Any]:
    """Raises ApiError (400) unless `raw` is a JSON object. What the object must hold is for the engine to say."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(ErrorKind.INVALID_REQUEST, f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ApiError(ErrorKind.INVALID_REQUEST, "the body must be a JSON object")
    return body


def for_engine(raw: bytes, body: dict[str, Any], priority: int | None) -> bytes:
    """The body with `priority` set, or without the field if None: an engine without priorities would refuse it."""
    has_priority = "priority" in body
    if priority is None:
        return (
            orjson.dumps({name: value for name, value in body.items() if name != "priority"}) if has_priority else raw
        )
    if has_priority or not body:
        return orjson.dumps({**body, "priority": priority})
    return b'{"priority":%d,' % priority + raw.lstrip()[1:]


async def _go_on(request: web.Request) -> None:
    """The client waits for this before it sends the body; nothing of the answer was sent by it."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


def _too_large(limit: int) -> ApiError:
    return ApiError(ErrorKind.BODY_TOO_LARGE, f"the body is larger than the {limit} bytes allowed")
