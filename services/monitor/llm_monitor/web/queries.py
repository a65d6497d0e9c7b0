"""Where an expression is evaluated: in the head in memory, in the history on disk, or by a Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

import numpy as np

from llm_monitor.promql import EvaluationError, Vector, instant, parse, query_range
from llm_monitor.promql.evaluate import Shared
from llm_monitor.promql.remote import Prometheus
from llm_monitor.series.selection import Floats, Source

MAX_STEPS = 11_000
"""Most steps of a range query, Prometheus's own limit."""


class Past(Source, Protocol):
    """`history.Storage`: the head, and the history before it."""

    def resolution(self, start: float) -> float:
        """Return the seconds between samples of a range that begins at `start`; 0 if the head has all of it."""


class TooManySteps(ValueError):
    """The range has more steps than a chart has pixels."""


class Queries:
    """Evaluates expressions where their range is."""

    def __init__(
        self,
        head: Source,
        past: Past,
        *,
        remote: Prometheus | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.head = head
        self.past = past
        self._remote = remote
        self.clock = clock

    def now(self, expressions: Iterable[str], at: float) -> dict[str, Vector]:
        """Evaluate each distinct expression once, in memory. One that cannot be evaluated now has no result."""
        shared: Shared = {}
        found = {}
        for text in dict.fromkeys(expressions):
            with suppress(EvaluationError):
                found[text] = instant(parse(text), self.head, at, shared=shared)
        return found

    def recent(self, expressions: Iterable[str], start: float, end: float, step: float) -> dict[str, Vector]:
        """Evaluate over a recent range, e.g. what a viewer missed: in memory, and after a restart from the history."""
        source = self.past if self.past.resolution(start) else self.head
        found = {}
        for text in dict.fromkeys(expressions):
            with suppress(EvaluationError):
                found[text] = query_range(parse(text), source, start, end, step=step)
        return found

    def window(self, start: float, step: float, wanted: float) -> float:
        """Return a window of rates that has samples at the resolution of a range, and leaves none of them out."""
        resolution = self.past.resolution(start)
        return wanted if not resolution else max(wanted, 4 * resolution, step)

    async def instant(self, expression: str, at: float) -> Vector:
        """Evaluate at one time. Raises InvalidExpression and EvaluationError."""
        tree = parse(expression)
        if not self.past.resolution(at):
            return instant(tree, self.head, at)
        if self._remote is not None:
            return await self._remote.instant(tree, at)
        return await asyncio.to_thread(instant, tree, self.past, at)

    async def range(self, expression: str, start: float, end: float, step: float) -> Vector:
        """Evaluate at start, start + step, … end. Raises TooManySteps, and what `instant` raises."""
        if step <= 0 or (end - start) / step > MAX_STEPS:
            raise TooManySteps(f"a range has at most {MAX_STEPS} steps; take a longer step")
        tree = parse(expression)
        is_past = self.past.resolution(start) > 0
        if is_past and self._remote is not None:
            return await self._remote.query_range(tree, start, end, step=step)
        source = self.past if is_past else self.head
        return await asyncio.to_thread(query_range, tree, source, start, end, step=step)  # it can take seconds

    async def ranges(self, expressions: Iterable[str], start: float, end: float, step: float) -> Mapping[str, Vector]:
        return {text: await self.range(text, start, end, step) for text in dict.fromkeys(expressions)}


def steps(start: float, end: float, step: float) -> Floats:
    """Return the times of a range query's steps."""
    return start + step * np.arange(int((end - start) / step + 1e-9) + 1, dtype=float)
