from __future__ import annotations

import pytest

from llm_contract.errors import ApiError, ErrorKind

TABLE = {
    "invalid_request": (400, "invalid_request_error", "invalid_request"),
    "context_length_exceeded": (400, "invalid_request_error", "context_length_exceeded"),
    "unauthorized": (401, "authentication_error", "invalid_api_key"),
    "forbidden": (403, "permission_error", "forbidden"),
    "not_found": (404, "invalid_request_error", "not_found"),
    "model_not_found": (404, "invalid_request_error", "model_not_found"),
    "method_not_allowed": (405, "invalid_request_error", "method_not_allowed"),
    "request_timeout": (408, "invalid_request_error", "request_timeout"),
    "queue_timeout": (408, "overloaded_error", "queue_timeout"),
    "conflict": (409, "invalid_request_error", "conflict"),
    "body_too_large": (413, "invalid_request_error", "body_too_large"),
    "rate_limited": (429, "rate_limit_error", "rate_limit_exceeded"),
    "expectation_failed": (417, "invalid_request_error", "expectation_failed"),
    "queue_full": (429, "overloaded_error", "queue_full"),
    "headers_too_large": (431, "invalid_request_error", "headers_too_large"),
    "client_closed": (499, "client_closed_request", "client_closed_request"),
    "internal": (500, "server_error", "internal_error"),
    "not_implemented": (501, "server_error", "not_implemented"),
    "engine_failed": (502, "server_error", "engine_failed"),
    "engine_unavailable": (503, "server_error", "engine_unavailable"),
    "overloaded": (503, "overloaded_error", "overloaded"),
    "draining": (503, "server_error", "draining"),
    "too_many_connections": (503, "overloaded_error", "too_many_connections"),
}


def test_the_table_is_what_clients_and_dashboards_rely_on() -> None:
    assert {kind.label: (kind.status, kind.type, kind.code) for kind in ErrorKind} == TABLE


def test_codes_tell_kinds_apart() -> None:
    assert len({kind.code for kind in ErrorKind}) == len(ErrorKind)


def test_the_body_is_openais_error_object() -> None:
    error = ApiError(ErrorKind.MODEL_NOT_FOUND, "no such model", param="model")
    assert error.body() == {
        "error": {
            "message": "no such model",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    assert error.headers() == {}


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2"), (59.5, "60")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, header: str) -> None:
    assert ApiError(ErrorKind.QUEUE_FULL, "full", retry_after=seconds).headers() == {"retry-after": header}
