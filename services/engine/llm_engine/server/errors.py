"""Every failure becomes OpenAI's error object, whoever raised it: us, the router, the validator or a defect."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from llm_contract.errors import ApiError, ErrorKind
from llm_engine.errors import ContextLengthError, EngineDead, RequestError

log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    handlers: dict[type[Exception] | int, Callable[[Exception], ApiError]] = {
        ApiError: _as_is,
        RequestError: from_request_error,
        EngineDead: _from_engine_dead,
        404: _no_route,
        405: _no_method,
        Exception: _from_defect,
    }
    for kind, translate in handlers.items():
        app.add_exception_handler(kind, _handler(translate))


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


def _from_defect(error: Exception) -> ApiError:
    log.error("request failed", exc_info=error)
    return ApiError(ErrorKind.INTERNAL, f"internal error: {type(error).__name__}")


def _handler(translate: Callable[[Exception], ApiError]) -> Callable[[Request, Exception], JSONResponse]:
    def handle(request: Request, error: Exception) -> JSONResponse:
        failure = translate(error)
        return JSONResponse(failure.body(), failure.kind.status, failure.headers())

    return handle
