"""Numbers for people, never with more digits than they carry."""

from __future__ import annotations

import math
from datetime import UTC, datetime

MISSING = "–"


def seconds(value: float | None) -> str:
    """`8.4 ms`, `840 ms`, `8.40 s`, `84.0 s`, `840 s`"""
    if value is None:
        return MISSING
    if value < 0.0095:
        return f"{value * 1e3:.1f} ms"
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s" if value < 99.95 else f"{value:.0f} s"


def duration(value: float) -> str:
    """One that somebody chose, as it was written: `500 ms`, `2 s`, `30 s`."""
    return f"{value * 1e3:g} ms" if value < 0.9999 else f"{value:g} s"


def share(value: float | None) -> str:
    """`97%`; `99.5%` near the top, where it matters. Rounded down: what falls short of 99% never shows as it."""
    if value is None:
        return MISSING
    tenths = math.floor(1000 * value + 1e-9)
    return f"{tenths / 10:.1f}%" if 990 <= tenths < 1000 else f"{tenths // 10}%"


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def rate(value: float) -> str:
    return f"{value:.2f}/s" if value < 10 else f"{value:,.0f}/s"


def span(value: float) -> str:
    """`hour`, `day`, `10 minutes`, `90 seconds`"""
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if value >= length and value % length == 0:
            return name if value == length else f"{value / length:.0f} {name}s"
    return "second" if value == 1 else f"{value:.0f} seconds"


def clock(value: float) -> str:
    return datetime.fromtimestamp(value, UTC).strftime("%H:%M")


def date(value: float) -> str:
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
