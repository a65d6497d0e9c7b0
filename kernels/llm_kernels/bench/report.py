"""The bench's JSON rows as a table on the terminal."""

from __future__ import annotations

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
