"""Numbers for people: milliseconds and seconds where each reads best, never more digits than the measurement has."""

from __future__ import annotations

from llm_bench.report.compare import Unit

MISSING = "–"


def seconds(value: float | None) -> str:
    """`8.4 ms`, `84 ms`, `840 ms`, `8.40 s`, `84.0 s`"""
    if value is None:
        return MISSING
    if value < 0.0095:
        return f"{value * 1e3:.1f} ms"
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"


def share(value: float | None) -> str:
    """`97%`; `99.5%` near the top, where it matters"""
    if value is None:
        return MISSING
    percent = 100 * value
    return f"{percent:.1f}%" if 99 <= percent < 100 else f"{percent:.0f}%"


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """`0.42`, `4.20`, `42.0`, `1,026`"""
    if value is None:
        return MISSING
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    """`0.042×`, `0.42×`, `4.2×`, `42×`"""
    if value is None:
        return MISSING
    return f"{value:.3f}×" if value < 0.1 else f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def show(value: float | None, unit: Unit) -> str:
    return {"seconds": seconds, "share": share, "count": count, "rate": rate}[unit](value)
