"""Every failure becomes OpenAI's error object, whoever raised it: us, the router, the validator or a defect."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_engine.errors import ContextLengthError, EngineDead, RequestError, RequestFailed

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
    """The error event of a stream whose headers are out already."""
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


def from_validation(error: ValidationError) -> ApiError:
    """The first problem only: a union reports one per member, and the first is the most to the point."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = f"{where}: {problem['msg']}" if where else problem["msg"]
    return ApiError(ErrorKind.INVALID_REQUEST, message, param=str(problem["loc"][0]) if problem["loc"] else None)


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
