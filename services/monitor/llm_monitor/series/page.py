"""One scrape of one target, as the head takes it: a vector of values, and the series that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from llm_monitor.series.selection import Floats, Labels


class Description(NamedTuple):
    """A metric family as its exporter describes it."""

    kind: str
    help: str


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Layout:
    """The series of a page, in its order. Pages with the same series share one layout, so comparison is by identity."""

    labels: tuple[Labels, ...]
    """No two are equal."""
    dropped: int = 0
    """Samples of the page that were over the limit of its reader."""
    garbage: int = 0
    """Lines of the page that are no sample and no comment."""
    metadata: Mapping[str, Description] = field(default_factory=dict)
    """Descriptions by name of the family."""


class Page(NamedTuple):
    layout: Layout
    values: Floats
    """Shape (len(layout.labels),). A reader reuses the array for its next page."""

    @classmethod
    def of(cls, samples: Mapping[Labels, float]) -> Page:
        """Return a page that is not read from text, such as the series of alerts and recording rules."""
        return cls(Layout(tuple(samples)), np.fromiter(samples.values(), np.float64, len(samples)))
