"""A series, label matchers, and `Source`: the one interface between storage and its readers.

Times are Unix seconds. A sample whose value is NaN is a stale marker: the series ended there, because its target went
away or stopped to export it. It hides earlier samples, as in Prometheus:
https://prometheus.io/docs/prometheus/latest/querying/basics/#staleness
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

NAME = "__name__"
"""Label that holds the metric's name."""

Labels = tuple[tuple[str, str], ...]
"""Pairs of name and value, sorted by name, with `__name__`, `job` and `instance` among them."""
Floats = npt.NDArray[np.float64]
MatchOperator = Literal["=", "!=", "=~", "!~"]


def labels_of(labels: Mapping[str, str]) -> Labels:
    """Return the labels in their one order. A label with an empty value is the same as none."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one series, in ascending order of time."""

    labels: Labels
    times: Floats
    """Shape (n,), Unix seconds."""
    values: Floats
    """Shape (n,). NaN marks the end of the series."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label. Regular expressions match the whole value."""

    name: str
    operator: MatchOperator
    value: str
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.operator in ("=~", "!~"):
            object.__setattr__(self, "_pattern", re.compile(self.value))

    def matches(self, value: str) -> bool:
        """Return whether a label value matches; a label that is missing has the value ''."""
        found = self._pattern.fullmatch(value) is not None if self._pattern else value == self.value
        return found != self.operator.startswith("!")


class Source(Protocol):
    """Storage that can be queried: the head in memory, the history on disk, or both."""

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        """Return the series that match all matchers, with their samples of start < time <= end.

        Series without such a sample are left out. The arrays must not be changed.
        """
