"""A little SVG: scales with round ticks, and the few elements that the charts are made of.

Colours, type and line widths are CSS classes of the page, so one drawing serves light and dark.
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


SMALLEST = 1e-9
"""Less than that is nothing; ticks between 0 and a denormal number would be none."""


def linear(high: float, start: float, end: float) -> Scale:
    """From 0 to `high` and a little more."""
    return Scale(0.0, (high if high > SMALLEST else 1.0) * 1.08, start, end)


def logarithmic(values: Iterable[float], start: float, end: float, floor: float = 1e-3) -> Scale:
    """Holds all of `values`, at least a decade of them, with a little room at both ends."""
    held = [max(value, floor) for value in values] or [floor, 10 * floor]
    low, high = min(held) / 1.3, max(held) * 1.3
    if high < 10 * low:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Scale(low, high, start, end, log=True)


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [step * index for index in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with others between them where there are few."""
    decades = math.log10(high / low)
    digits = (1,) if decades >= 3 else (1, 3) if decades >= 2 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for digit in digits if low <= (tick := digit * 10.0**power) <= high]


def document(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """`label` is what the picture says to those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


def text(x: float, y: float, content: str, css: str = "", *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def rectangle(x: float, y: float, width: float, *, height: float, css: str, radius: float = 0) -> str:
    shape = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" rx="{radius:g}"'
    return f'<rect {shape} class="{css}"/>'


def circle(x: float, y: float, radius: float, css: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{css}"/>'


def polyline(points: Sequence[Point | None], css: str) -> str:
    """Broken at each None; a point that stands alone becomes a dot, by the line's round cap."""
    path, pen_down = [], False
    for point in points:
        if point is not None:
            path.append(f"{'L' if pen_down else 'M'}{point[0]:.1f},{point[1]:.1f}{'' if pen_down else 'h0'}")
        pen_down = point is not None
    return f'<path d="{"".join(path)}" class="{css}"/>' if path else ""
