"""The bytes of a request body, or a 413."""

from __future__ import annotations

from fastapi import Request

from llm_contract.errors import ApiError, ErrorKind

MAX_BODY_BYTES = 8 * 2**20


async def read(request: Request) -> bytes:
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
