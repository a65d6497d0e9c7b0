"""The routes of the public port and of the admin port."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.edge.connections import expect
from llm_proxy.edge.responses import error_response
from llm_proxy.request.identity import request_id

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Routes = Mapping[tuple[str, str], Handler]
"""(method, path) -> handler."""

log = logging.getLogger(__name__)


def application(routes: Routes, *, max_body_bytes: int) -> web.Application:
    """Return an application that answers every failure with an OpenAI error object."""
    app = web.Application(client_max_size=max_body_bytes)
    for (method, path), handler in routes.items():
        for name in ("GET", "HEAD") if method == "GET" else (method,):
            app.router.add_route(name, path, _answering_errors(handler), expect_handler=expect)
    for path in {path for _, path in routes}:
        app.router.add_route("*", path, _answering_errors(_method_not_allowed), expect_handler=expect)
    app.router.add_route("*", "/{path:.*}", _answering_errors(_not_found), expect_handler=expect)
    return app


def _answering_errors(handler: Handler) -> Handler:
    """Turn a failure into an OpenAI error object. Log the edge's own defects with their stack."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return error_response(error, {headers.REQUEST_ID: request_id(request.headers)})
        except ConnectionError:
            return web.Response(status=ErrorKind.CLIENT_CLOSED.status)  # the client is gone; raising would log an error
        except Exception:
            log.exception("%s %r failed", request.method, request.path)  # %r: a decoded path can hold a line break
            return error_response(ApiError(ErrorKind.INTERNAL, "the router failed; see its log"))

    return answer


async def _method_not_allowed(request: web.Request) -> web.StreamResponse:
    raise ApiError(ErrorKind.METHOD_NOT_ALLOWED, f"{request.path} does not accept {request.method}")


async def _not_found(request: web.Request) -> web.StreamResponse:
    raise ApiError(ErrorKind.NOT_FOUND, f"no such path: {request.path}")
