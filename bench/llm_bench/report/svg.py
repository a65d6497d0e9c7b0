"""A little SVG: scales with round ticks, and the few elements that the charts are made of.

Colours, type and line widths are CSS classes of the page, so one drawing serves light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values in [low, high] to drawing units in [start, end]; values outside are drawn at the nearer end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._bend(self.low), self._bend(self.high)
        value = self._bend(min(max(value, self.low), self.high))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """A few round values within the scale."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)

    def _bend(self, value: float) -> float:
        return math.log10(value) if self.log else value


def linear(high: float, start: float, end: float) -> Scale:
    """From 0 to `high` and a little more."""
    return Scale(0.0, (high or 1.0) * 1.05, start, end)


def logarithmic(values: Iterable[float], start: float, end: float, floor: float = 1e-3) -> Scale:
    """Holds all of `values`, at least a decade of them, with a little room at both ends."""
    known = [max(value, floor) for value in values] or [floor, 10 * floor]
    low, high = min(known) / 1.25, max(known) * 1.25
    if high < 10 * low:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Scale(low, high, start, end, log=True)


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [step * index for index in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with twos and fives between them where there are few."""
    digits = (1,) if math.log10(high / low) >= 3 else (1, 3) if math.log10(high / low) >= 2 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for digit in digits if low <= (tick := digit * 10.0**power) <= high]


def document(width: int, height: int, label: str, parts: Iterable[str]) -> str:
    """`label` is what the picture says to those who cannot see it."""
    css = "wide" if width > 400 else "narrow"
    return (
        f'<svg viewBox="0 0 {width} {height}" class="{css}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


def text(x: float, y: float, content: str, css: str = "", *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def rectangle(x: float, y: float, width: float, height: float, *, css: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" rx="3" class="{css}"/>'


def circle(x: float, y: float, radius: float, css: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{css}"/>'


def polyline(points: Sequence[Point], css: str) -> str:
    return f'<path d="M{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{css}"/>' if points else ""


def polygon(points: Sequence[Point], css: str) -> str:
    return f'<path d="M{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}Z" class="{css}"/>' if points else ""


def dots(points: Iterable[Point], css: str) -> str:
    """Many points as one path of zero-length strokes; a round line cap makes each a dot."""
    path = "".join(f"M{x:.1f},{y:.1f}h0" for x, y in points)
    return f'<path d="{path}" class="{css}"/>' if path else ""


def crosses(points: Iterable[Point], css: str, size: float = 3) -> str:
    path = "".join(
        f"M{x - size:.1f},{y - size:.1f}l{2 * size},{2 * size}m0,{-2 * size}l{-2 * size},{2 * size}" for x, y in points
    )
    return f'<path d="{path}" class="{css}"/>' if path else ""
