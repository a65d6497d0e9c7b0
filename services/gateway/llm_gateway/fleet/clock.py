"""Fleet time: the local monotonic clock plus its offset to Redis's clock, by Cristian's algorithm.

A reply that Redis stamped with time T, sent for at s and here at r, puts T somewhere in [s, r]: the offset is
T - (s + r) / 2, wrong by at most (r - s) / 2. The sample with the smallest error is kept; its error grows by what two
clocks drift apart, so that a newer sample replaces it in time.
"""

from __future__ import annotations

import math

DRIFT = 1e-4
"""Seconds per second that two clocks may drift apart: twice what a computer's quartz does."""


class FleetClock:
    def __init__(self) -> None:
        self.offset = 0.0
        """Redis's clock less the local one, seconds."""
        self._error = math.inf
        self._taken = 0.0

    def observe(self, sent: float, received: float, stamped: float) -> None:
        error = (received - sent) / 2
        if error <= self._error + DRIFT * (received - self._taken):
            self.offset = stamped - (sent + received) / 2
            self._error = error
            self._taken = received

    def forget(self) -> None:
        """Another Redis may answer from now on."""
        self._error = math.inf
