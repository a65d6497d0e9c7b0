"""Where an expression is evaluated: in the head in memory, in the history on disk, or by a Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np

from llm_monitor.promql import Expression, Vector, instant, parse, query_range
from llm_monitor.series.selection import Floats, Source

MAX_STEPS = 11_000
"""Most steps of a range query, Prometheus's own limit."""


class Remote(Protocol):
    """The same two functions of a Prometheus."""

    async def instant(self, expression: str, at: float) -> Vector: ...
    async def query_range(self, expression: str, start: float, end: float, step: float) -> Vector: ...


class TooManySteps(ValueError):
    """The range has more steps than a chart has pixels."""


class Queries:
    """Evaluates expressions where their range is."""

    def __init__(
        self,
        *,
        head: Source,
        storage: Source,
        head_seconds: float,
        remote: Remote | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.head = head
        self.storage = storage
        self._head_seconds = head_seconds
        self._remote = remote
        self.clock = clock

    def now(self, expressions: Iterable[str], at: float) -> dict[str, Vector]:
        """Evaluate each distinct expression once, in memory."""
        return {text: instant(parse(text), self.head, at) for text in dict.fromkeys(expressions)}

    def recent(self, expressions: Iterable[str], start: float, end: float, step: float) -> dict[str, Vector]:
        """Evaluate over a range in memory, e.g. what a viewer missed."""
        return {text: query_range(parse(text), self.head, start, end, step) for text in dict.fromkeys(expressions)}

    async def instant(self, expression: str, at: float) -> Vector:
        """Evaluate at one time. Raises InvalidExpression and EvaluationError."""
        tree = parse(expression)
        if self._is_recent(at):
            return instant(tree, self.head, at)
        if self._remote is not None:
            return await self._remote.instant(expression, at)
        return await asyncio.to_thread(instant, tree, self.storage, at)

    async def range(self, expression: str, start: float, end: float, step: float) -> Vector:
        """Evaluate at start, start + step, … end. Raises TooManySteps, and what `instant` raises."""
        if step <= 0 or (end - start) / step > MAX_STEPS:
            raise TooManySteps(f"a range has at most {MAX_STEPS} steps; take a longer step")
        tree = parse(expression)
        if self._is_recent(start):
            return query_range(tree, self.head, start, end, step)
        if self._remote is not None:
            return await self._remote.query_range(expression, start, end, step)
        return await asyncio.to_thread(query_range, tree, self.storage, start, end, step)

    async def ranges(self, expressions: Iterable[str], start: float, end: float, step: float) -> Mapping[str, Vector]:
        return {text: await self.range(text, start, end, step) for text in dict.fromkeys(expressions)}

    def source(self, start: float) -> Source:
        """Return where samples from `start` on are."""
        return self.head if self._is_recent(start) else self.storage

    def _is_recent(self, start: float) -> bool:
        return start >= self.clock() - self._head_seconds


def steps(start: float, end: float, step: float) -> Floats:
    """Return the times of a range query's steps."""
    return start + step * np.arange(int((end - start) / step + 1e-9) + 1)
