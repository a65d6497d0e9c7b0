"""Logs on stderr: lines of text, or JSON lines that carry the ids of the request that they concern.

    logs.configure("llm-gateway", "json")
    logs.concern(request_id, trace_id)                     # lines from here on, in this task
    log.error("failed", extra=logs.ids(name, trace_id))    # one line, in another thread

    {"time": "2026-01-31T12:00:00.123Z", "level": "ERROR", "service": "llm-gateway", "logger": "llm_gateway.app",
     "message": "failed", "request_id": "6f1c…", "trace_id": "0af7…", "exception": "…"}

The text of an exception can quote the request: a validation error repeats its input. So a line that concerns a request
has the exception's type and stack without its text. All other lines have both.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, NamedTuple

LogFormat = Literal["text", "json"]
LOG_FORMAT_HELP = "text, or json: one JSON object per line, with the request's trace id"
AccessLines = Literal["off", "errors", "all"]
ACCESS_LOG_HELP = "requests that get a line in the log; errors: those with status 499 and above, or cut off"

CUT_OFF = 499
"""Least status that `errors` logs: the client closed the connection, or the service failed."""

access = logging.getLogger("llm.access")
starts = logging.getLogger("llm.start")


class RequestIds(NamedTuple):
    """The ids of one request; None if it has none."""

    request_id: str | None
    trace_id: str | None


_concerned: ContextVar[RequestIds | None] = ContextVar("request", default=None)


def concern(request_id: str | None, trace_id: str | None) -> None:
    """Let the lines of the running task, and of tasks that it starts, carry these ids."""
    _concerned.set(RequestIds(request_id, trace_id))


def concerned() -> bool:
    """Return whether the lines of the running task carry ids."""
    return _concerned.get() is not None


def concern_nothing() -> None:
    """End what `concern` began, in a task that outlives its request."""
    _concerned.set(None)


def ids(request_id: str | None, trace_id: str | None) -> dict[str, str | None]:
    """Return the `extra` of one line about a request."""
    return {"request_id": request_id, "trace_id": trace_id}


def request_ended(lines: AccessLines, request: str, *, status: int, outcome: str, seconds: float) -> None:
    """Log a request that has ended, if `lines` asks for it. `request` is its method and path, without a query."""
    broke = status < 400 and outcome != "ok"
    if lines == "all" or (lines == "errors" and (status >= CUT_OFF or broke)):
        fields = {"request": request, "status": status, "outcome": outcome, "seconds": round(seconds, 6)}
        access.info("%s %d %s %.3f s", request, status, outcome, seconds, extra={"fields": fields})


def announce(line: str) -> None:
    """Show a line that people and programs wait for at the start, such as an address."""
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        starts.info(line)
    else:
        print(line, file=sys.stderr, flush=True)


def configure(service: str, log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send all logs of this process to stderr. Lines about requests and the start appear whatever the level is."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(service) if log_format == "json" else TextLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for logger in (access, starts):
        logger.setLevel(logging.INFO)
    if log_format == "json":
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught


class TextLines(logging.Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        found = _ids_of(record)
        names = "".join(f" {name}={value}" for name, value in found.items())
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}{names}"
        stack = _exception(record, quotes=not found)
        return line if stack is None else f"{line}\n{stack}"


class JsonLines(logging.Formatter):
    """One JSON object per line. `service` names the program."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        found = _ids_of(record)
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
            **found,
        }
        stack = _exception(record, quotes=not found)
        if stack is not None:
            line["exception"] = stack
        return json.dumps(line, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    """Return the time as RFC 3339 has it, in UTC, with milliseconds."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ids_of(record: logging.LogRecord) -> dict[str, str]:
    """Return the ids that the line was given, else those of the task's request, without those that are missing."""
    given = getattr(record, "request_id", None), getattr(record, "trace_id", None)
    found = RequestIds(*given) if any(given) else (_concerned.get() or RequestIds(None, None))
    return {name: value for name, value in found._asdict().items() if value}


def _exception(record: logging.LogRecord, *, quotes: bool) -> str | None:
    """Return the record's exception with its causes and stack, the first cause first; None if it has none."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return None
    if quotes:
        return "".join(traceback.format_exception(error)).rstrip()
    shown = [f"{''.join(traceback.format_tb(each.__traceback__))}{_name(each)}" for each in _causes(error)]
    return "\n\n".join(reversed(shown))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _log_uncaught(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, stack)
    else:
        logging.getLogger(__name__).critical("the program ends", exc_info=error)
