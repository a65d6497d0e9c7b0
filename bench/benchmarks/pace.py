"""How fast the machine is while something else is measured: a fixed computation, a few milliseconds once a second.

It reads as many bytes as a decode step of the main model, its weights in float32: on a machine that others share,
memory and the last cache change their speed more than a core does.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import Self

import numpy as np

BYTES = 26 * 10**6
INTERVAL = 1.0
"""Seconds."""


class Pace:
    """`with Pace() as pace: …; pace.seconds()`: the median time of the computation, in a thread of this process."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def seconds(self) -> float:
        return statistics.median(self._times)

    def _run(self) -> None:
        weights = np.ones(BYTES // 4, np.float32)
        while True:
            begun = time.perf_counter()
            weights.sum()
            self._times.append(time.perf_counter() - begun)
            if self._stop.wait(INTERVAL):
                return
