"""A little SVG: scales with round ticks, and the few elements that charts are made of.

Colours, type and line widths are CSS classes of the page, so one drawing serves light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

SMALLEST = 1e-9
"""A range below this counts as empty: between 0 and a denormal number there would be no ticks."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A map from values in [low, high] to drawing units in [start, end]; values outside go to the nearer end."""

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
        """Return a few round values within the scale."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)

    def _bend(self, value: float) -> float:
        return math.log10(value) if self.log else value


@dataclass(frozen=True, slots=True)
class Frame:
    """The plotting area inside a panel, in drawing units."""

    width: int
    height: int
    left: int = 46
    right: int = 14
    top: int = 12
    bottom: int = 34

    @property
    def x_end(self) -> int:
        return self.width - self.right

    @property
    def y_end(self) -> int:
        return self.height - self.bottom


def linear(high: float, start: float, end: float) -> Scale:
    """Return a scale from 0 to a little more than `high`."""
    return Scale(0.0, (high if high > SMALLEST else 1.0) * 1.05, start, end)


def logarithmic(values: Iterable[float], start: float, end: float, floor: float = 1e-3) -> Scale:
    """Return a scale that holds all of `values` and at least a decade, with a little room at both ends."""
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
    """Return powers of ten, with twos and fives or threes between them where there are few."""
    digits = (1,) if math.log10(high / low) >= 3 else (1, 3) if math.log10(high / low) >= 2 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for digit in digits if low <= (tick := digit * 10.0**power) <= high]


def document(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """Return the picture; `label` describes it to readers who cannot see it."""
    css = "wide" if width > 400 else "narrow"
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" class="{css}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


def standalone(width: float, height: float, label: str, parts: Iterable[str], *, style: str) -> str:
    """Return the picture as a file of its own, on white; `style` is the CSS of the parts' classes."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"'
        f' aria-label="{escape(label, quote=True)}">\n<style>{style}</style>\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def text(at: Point, content: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def line(start: Point, end: Point, css: str) -> str:
    return f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" class="{css}"/>'


def rectangle(corner: Point, width: float, height: float, css: str, *, radius: float = 3) -> str:
    """Return a rectangle from its upper left corner; sizes below 0 count as 0."""
    size = f'width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect x="{corner[0]:.1f}" y="{corner[1]:.1f}" {size} rx="{radius:g}" class="{css}"/>'


def circle(centre: Point, radius: float, css: str) -> str:
    return f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius:g}" class="{css}"/>'


def polyline(points: Sequence[Point | None], css: str) -> str:
    """Return a line that breaks at each None. A lone point shows as a dot, because the line's caps are round."""
    path, pen_down = [], False
    for point in points:
        if point is not None:
            path.append(f"{'L' if pen_down else 'M'}{point[0]:.1f},{point[1]:.1f}{'' if pen_down else 'h0'}")
        pen_down = point is not None
    return f'<path d="{"".join(path)}" class="{css}"/>' if path else ""


def polygon(points: Sequence[Point], css: str) -> str:
    return f'<path d="M{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}Z" class="{css}"/>' if points else ""


def dots(points: Iterable[Point], css: str) -> str:
    """Return many points as one path of zero-length strokes; a round line cap makes each a dot."""
    path = "".join(f"M{x:.1f},{y:.1f}h0" for x, y in points)
    return f'<path d="{path}" class="{css}"/>' if path else ""


def crosses(points: Iterable[Point], css: str, size: float = 3) -> str:
    path = "".join(
        f"M{x - size:.1f},{y - size:.1f}l{2 * size},{2 * size}m0,{-2 * size}l{-2 * size},{2 * size}" for x, y in points
    )
    return f'<path d="{path}" class="{css}"/>' if path else ""
