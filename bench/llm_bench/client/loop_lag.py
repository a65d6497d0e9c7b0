"""How late the client's own event loop runs. A late loop also stamps late what has arrived.

A greenlet asks to be woken every TICK seconds and records how late that happened, over the whole run.
"""

from __future__ import annotations

from time import perf_counter

import gevent

TICK = 0.05
"""Seconds."""


class LoopLag:
    def __init__(self) -> None:
        self.samples: list[float] = []
        """Seconds by which the loop was late."""

    def watch(self) -> None:
        """Run next to the load until it is killed."""
        while True:
            asked = perf_counter()
            gevent.sleep(TICK)
            self.samples.append(max(perf_counter() - asked - TICK, 0.0))
