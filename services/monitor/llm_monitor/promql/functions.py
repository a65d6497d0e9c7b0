"""Functions of instant vectors and scalars. Those that look at one value at a time are numpy's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import numpy as np

from llm_monitor.promql.vectors import EvaluationError, Vector
from llm_monitor.series.selection import Floats, Labels, Matcher, labels_of

ELEMENTWISE: Final[dict[str, Callable[[Floats], Floats]]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "sgn": np.sign,
    "sqrt": np.sqrt,
}
_LABEL_NAME = re.compile(r"[a-zA-Z_]\w*", re.ASCII)
_TEMPLATE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def clamp(values: Floats, low: Floats, high: Floats) -> Floats:
    return np.maximum(low, np.minimum(high, values))


def rounded(values: Floats, to: Floats) -> Floats:
    """Return the nearest multiples of `to`; halves are rounded up."""
    inverse = 1.0 / to
    return np.floor(values * inverse + 0.5) / inverse


def scalar(vector: Vector) -> Floats:
    """Return the value of the only series at each step; NaN where there is none or several."""
    single = vector.present.sum(axis=0) == 1
    return np.where(single, np.where(vector.present, vector.values, 0.0).sum(axis=0), np.nan)


def absent(vector: Vector, matchers: tuple[Matcher, ...]) -> Vector:
    """Return 1 where no series has a sample, with the labels that the selector demands."""
    found = np.logical_or.reduce(vector.present, keepdims=True)
    labels = absent_labels(matchers)
    return Vector.of([labels], np.ones((1, len(vector.times))), vector.times, ~found).compact()


def absent_labels(matchers: tuple[Matcher, ...]) -> Labels:
    equal: dict[str, str] = {}
    repeated = set()
    for matcher in matchers:
        if matcher.name in equal or matcher.operator != "=":
            repeated.add(matcher.name)
        equal[matcher.name] = matcher.value
    return labels_of({name: value for name, value in equal.items() if name not in repeated and name != "__name__"})


def sort(vector: Vector, *, descending: bool) -> Vector:
    """Return the series by their value; a range of steps is left as it is."""
    if len(vector.times) != 1:
        return vector
    values = vector.values[:, 0]
    return vector.rows(np.argsort(-values if descending else values, kind="stable"))


def label_replace(vector: Vector, target: str, template: str, *, source: str, pattern: str) -> Vector:
    """Set a label from a regular expression's match of the whole source label; `$1` and `${name}` are its groups."""
    _check_label(target)
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise EvaluationError(f"label_replace: {pattern!r} is no regular expression: {error}") from None

    def change(labels: Labels) -> Labels:
        match = regex.fullmatch(dict(labels).get(source, ""))
        if match is None:
            return labels
        value = _TEMPLATE.sub(lambda found: _group(match, found), template)
        return labels_of({**dict(labels), target: value})

    return vector.relabelled(change)


def label_join(vector: Vector, target: str, separator: str, *, sources: tuple[str, ...]) -> Vector:
    """Set a label to the values of other labels, joined."""
    _check_label(target)

    def change(labels: Labels) -> Labels:
        values = dict(labels)
        return labels_of({**values, target: separator.join(values.get(name, "") for name in sources)})

    return vector.relabelled(change)


def _check_label(name: str) -> None:
    if not _LABEL_NAME.fullmatch(name):
        raise EvaluationError(f"{name!r} is no label name")


def _group(match: re.Match[str], found: re.Match[str]) -> str:
    if found[1]:
        return "$"
    name = found[2] or found[3]
    try:
        return match[int(name) if name.isdigit() else name] or ""
    except IndexError:
        return ""
