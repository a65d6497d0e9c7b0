"""ASGI middleware that gives every request an id: the client's `x-request-id`, or a new one. It is returned as well.

It also notes the status of the answer, in `request.state.status`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from llm_contract import headers

MAX_CHARS = 128
"""Longest id. A longer one is replaced, because every event of a stream contains it."""

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

NAME = headers.REQUEST_ID.encode("latin-1")


class RequestId:
    """The request id, in `request.state.request_id` and in the response's headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (NAME, request_id.encode("latin-1"))]
                scope["state"]["status"] = message["status"]
            await send(message)

        await self._app(scope, receive, send_with_id)


def _given(scope: Message) -> str | None:
    value = next((value for name, value in scope["headers"] if name == NAME), b"").decode("latin-1")
    return value if 0 < len(value) <= MAX_CHARS else None
