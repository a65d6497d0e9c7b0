"""Numbers for people: each in the unit that reads best, and never with more digits than a measurement carries."""

from __future__ import annotations

import math
from datetime import UTC, datetime

MISSING = "–"


def seconds(value: float | None) -> str:
    """Format a measured time: `8.4 ms`, `84 ms`, `840 ms`, `8.40 s`, `84.0 s`, `840 s`."""
    if value is None:
        return MISSING
    if value < 0.0095:
        return f"{value * 1e3:.1f} ms"
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s" if value < 99.95 else f"{value:.0f} s"


def duration(value: float) -> str:
    """Format a time that somebody chose, as they wrote it: `500 ms`, `2 s`, `30 s`; axes use it as well."""
    return f"{value * 1e3:g} ms" if 0 < value < 0.9999 else f"{value:g} s"


def share(value: float | None) -> str:
    """Format a fraction: `97%`, and `99.5%` near the top, where it matters.

    Round down, so that a share just below 99% or 100% does not show as 99% or 100%.
    """
    if value is None:
        return MISSING
    tenths = math.floor(1000 * value + 1e-9)
    return f"{tenths / 10:.1f}%" if 990 <= tenths < 1000 else f"{tenths // 10}%"


def count(value: float | None) -> str:
    """Format a whole number: `130,112`."""
    return MISSING if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Format a rate without its unit: `0.42`, `4.20`, `42.0`, `1,026`."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    """Format a ratio: `0.042×`, `0.42×`, `4.20×`, `42×`."""
    if value is None:
        return MISSING
    return f"{value:.3f}×" if value < 0.1 else f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def size(value: float | None) -> str:
    """Format bytes in decimal units: `840 B`, `8.40 kB`, `84.0 MB`, `840 GB`."""
    if value is None:
        return MISSING
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} B" if unit == "B" else f"{_three(value)} {unit}"
        value /= 1000
    return f"{_three(value)} TB"


def change(value: float | None) -> str:
    """Format a relative change: `+0.42%`, `-4.2%`, `+42%`, `+420%`."""
    if value is None:
        return MISSING
    percent = 100 * value
    digits = 2 if abs(percent) < 0.995 else 1 if abs(percent) < 9.95 else 0
    return f"{round(percent, digits) + 0.0:+.{digits}f}%"  # + 0.0: no -0


def span(value: float) -> str:
    """Name a length of time in seconds: `hour`, `day`, `10 minutes`, `90 seconds`."""
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if value >= length and value % length == 0:
            return name if value == length else f"{value / length:.0f} {name}s"
    return "second" if value == 1 else f"{value:.0f} seconds"


def clock(value: float) -> str:
    """Format seconds since 1970 as the time of day in UTC: `14:05`."""
    return datetime.fromtimestamp(value, UTC).strftime("%H:%M")


def date(value: float) -> str:
    """Format seconds since 1970 as date and time in UTC."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _three(value: float) -> str:
    """Return the value with three digits."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"
