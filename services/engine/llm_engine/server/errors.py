"""Every failure becomes OpenAI's error object, whoever raised it: us, the router, the validator or a defect."""

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
    """Return the error event of a stream whose headers are out already."""
    if isinstance(error, EngineDead):
        return ApiError(ErrorKind.ENGINE_FAILED, str(error))
    if isinstance(error, RequestError):
        return from_request_error(error)
    if not isinstance(error, RequestFailed):
        log.error("request %s failed", request_id, exc_info=error)
    return _internal(error, request_id)


def from_request_error(error: Exception) -> ApiError:
    kind = ErrorKind.CONTEXT_LENGTH_EXCEEDED if isinstance(error, ContextLengthError) else ErrorKind.INVALID_REQUEST
    return ApiError(kind, str(error), param=getattr(error, "param", None))


@contextmanager
def fields_named_by(body: EngineRequest) -> Iterator[None]:
    """Errors raised here name the field that the client sent, whatever the engine calls it."""
    try:
        yield
    except RequestError as error:
        error.param = body.field_named(error.param)
        raise


def from_validation(error: ValidationError, value: Any) -> ApiError:
    """Report the problem that lies deepest in the body `value`: a union reports one for each of its members."""
    problems = [(_path(problem, value), problem["msg"]) for problem in error.errors(include_url=False)]
    path, message = max(problems, key=lambda found: len(found[0]))
    if not path:
        return ApiError(ErrorKind.INVALID_REQUEST, "the request body must be a JSON object")
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return ApiError(ErrorKind.INVALID_REQUEST, f"{where}: {message}", param=str(path[0]))


def _path(problem: Mapping[str, Any], value: Any) -> list[str | int]:
    """Return the keys and places that lead to the problem, without pydantic's names for the members of unions."""
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
    return ApiError(ErrorKind.METHOD_NOT_ALLOWED, "the path exists, but not with this method")


def _internal(error: Exception, request_id: str) -> ApiError:
    what = str(error) if isinstance(error, RequestFailed) else type(error).__name__
    return ApiError(
        ErrorKind.INTERNAL, f"request {request_id} failed: {what}; the server's log says more under this id"
    )


def _failed(request: Request, error: Exception) -> JSONResponse:
    failure = _internal(error, request.state.request_id)
    return JSONResponse(failure.body(), failure.kind.status)


def _defect(request: Request, error: Exception) -> JSONResponse:
    """An error that no handler expects. It passes the middleware by, so the id is written here."""
    request_id = request.state.request_id
    log.error("request %s failed", request_id, exc_info=error)
    failure = _internal(error, request_id)
    return JSONResponse(failure.body(), failure.kind.status, {headers.REQUEST_ID: request_id})


def _handler(translate: Callable[[Exception], ApiError]) -> Callable[[Request, Exception], JSONResponse]:
    def handle(request: Request, error: Exception) -> JSONResponse:
        failure = translate(error)
        return JSONResponse(failure.body(), failure.kind.status, failure.headers())

    return handle
