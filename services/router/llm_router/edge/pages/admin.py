"""The admin API, on its own port, on loopback only: it starts processes and has no key.

    POST /-/deploy    apply a configuration in the format of `serve deploy`
    POST /-/scale     {"model": "main", "replicas": 3}

A web page can make a browser on this machine send requests here. They are refused by their Origin, and by a Host that
is neither an IP address nor localhost: a foreign name can be pointed at this address (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.edge.responses import json_response
from llm_proxy.request import body as request_body
from llm_router.edge.control import Control

MAX_BODY_BYTES = 1024 * 1024
BODY_TIMEOUT = 10.0


class Admin:
    """The handlers of the admin API. Without a control plane they answer 501.

    changed   called after each change
    """

    def __init__(self, control: Control | None, changed: Callable[[], None]) -> None:
        self._control = control
        self._changed = changed

    async def deploy(self, request: web.Request) -> web.Response:
        """Handle POST /-/deploy."""
        control = self._checked(request)
        return await self._answer(control.deploy(await _body(request)))

    async def scale(self, request: web.Request) -> web.Response:
        """Handle POST /-/scale."""
        control, body = self._checked(request), await _body(request)
        model, replicas = body.get("model"), body.get("replicas")
        if not isinstance(model, str):
            raise ApiError(ErrorKind.INVALID_REQUEST, "`model` must be a string", param="model")
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            raise ApiError(ErrorKind.INVALID_REQUEST, "`replicas` must be an integer from 0 on", param="replicas")
        return await self._answer(control.scale(model, replicas))

    async def _answer(self, change: Awaitable[Any]) -> web.Response:
        found = await _call(change)
        self._changed()
        return json_response(found)

    def _checked(self, request: web.Request) -> Control:
        if "origin" in request.headers or not _is_local(request.host):
            raise ApiError(ErrorKind.FORBIDDEN, "the admin API takes requests by IP address, and none from web pages")
        if self._control is None:
            raise ApiError(ErrorKind.NOT_IMPLEMENTED, "this edge runs without a control plane: it can start no engines")
        return self._control


async def _body(request: web.Request) -> dict[str, Any]:
    return request_body.parse(await request_body.read(request, MAX_BODY_BYTES, BODY_TIMEOUT))


async def _call(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except ValueError as error:
        raise ApiError(ErrorKind.INVALID_REQUEST, str(error)) from None
    except ApiError:
        raise
    except Exception as error:
        message = f"the control plane failed: {type(error).__name__}: {error}"
        raise ApiError(ErrorKind.INTERNAL, message) from error


def _is_local(host: str) -> bool:
    """Return whether a Host header is an IP address or localhost, with any port."""
    name = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
