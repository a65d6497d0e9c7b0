"""How late the client's own event loop runs: every time it takes late, it also takes late for what arrives.

A greenlet asks to be woken every TICK seconds and notes how much later it was; samples are spread over the whole run.
"""

from __future__ import annotations

from time import perf_counter

import gevent

TICK = 0.05
"""Seconds."""


class LoopLag:
    def __init__(self) -> None:
        self.samples: list[float] = []
        """Seconds that the loop was late."""

    def watch(self) -> None:
        """Run next to the load until it is killed."""
        while True:
            asked = perf_counter()
            gevent.sleep(TICK)
            self.samples.append(max(perf_counter() - asked - TICK, 0.0))
