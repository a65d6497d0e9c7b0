"""Texts of alerts: the part of Prometheus's templates that naming a target and a value needs.

`{{ $labels.NAME }}`, `{{ $value }}`, and the value through `humanize`, `humanizePercentage` or `humanizeDuration`.
https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_LABEL = re.compile(r"\$labels\.(\w+)")
_VALUE = re.compile(r"\$value(?:\s*\|\s*(\w+))?")


class Template:
    """A text with actions in double braces. Raises ValueError for an action that is not known."""

    def __init__(self, text: str) -> None:
        self.text = text
        for action in _ACTION.findall(text):
            label, value = _LABEL.fullmatch(action), _VALUE.fullmatch(action)
            if not label and not (value and (value[1] or "") in FORMATS):
                allowed = "$labels.NAME, $value, " + ", ".join(f"$value | {name}" for name in FORMATS if name)
                raise ValueError(f"{{{{ {action} }}}} is not supported; there are {allowed}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def render(self, labels: Mapping[str, str], value: float) -> str:
        def text(found: re.Match[str]) -> str:
            if label := _LABEL.fullmatch(found[1]):
                return labels.get(label[1], "")
            shown = _VALUE.fullmatch(found[1])
            assert shown is not None
            return FORMATS[shown[1] or ""](value)

        return _ACTION.sub(text, self.text)


def humanize(value: float) -> str:
    """Return four digits and a metric prefix: 1.234k."""
    if value == 0 or not math.isfinite(value):
        return plain(value)
    prefixes, size = ("", "k", "M", "G", "T", "P", "E", "Z", "Y"), abs(value)
    if size >= 1:
        power = min(int(math.log(size, 1000) + 1e-12), len(prefixes) - 1)
        return f"{value / 1000**power:.4g}{prefixes[power]}"
    small, power = ("m", "u", "n", "p", "f", "a", "z", "y"), 0
    while abs(value) < 1 and power < len(small):
        value, power = value * 1000, power + 1
    return f"{value:.4g}{small[power - 1]}"


def humanize_percentage(value: float) -> str:
    return f"{value * 100:.4g}%"


def humanize_duration(seconds: float) -> str:
    """Return days, hours, minutes and seconds, or a fraction with a metric prefix."""
    if not math.isfinite(seconds):
        return plain(seconds)
    if abs(seconds) < 1:
        return f"{humanize(seconds)}s" if seconds else "0s"
    if abs(seconds) < 60:
        return f"{seconds:.4g}s"
    sign, whole = "-" if seconds < 0 else "", int(abs(seconds))
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {rest}s"
    return f"{sign}{hours}h {minutes}m {rest}s" if hours else f"{sign}{minutes}m {rest}s"


def plain(value: float) -> str:
    """Return a number as Go prints it by default."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    return str(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value)


FORMATS: Final[dict[str, Callable[[float], str]]] = {
    "": plain,
    "humanize": humanize,
    "humanizePercentage": humanize_percentage,
    "humanizeDuration": humanize_duration,
}
