"""GPUs' utilisation by NVML: the share of the driver's sampling period in which a kernel ran."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import pynvml  # type: ignore[import-untyped]

EVERY_SECONDS = 0.1


def name() -> str:
    """Return the name of the first GPU."""
    pynvml.nvmlInit()
    try:
        return str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
    finally:
        pynvml.nvmlShutdown()


class Utilisation:
    """Samples the first `count` GPUs inside the block. Raises pynvml.NVMLError without a driver."""

    def __init__(self, count: int) -> None:
        pynvml.nvmlInit()
        self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        self._samples: list[list[int]] = [[] for _ in self._handles]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        pynvml.nvmlShutdown()

    def means(self) -> list[float]:
        """Return each GPU's mean utilisation, 0 to 1."""
        return [sum(samples) / len(samples) / 100 for samples in self._samples]

    def _run(self) -> None:
        while not self._stop.is_set():
            for handle, samples in zip(self._handles, self._samples, strict=True):
                samples.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            self._stop.wait(EVERY_SECONDS)
