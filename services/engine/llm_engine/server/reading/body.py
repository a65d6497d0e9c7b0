"""The bytes of a request body, within a size limit."""

from __future__ import annotations

from fastapi import Request

from llm_contract.errors import ApiError, ErrorKind

MAX_BODY_BYTES = 8 * 2**20
"""Largest request body."""


async def read(request: Request) -> bytes:
    """Return the body. ApiError (413) if it is too large.

    A body that is too large is still read to its end, because a client does not read the answer while it writes.
    """
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
