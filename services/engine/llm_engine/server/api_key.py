"""ASGI middleware that requires the server's key, as `Authorization: Bearer <key>`, for requests below /v1.

As in vLLM, all other paths, such as /health, /ready and /metrics, need no key.
"""

from __future__ import annotations

import secrets

from fastapi.responses import JSONResponse

from llm_contract.errors import ApiError, ErrorKind
from llm_engine.server.request_id import ASGIApp, Message, Receive, Send

GUARDED = "/v1/"


class ApiKey:
    """The check of the key, in constant time, so that response times reveal nothing about it."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS" or not _is_guarded(scope) or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        error = ApiError(ErrorKind.UNAUTHORIZED, "an API key is required; send it as `Authorization: Bearer <key>`")
        await JSONResponse(error.body(), error.kind.status, error.headers())(scope, receive, send)

    def _has_key(self, scope: Message) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        return scheme.lower() == b"bearer" and secrets.compare_digest(key.strip(), self._key)


def _is_guarded(scope: Message) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).startswith(GUARDED)
