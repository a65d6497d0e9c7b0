"""Routes of an application that answers every failure with an OpenAI error object."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from llm_contract import headers, logs
from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.edge.connections import expect
from llm_proxy.edge.responses import error_response
from llm_proxy.request.identity import request_id

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Routes = Mapping[tuple[str, str], Handler]
"""(method, path) -> handler. HEAD works wherever GET does."""

log = logging.getLogger(__name__)


def answering_errors(handler: Handler) -> Handler:
    """Turn a failure into an OpenAI error object. Log the service's own defects with their stack.

    A connection's requests run in one task, so the ids of the request, for the log, end here.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return error_response(error, {headers.REQUEST_ID: request_id(request.headers)})
        except ConnectionError:
            return web.Response(status=ErrorKind.CLIENT_CLOSED.status)  # the client is gone; raising would log an error
        except Exception:
            if not logs.concerned():
                logs.concern(request.headers.get(headers.REQUEST_ID), headers.trace_id(request.headers))
            log.exception("%s %r failed", request.method, request.path)  # %r: a decoded path can hold a line break
            return error_response(ApiError(ErrorKind.INTERNAL, "the server failed; see its log"))
        finally:
            logs.concern_nothing()

    return answer


def add_routes(app: web.Application, routes: Routes, *, method_not_allowed: Handler | None = None) -> None:
    """Add the routes. Another method on one of their paths goes to `method_not_allowed`; any other path gets 404."""
    for (method, path), handler in routes.items():
        for name in ("GET", "HEAD") if method == "GET" else (method,):
            app.router.add_route(name, path, answering_errors(handler), expect_handler=expect)
    for path in {path for _, path in routes}:
        app.router.add_route("*", path, answering_errors(method_not_allowed or refuse_method), expect_handler=expect)
    app.router.add_route("*", "/{path:.*}", answering_errors(_not_found), expect_handler=expect)


async def refuse_method(request: web.Request) -> web.StreamResponse:
    raise ApiError(ErrorKind.METHOD_NOT_ALLOWED, f"{request.path} does not accept {request.method}")


async def _not_found(request: web.Request) -> web.StreamResponse:
    raise ApiError(ErrorKind.NOT_FOUND, f"no such path: {request.path}")
