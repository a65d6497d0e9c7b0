"""The request body: read within limits, parsed once, and sent on unchanged except `priority` and `stream_options`."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.request import json_fields


async def read(request: web.Request, limit: int, timeout: float) -> bytes:
    """Return the body. Raise ApiError: 413 above `limit` bytes, before reading if Content-Length says so; 408 if it has
    not arrived after `timeout` seconds; 400 if it is not encoded as its headers say.
    """
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        if request.content.is_eof():
            raw = request.content.read_nowait()  # aiohttp's own `read` would join it piece by piece
            if len(raw) > limit:
                raise _too_large(limit)
            return raw
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
    """Return the JSON object in `raw`. Raise ApiError (400) if it is none. The engine judges the object's fields."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(ErrorKind.INVALID_REQUEST, f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ApiError(ErrorKind.INVALID_REQUEST, "the body must be a JSON object")
    return body


def can_ask_for_usage(body: dict[str, Any]) -> bool:
    """Return whether the request is for a stream without usage. The engine refuses a malformed option.

    `continuous_usage_stats` alone is left unchanged: engines interpret it differently.
    """
    options = body.get("stream_options")
    if body.get("stream") is not True or not (options is None or isinstance(options, dict)):
        return False
    return not options or not (options.get("include_usage") or options.get("continuous_usage_stats"))


def for_engine(raw: bytes | None, body: dict[str, Any], priority: int | None, *, ask_usage: bool = False) -> bytes:
    """Return the body for an engine, with as few changes to `raw` as possible. Without `raw`, encode `body`.

    Set `priority`, or remove the field if it is None, as an engine without priorities would refuse it. `ask_usage` adds
    `stream_options.include_usage`.
    """
    added: dict[str, Any] = {} if priority is None else {"priority": priority}
    if ask_usage:
        added["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if raw is None:
        kept = {name: value for name, value in body.items() if name != "priority"}
        return orjson.dumps({**kept, **added})
    if not body or "priority" in body or not body.keys().isdisjoint(added):
        return json_fields.edit(raw, {"priority": None} | {name: orjson.dumps(one) for name, one in added.items()})
    return orjson.dumps(added)[:-1] + b"," + raw.lstrip()[1:] if added else raw


async def _go_on(request: web.Request) -> None:
    """Send the interim response that the client awaits before its body. It does not count as part of the answer."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


def _too_large(limit: int) -> ApiError:
    return ApiError(ErrorKind.BODY_TOO_LARGE, f"the body is larger than the {limit} bytes allowed")
