"""Error handling: every failure becomes OpenAI's error object, from refused requests to defects of the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_engine.errors import ContextLengthError, EngineDead, RequestError, RequestFailed
from llm_engine.server.reading.requests import EngineRequest

log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Add the error handlers to the application."""
    handlers: dict[type[Exception] | int, Callable[[Exception], ApiError]] = {
        ApiError: _as_is,
        RequestError: from_request_error,
        EngineDead: _from_engine_dead,
        404: _no_route,
        405: _no_method,
    }
    for kind, translate in handlers.items():
        app.add_exception_handler(kind, _handler(translate))
    app.add_exception_handler(RequestFailed, _failed)
    app.add_exception_handler(Exception, _defect)


def mid_stream(error: Exception, request_id: str) -> ApiError:
    """Return the error event for a stream whose headers are already sent."""
    if isinstance(error, EngineDead):
        return ApiError(ErrorKind.ENGINE_FAILED, str(error))
    if isinstance(error, RequestError):
        return from_request_error(error)
    if not isinstance(error, RequestFailed):
        log.error("request %s failed", request_id, exc_info=error)
    return _internal(error, request_id)


def from_request_error(error: Exception) -> ApiError:
    """Return the response for a request that the engine refuses."""
    kind = ErrorKind.CONTEXT_LENGTH_EXCEEDED if isinstance(error, ContextLengthError) else ErrorKind.INVALID_REQUEST
    return ApiError(kind, str(error), param=getattr(error, "param", None))


@contextmanager
def fields_named_by(body: EngineRequest) -> Iterator[None]:
    """Rename the field at fault in errors raised here, from the engine's name to the one that the client sent."""
    try:
        yield
    except RequestError as error:
        error.param = body.field_named(error.param)
        raise


def from_validation(error: ValidationError, value: Any) -> ApiError:
    """Return the deepest problem in the body `value`. Pydantic reports one problem for each member of a union."""
    problems = [(_path(problem, value), problem["msg"]) for problem in error.errors(include_url=False)]
    path, message = max(problems, key=lambda found: len(found[0]))
    if not path:
        return ApiError(ErrorKind.INVALID_REQUEST, "the request body must be a JSON object")
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return ApiError(ErrorKind.INVALID_REQUEST, f"{where}: {message}", param=str(path[0]))


def _path(problem: Mapping[str, Any], value: Any) -> list[str | int]:
    """Return the keys and indices that lead to the problem, without pydantic's names for members of unions."""
    path: list[str | int] = []
    for part in problem["loc"]:
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if in_list or (isinstance(value, dict) and part in value):
            value = value[part]
        elif problem["type"] != "missing" or part != problem["loc"][-1]:
            continue
        path.append(part)
    return path


def _as_is(error: Exception) -> ApiError:
    assert isinstance(error, ApiError)
    return error


def _from_engine_dead(error: Exception) -> ApiError:
    return ApiError(ErrorKind.ENGINE_UNAVAILABLE, str(error))


def _no_route(error: Exception) -> ApiError:
    return ApiError(ErrorKind.NOT_FOUND, "there is no such path")


def _no_method(error: Exception) -> ApiError:
    return ApiError(ErrorKind.METHOD_NOT_ALLOWED, "this path does not support this method")


def _internal(error: Exception, request_id: str) -> ApiError:
    what = str(error) if isinstance(error, RequestFailed) else type(error).__name__
    return ApiError(ErrorKind.INTERNAL, f"request {request_id} failed: {what}; the server's log has more under this id")


def _failed(request: Request, error: Exception) -> JSONResponse:
    failure = _internal(error, request.state.request_id)
    request.state.outcome = failure.kind.label
    return JSONResponse(failure.body(), failure.kind.status)


def _defect(request: Request, error: Exception) -> JSONResponse:
    """Answer an unexpected error. This response bypasses the middleware, so the request id is added here."""
    request_id = request.state.request_id
    log.error("request %s failed", request_id, exc_info=error)
    failure = _internal(error, request_id)
    return JSONResponse(failure.body(), failure.kind.status, {headers.REQUEST_ID: request_id})


def _handler(translate: Callable[[Exception], ApiError]) -> Callable[[Request, Exception], JSONResponse]:
    def handle(request: Request, error: Exception) -> JSONResponse:
        failure = translate(error)
        request.state.outcome = failure.kind.label
        return JSONResponse(failure.body(), failure.kind.status, failure.headers())

    return handle
