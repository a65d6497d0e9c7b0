"""From a request's headers and body to its class, and to what it was promised.

The header `x-priority` names the class and wins; the body's `priority`, vLLM's integer, is mapped to the class at that
level; a request with neither gets its tenant's default class, or the gateway's. A tenant that asks for more than its
`most_urgent` class gets that one: the response header `x-priority` tells which class it became.

A request may state its own targets in `x-slo-ttft-ms`, `x-slo-tpot-ms` and `x-deadline-ms`; without them it has its
class's. A closer deadline moves it forward among requests of its own class and tenant only, so nobody gains over
others by asking for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import ClassTable, PriorityClass

MAX_DIGITS = 32
"""A longer number in a header is refused unread."""


class Targets(NamedTuple):
    """Seconds. `deadline` counts from the request's arrival to its last token; None: no deadline."""

    ttft: float
    tpot: float
    deadline: float | None


def classify(
    table: ClassTable,
    request_headers: Mapping[str, str],
    body: dict[str, Any],
    default: PriorityClass | None = None,
    *,
    most_urgent: PriorityClass | None = None,
) -> PriorityClass:
    """Raises ApiError (400) for a class that does not exist and for a `priority` that is no integer."""
    asked = _asked(table, request_headers, body) or default or table.default
    if most_urgent is not None and asked.priority < most_urgent.priority:
        return most_urgent
    return asked


def targets(cls: PriorityClass, request_headers: Mapping[str, str]) -> Targets:
    """Raises ApiError (400) for a header that is no positive number of milliseconds."""
    ttft = _milliseconds(request_headers, headers.SLO_TTFT_MS)
    tpot = _milliseconds(request_headers, headers.SLO_TPOT_MS)
    deadline = _milliseconds(request_headers, headers.DEADLINE_MS)
    return Targets(ttft or cls.ttft_target, tpot or cls.tpot_target, deadline or cls.deadline)


def _asked(table: ClassTable, request_headers: Mapping[str, str], body: dict[str, Any]) -> PriorityClass | None:
    name = request_headers.get(headers.PRIORITY)
    if name is not None:
        return table.named(name.strip().lower())
    priority = body.get("priority")
    if priority is None:
        return None
    if not isinstance(priority, int) or isinstance(priority, bool):
        message = f"priority is an integer, lower is sooner; the header {headers.PRIORITY} takes a class by name"
        raise ApiError(ErrorKind.INVALID_REQUEST, message, param="priority")
    return table.at(priority)


def _milliseconds(request_headers: Mapping[str, str], name: str) -> float | None:
    """The header's value in seconds, None without the header."""
    text = request_headers.get(name)
    if text is None:
        return None
    seconds = _number(text) / 1000
    if not 0 < seconds < float("inf"):
        message = f"{name} is a positive number of milliseconds, not {text[:MAX_DIGITS]!r}"
        raise ApiError(ErrorKind.INVALID_REQUEST, message, param=name)
    return seconds


def _number(text: str) -> float:
    """Not a number for whatever is not plain decimal: Python's float would take `1_000`, and digits of any script."""
    if len(text) > MAX_DIGITS or "_" in text or not text.isascii():
        return float("nan")
    try:
        return float(text)
    except ValueError:
        return float("nan")
