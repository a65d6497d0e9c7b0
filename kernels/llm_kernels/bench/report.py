"""Results as a table for people and as an SVG roofline, both from the JSON rows alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

HEADINGS = ("op", "implementation", "shape", "dtype", "time", "of limit", "vs library", "error")


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    ratio = row.get("ratio_to_library")
    return (
        row["op"],
        row["implementation"],
        row["shape"],
        row["dtype"],
        duration(row["seconds"], row.get("spread")) if row["seconds"] else "-",
        f"{row['fraction_of_limit']:.0%}" if row.get("fraction_of_limit") else "-",
        f"{ratio:.2f}x {row['library']}" if ratio else "-",
        (row.get("wrong") or "")[:60] or (f"{row['error']:.1e}" if row.get("error") is not None else "-"),
    )


def duration(seconds: float, spread: float | None = None) -> str:
    scaled = f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.3f} ms"
    return scaled if spread is None else f"{scaled} ±{spread:.0%}"


def roofline(points: Iterable[tuple[str, float, float]], bandwidth: float, peak: float, title: str) -> str:
    """SVG. `points`: (label, FLOP per byte, FLOP/s); the roof is min(bandwidth * intensity, peak)."""
    kept = [(label, x, y) for label, x, y in points if x > 0 and y > 0]
    width, height, left, bottom = 860, 480, 70, 50
    x_low = min([0.1, *(x for _, x, _ in kept)]) / 2
    x_high = max([1e4, *(x for _, x, _ in kept)]) * 2
    y_high, y_low = peak * 2, min([bandwidth * 0.05, *(y for _, _, y in kept)]) / 2

    def place(x: float, y: float) -> tuple[float, float]:
        across = math.log(x / x_low) / math.log(x_high / x_low)
        up = math.log(y / y_low) / math.log(y_high / y_low)
        return left + across * (width - left - 20), height - bottom - up * (height - bottom - 30)

    ridge = peak / bandwidth
    roof = " ".join(
        f"{a:.1f},{b:.1f}" for a, b in (place(x_low, bandwidth * x_low), place(ridge, peak), place(x_high, peak))
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"',
        ' font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/><text x="{left}" y="18" font-size="14">{title}</text>',
        f'<polyline points="{roof}" fill="none" stroke="#333" stroke-width="2"/>',
        f'<text x="{width / 2}" y="{height - 12}">FLOP per byte</text>',
        f'<text x="14" y="{height / 2}" transform="rotate(-90 14 {height / 2})">FLOP/s</text>',
    ]
    for exponent in range(math.ceil(math.log10(x_low)), math.floor(math.log10(x_high)) + 1):
        a, b = place(10**exponent, y_low)
        parts.append(f'<text x="{a:.0f}" y="{b + 16:.0f}" fill="#666">1e{exponent}</text>')
    for exponent in range(math.ceil(math.log10(y_low)), math.floor(math.log10(y_high)) + 1):
        a, b = place(x_low, 10**exponent)
        parts.append(f'<text x="{left - 36}" y="{b:.0f}" fill="#666">1e{exponent}</text>')
    for label, x, y in kept:
        a, b = place(x, y)
        parts.append(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="#0a7"/><text x="{a + 6:.1f}" y="{b + 4:.1f}">{label}</text>'
        )
    return "\n".join([*parts, "</svg>"])
