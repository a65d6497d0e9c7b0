"""The request body: read within bounds, parsed once, and sent on as it came but for `priority` and `stream_options`."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.request import json_fields


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


def can_ask_for_usage(body: dict[str, Any]) -> bool:
    """Whether the request is for a stream and asks for no usage. A malformed option is for the engine to refuse.

    `continuous_usage_stats` alone is left as it is: engines differ in what they take it to mean.
    """
    options = body.get("stream_options")
    if body.get("stream") is not True or not (options is None or isinstance(options, dict)):
        return False
    return not options or not (options.get("include_usage") or options.get("continuous_usage_stats"))


def for_engine(raw: bytes | None, body: dict[str, Any], priority: int | None, *, ask_usage: bool = False) -> bytes:
    """The body as an engine gets it, with as little change to `raw` as there can be. `raw` is None if there is none.

    `priority` is set, or the field removed if None: an engine without priorities would refuse it. `ask_usage` adds
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
    """The client waits for this before it sends the body; nothing of the answer was sent by it."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


def _too_large(limit: int) -> ApiError:
    return ApiError(ErrorKind.BODY_TOO_LARGE, f"the body is larger than the {limit} bytes allowed")
