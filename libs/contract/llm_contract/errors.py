"""OpenAI's error object, and the one table from the kind of failure to HTTP status, type and code.

ApiError
├─ kind         what went wrong, an ErrorKind: fixes status, `type` and `code`
├─ message      what was wrong, what is allowed, what to do
├─ param        the request field at fault, if one is
└─ retry_after  seconds until a retry makes sense, sent as Retry-After
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

from pydantic import BaseModel

from llm_contract import headers


class ErrorKind(Enum):
    """(HTTP status, OpenAI `type`, OpenAI `code`); the lower-case member name is the metric label."""

    INVALID_REQUEST = (400, "invalid_request_error", "invalid_request")
    CONTEXT_LENGTH_EXCEEDED = (400, "invalid_request_error", "context_length_exceeded")
    UNAUTHORIZED = (401, "authentication_error", "invalid_api_key")
    FORBIDDEN = (403, "permission_error", "forbidden")
    NOT_FOUND = (404, "invalid_request_error", "not_found")
    MODEL_NOT_FOUND = (404, "invalid_request_error", "model_not_found")
    METHOD_NOT_ALLOWED = (405, "invalid_request_error", "method_not_allowed")
    REQUEST_TIMEOUT = (408, "invalid_request_error", "request_timeout")
    QUEUE_TIMEOUT = (408, "overloaded_error", "queue_timeout")
    CONFLICT = (409, "invalid_request_error", "conflict")
    BODY_TOO_LARGE = (413, "invalid_request_error", "body_too_large")
    EXPECTATION_FAILED = (417, "invalid_request_error", "expectation_failed")
    RATE_LIMITED = (429, "rate_limit_error", "rate_limit_exceeded")
    QUEUE_FULL = (429, "overloaded_error", "queue_full")
    HEADERS_TOO_LARGE = (431, "invalid_request_error", "headers_too_large")
    CLIENT_CLOSED = (499, "client_closed_request", "client_closed_request")
    INTERNAL = (500, "server_error", "internal_error")
    NOT_IMPLEMENTED = (501, "server_error", "not_implemented")
    ENGINE_FAILED = (502, "server_error", "engine_failed")
    ENGINE_UNAVAILABLE = (503, "server_error", "engine_unavailable")
    OVERLOADED = (503, "overloaded_error", "overloaded")
    DRAINING = (503, "server_error", "draining")
    TOO_MANY_CONNECTIONS = (503, "overloaded_error", "too_many_connections")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def type(self) -> str:
        return self.value[1]

    @property
    def code(self) -> str:
        return self.value[2]

    @property
    def label(self) -> str:
        return self.name.lower()


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    """The body of every failed response, and the data of an error event in a stream."""

    error: ErrorDetail


class ApiError(Exception):
    """A failure that the client sees."""

    def __init__(
        self, kind: ErrorKind, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """Return `{"error": {"message", "type", "param", "code"}}`."""
        detail = ErrorDetail(message=self.message, type=self.kind.type, param=self.param, code=self.kind.code)
        return ErrorResponse(error=detail).model_dump()

    def headers(self) -> dict[str, str]:
        if self.retry_after is None:
            return {}
        return {headers.RETRY_AFTER: str(max(1, math.ceil(self.retry_after)))}
