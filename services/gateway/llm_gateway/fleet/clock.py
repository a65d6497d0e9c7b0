"""Fleet time: the local monotonic clock plus its offset to Redis's clock, by Cristian's algorithm.

A call sent at s returns at r with Redis's time T. Redis took T somewhere in [s, r], so the offset is T - (s + r) / 2
with an error of at most (r - s) / 2. The sample with the smallest error is kept. Its error grows with the drift between
the two clocks, so that a newer sample replaces it eventually.
"""

from __future__ import annotations

import math

DRIFT = 1e-4
"""Largest drift between two clocks, in seconds per second: twice that of a computer's quartz."""


class FleetClock:
    """The offset between the local clock and Redis's clock."""

    def __init__(self) -> None:
        self.offset = 0.0
        """Redis's clock minus the local clock, seconds."""
        self._error = math.inf
        self._taken = 0.0

    def observe(self, sent: float, received: float, stamped: float) -> None:
        error = (received - sent) / 2
        if error <= self._error + DRIFT * (received - self._taken):
            self.offset = stamped - (sent + received) / 2
            self._error = error
            self._taken = received

    def forget(self) -> None:
        """Drop the sample, as another Redis can answer from now on."""
        self._error = math.inf
