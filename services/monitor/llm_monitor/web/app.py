"""The HTTP application: all handlers under one guard, and one form of error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from llm_monitor.promql import EvaluationError, InvalidExpression
from llm_monitor.web.api import BadData, json_response
from llm_monitor.web.queries import TooManySteps
from llm_monitor.web.security import guard
from llm_monitor.web.traces import MAX_BODY_BYTES


class Part(Protocol):
    """A group of handlers."""

    def add_routes(self, app: web.Application) -> None: ...


def make_app(parts: Sequence[Part], *, host: str, names: Sequence[str], keys: Sequence[str]) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[guard(host, names, keys), _errors])
    for part in parts:
        part.add_routes(app)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> Any:
    try:
        return await handler(request)
    except (BadData, TooManySteps, InvalidExpression, EvaluationError) as error:
        problem = {"status": "error", "errorType": "bad_data", "error": str(error)}
        return json_response(problem, status=400)
