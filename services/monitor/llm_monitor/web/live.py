"""The live stream: a view is evaluated once a cycle however many watch it, and a late viewer catches up.

A message's id is the time of its last values in milliseconds. A browser that reconnects sends it as `Last-Event-ID`
and gets what it missed from the head. A viewer that reads slowly takes the same path: nothing queues up for it, it
finds newer cycles than the next one, and gets them as one message. Who takes nothing for `PATIENCE` is cut off.

    event: past     {"columns": […], "times": […], "values": [[…] per series], "hidden": {…}, "sent": …}
    event: now      {"t": …, "from": n, "new": [columns], "i": [series], "v": [values], "hidden": {…}, "sent": …}
    event: state    {"targets": […], "alerts": …}   when it changed
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import orjson

from llm_monitor.series.selection import Floats
from llm_monitor.web.queries import Queries, steps
from llm_monitor.web.view import Evaluated, Key, View, numbers

POINTS = 600
"""Most points of what a viewer gets at first."""
MAX_VIEWS = 50
"""Most views that differ in board, filters, grouping or window. Viewers of the same view are not limited."""
INLINE_STEPS = 20
"""Most steps of a range that is evaluated on the event loop."""
PATIENCE = 10.0
"""Seconds that a viewer can take nothing."""
SILENCE = 10.0
"""Seconds after which a stream without a cycle says that it lives."""
RETRY = b"retry: 400\n\n"
"""Milliseconds until a browser that lost the stream connects again."""


class Watched:
    """A view that someone looks at, with the message of its newest cycle."""

    def __init__(self, view: View, time: float) -> None:
        self.view = view
        self.time = time
        self.before = -math.inf
        """Time of the cycle before: who has seen that one needs only `message`."""
        self.message = b""
        self.viewers = 0
        self.values: Floats = np.empty(0)
        self._announced = 0

    def advance(self, results: Mapping[str, Evaluated], at: float, sent: float) -> None:
        """Take the results of a cycle; encode what changed, once for all viewers."""
        values = self.view.put(results, 1)[:, 0]
        known = len(self.values)  # a viewer can have another value of the series that came since
        is_same = (values[:known] == self.values) | (np.isnan(values[:known]) & np.isnan(self.values))
        changed = np.concatenate([np.flatnonzero(~is_same), np.arange(known, len(values))])
        fresh = self.view.columns[self._announced :]
        self.message = encode(
            "now",
            at,
            {
                "t": round(at, 3),
                "from": self._announced,
                "new": [column.to_json() for column in fresh],
                "i": changed.tolist(),
                "v": numbers(values[changed]),
                "hidden": self.view.hidden,
                "sent": sent,
            },
        )
        self._announced = len(self.view.columns)
        self.values, self.before, self.time = values, self.time, at


class Hub:
    """Evaluates what is looked at, each distinct expression once a cycle, and wakes the viewers."""

    def __init__(self, queries: Queries, *, state: Callable[[], dict[str, Any]], interval: float = 0.25) -> None:
        self._queries = queries
        self._state = state
        self._interval = interval
        self._watched: dict[Key, Watched] = {}
        self._woken = asyncio.Event()
        self._shown_state = b""
        self._closing = False

    @property
    def viewers(self) -> int:
        return sum(one.viewers for one in self._watched.values())

    def has_room(self, view: View) -> bool:
        """Return whether a viewer can be taken: each view that differs costs an evaluation a cycle."""
        return Key.of(view.board, view.choice) in self._watched or len(self._watched) < MAX_VIEWS

    def cycle(self, at: float) -> None:
        """Evaluate the views as of `at` and wake their viewers. The collector calls it when a cycle is complete."""
        if self._watched:
            expressions = [text for one in self._watched.values() for _, _, text in one.view.expressions]
            results = self._queries.now(expressions, at)
            self._shown_state = orjson.dumps(self._state())
            for one in self._watched.values():
                one.advance(results, at, self._queries.clock())
        self._wake()

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        self._wake()

    def reopen(self) -> None:
        """Take viewers again after `close`."""
        self._closing = False

    async def follow(self, view: View, *, since: float | None, span: float) -> AsyncGenerator[bytes, None]:
        """Yield messages: first what came after `since` or within `span` seconds, then each cycle."""
        key = Key.of(view.board, view.choice)
        watched = self._watched.setdefault(key, Watched(view, self._queries.clock()))
        watched.viewers += 1
        try:
            message, seen = await self._past(watched, since, span)
            yield RETRY + message
            state = b""
            while not self._closing:
                woken = self._woken
                if state != self._shown_state:
                    state = self._shown_state
                    yield b"event: state\ndata: " + state + b"\n\n"
                if watched.time > seen:
                    if seen == watched.before:
                        message, seen = watched.message, watched.time
                    else:
                        message, seen = await self._past(watched, seen, span)
                    yield message
                elif not await _within(woken.wait(), SILENCE):
                    yield b": alive\n\n"
        finally:
            watched.viewers -= 1
            if not watched.viewers:
                self._watched.pop(key, None)

    async def _past(self, watched: Watched, since: float | None, span: float) -> tuple[bytes, float]:
        """Return what a viewer has not seen as one message, and its time.

        A long range is evaluated in a thread, so that a new viewer delays no other. Cycles can pass meanwhile.
        """
        end = watched.time
        start = end - span if since is None else max(since + self._interval, end - span)
        step = max(1, math.ceil((end - start) / POINTS / self._interval - 1e-9)) * self._interval
        start = end - step * max(0, math.floor((end - start) / step + 1e-9))  # the last step is the present
        times = steps(start, end, step)
        expressions = [text for _, _, text in watched.view.expressions]
        if len(times) > INLINE_STEPS:
            results = await asyncio.to_thread(self._queries.recent, expressions, start, end, step)
        else:
            results = self._queries.recent(expressions, start, end, step)
        values = watched.view.put(results, len(times))
        if watched.time == end:  # the next message says what changed since these values
            values[: len(watched.values), -1] = watched.values
        return encode("past", end, block(watched.view, times, values) | {"sent": self._queries.clock()}), end

    def _wake(self) -> None:
        woken, self._woken = self._woken, asyncio.Event()
        woken.set()


def block(view: View, times: Floats, values: Floats) -> dict[str, Any]:
    """Return a view over a range as JSON: its columns and, for each, its values."""
    return {
        "columns": [column.to_json() for column in view.columns],
        "times": [round(time, 3) for time in times.tolist()],
        "values": [numbers(row) for row in values],
        "hidden": view.hidden,
    }


def encode(event: str, at: float, data: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (round(at * 1000), event.encode(), orjson.dumps(data))


async def _within(waiting: Awaitable[Any], seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting
            return True
    return False
