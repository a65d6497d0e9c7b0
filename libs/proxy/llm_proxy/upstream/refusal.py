"""Answers that are errors: a 5xx, a 429, a redirect, or an error object inside a 200, streamed or not.

Another engine might serve the request, so such an answer is raised as an exception. It holds the engine's answer, which
the client gets if no other engine can serve the request. A refusal that is the client's fault is passed on at once.
"""

from __future__ import annotations

from typing import Any

import orjson

from llm_contract.errors import ErrorKind
from llm_contract.headers import RETRY_AFTER
from llm_contract.sse import error_of
from llm_proxy.stream.filter import StreamFilter
from llm_proxy.upstream.client import Engine, EngineError
from llm_proxy.upstream.connection import Response

TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
OVERLOADED = (TOO_MANY_REQUESTS, UNAVAILABLE)
LONGEST_REST = 30.0
"""Upper bound on a Retry-After, in seconds."""
_STATUS_OF_CODE = {kind.code: kind.status for kind in ErrorKind}
_STATUS_OF_TYPE = {"invalid_request_error": 400, "BadRequestError": 400, "NotFoundError": 404, "rate_limit_error": 429}


class Refusal(EngineError[Engine]):
    """An answer that refuses the request. `status` is the meaning of the error; inside a 200 its object states it."""

    def __init__(self, engine: Engine, source: Response, body: bytes, status: int, *, reason: str) -> None:
        client_fault = 400 <= status < 500 and status != TOO_MANY_REQUESTS
        super().__init__(engine, "answer", ErrorKind.ENGINE_FAILED, reason, retryable=not client_fault)
        self.source = source
        """The response with status and headers. Its body has been read."""
        self.body = body
        self.status = status
        self.client_fault = client_fault

    @property
    def rest(self) -> float | None:
        """Seconds that an overloaded engine asks to rest; None if it does not ask."""
        after = self.source.headers.get(RETRY_AFTER, "").strip()
        if self.status not in OVERLOADED or not (after.isascii() and after.isdigit() and len(after) < 10):
            return None
        return min(float(after), LONGEST_REST)


def refusal(engine: Engine, source: Response, body: bytes) -> Refusal[Engine] | None:
    """Return the refusal in a whole answer. Return None if it serves the request or is the engine's own 4xx."""
    status = source.status
    if status >= 500 or status == TOO_MANY_REQUESTS or 300 <= status < 400:
        return Refusal(engine, source, body, status, reason=f"answered {status}")
    if status >= 300 or b'"error"' not in body:
        return None
    error = _error_in(body)
    return (
        None
        if error is None
        else Refusal(engine, source, body, error_status(error), reason=f"an error: {_message(error)}")
    )


def stream_failure(engine: Engine, source: Response, events: StreamFilter) -> EngineError[Engine] | None:
    """Return the reason why a stream is incomplete, None if it is complete."""
    if events.is_open:
        reason = "the stream ended before it was complete"
        return EngineError(engine, "body", ErrorKind.ENGINE_FAILED, reason, retryable=True)
    if events.state.error is None:
        return None
    if not events.error_event:
        reason = f"not an OpenAI stream: {events.state.error}"
        return EngineError(engine, "body", ErrorKind.ENGINE_FAILED, reason, retryable=True)
    return Refusal(
        engine, source, events.error_event, error_status(events.error), reason=f"an error: {events.state.error}"
    )


def error_status(error: Any) -> int:
    """Return the HTTP status that an error object stands for, 500 if it does not say."""
    if not isinstance(error, dict):
        return 500
    code = error.get("code")
    if isinstance(code, str) and code in _STATUS_OF_CODE:
        return _STATUS_OF_CODE[code]
    if isinstance(code, int) and 400 <= code < 600:
        return code
    kind = error.get("type")
    return _STATUS_OF_TYPE.get(kind, 500) if isinstance(kind, str) else 500


def _error_in(body: bytes) -> Any:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return error_of(payload) if isinstance(payload, dict) else None


def _message(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return str(message)[:200]
