"""The class and the latency targets of a request, from its headers and its body.

The header `x-priority` names the class and takes precedence. The body's `priority`, vLLM's integer, selects the class
at that level. A request with neither gets the default class of its tenant, or of the gateway. A tenant that asks for a
class above its `most_urgent` gets that one. The response header `x-priority` states the final class.

A request can set its own targets in `x-slo-ttft-ms`, `x-slo-tpot-ms` and `x-deadline-ms`; otherwise those of its class
apply. A closer deadline moves a request forward only among those of its own class and tenant, so asking for more gains
nothing over other tenants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import ClassTable, PriorityClass

MAX_DIGITS = 32
"""A longer number in a header is refused without parsing."""


class Targets(NamedTuple):
    """Latency targets in seconds. `deadline` is from arrival to the last token; None means no deadline."""

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
    """Return the class of a request. Raise ApiError (400) if it does not exist or `priority` is not an integer."""
    asked = _asked(table, request_headers, body) or default or table.default
    if most_urgent is not None and asked.priority < most_urgent.priority:
        return most_urgent
    return asked


def targets(cls: PriorityClass, request_headers: Mapping[str, str]) -> Targets:
    """Return the targets of a request. Raise ApiError (400) if a header is not a positive number of milliseconds."""
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
        message = (
            f"priority must be an integer, lower is more urgent; the header {headers.PRIORITY} takes a class by name"
        )
        raise ApiError(ErrorKind.INVALID_REQUEST, message, param="priority")
    return table.at(priority)


def _milliseconds(request_headers: Mapping[str, str], name: str) -> float | None:
    """Return the header's value in seconds, None without the header."""
    text = request_headers.get(name)
    if text is None:
        return None
    seconds = _number(text) / 1000
    if not 0 < seconds < float("inf"):
        message = f"{name} must be a positive number of milliseconds, not {text[:MAX_DIGITS]!r}"
        raise ApiError(ErrorKind.INVALID_REQUEST, message, param=name)
    return seconds


def _number(text: str) -> float:
    """Return the number, or NaN if it is not plain decimal. Python's float accepts `1_000` and digits of any script."""
    if len(text) > MAX_DIGITS or "_" in text or not text.isascii():
        return float("nan")
    try:
        return float(text)
    except ValueError:
        return float("nan")
