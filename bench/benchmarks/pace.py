"""How fast the machine is while something else is measured: a fixed computation, some milliseconds four times a second.

It is a decode step's: four rows times matrices that together are as large as the main model's weights in float32. On a
machine that others share, memory and the last cache change their speed more than arithmetic does.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import Self

import numpy as np

ROWS, WIDTH, MATRICES = 4, 1024, 6
INTERVAL = 0.25
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
        weights = np.full((MATRICES, WIDTH, WIDTH), 1 / WIDTH, np.float32)
        while True:
            begun = time.perf_counter()
            hidden = np.ones((ROWS, WIDTH), np.float32)
            for matrix in weights:
                hidden = hidden @ matrix
            self._times.append(time.perf_counter() - begun)
            if self._stop.wait(INTERVAL):
                return
