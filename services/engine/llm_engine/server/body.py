"""From the bytes of a request body to a checked model, or a 400 or 413 that says what is wrong."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from llm_contract.errors import ApiError, ErrorKind
from llm_engine.server.errors import from_validation

MAX_BODY_BYTES = 8 * 2**20

B = TypeVar("B", bound=BaseModel)
C = TypeVar("C", bound=BaseModel)


async def read(request: Request, model: type[B]) -> B:
    return _checked(await _read_json(request), model)


async def read_one_of(request: Request, first: type[B], second: type[C], *, by: str) -> B | C:
    """The first model if the body has the field `by`, else the second."""
    value = await _read_json(request)
    return _checked(value, first) if isinstance(value, dict) and by in value else _checked(value, second)


async def _read_json(request: Request) -> Any:
    raw = await _read_bytes(request)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(ErrorKind.INVALID_REQUEST, f"the request body is not JSON: {error}") from None


def _checked(value: Any, model: type[B]) -> B:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise from_validation(error, value) from None


async def _read_bytes(request: Request) -> bytes:
    """All of the body. Too much is read to its end and dropped: a client that still writes would not hear us."""
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
    if size > MAX_BODY_BYTES:
        raise ApiError(
            ErrorKind.BODY_TOO_LARGE, f"the request body has {size} bytes; at most {MAX_BODY_BYTES} are allowed"
        )
    return bytes(body)
