"""An NVML that is made of Python."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    pass


class FakeNvml:
    """The functions of `pynvml` that the monitor calls."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, nvmlEventTypeXidCriticalError = 0, 1, 8

    def __init__(self, gpus: int = 2) -> None:
        self.gpus = gpus
        self.opened = 0
        self.lost: set[int] = set()
        self.without_power = False
        self.without_events = False
        self.events: list[tuple[int, int]] = []

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        return

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, gpu: int) -> str:
        return f"GPU-{gpu}"

    def nvmlDeviceGetName(self, gpu: int) -> bytes:
        return b'NVIDIA "H200"'

    def nvmlDeviceGetUtilizationRates(self, gpu: int) -> Any:
        return SimpleNamespace(gpu=self._of(gpu, 75))

    def nvmlDeviceGetMemoryInfo(self, gpu: int) -> Any:
        return SimpleNamespace(used=self._of(gpu, 2**30), total=2**37)

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:
        if self.without_power:
            raise NVMLError("Not Supported")
        return self._of(gpu, 350_500)

    def nvmlDeviceGetTemperature(self, gpu: int, sensor: int) -> int:
        return self._of(gpu, 61)

    def nvmlDeviceGetClockInfo(self, gpu: int, clock: int) -> int:
        return self._of(gpu, 1980)

    def nvmlEventSetCreate(self) -> str:
        if self.without_events:
            raise NVMLError("Not Supported")
        return "set"

    def nvmlDeviceRegisterEvents(self, gpu: int, kind: int, events: str) -> None:
        return

    def nvmlEventSetWait_v2(self, events: str, milliseconds: int) -> Any:
        if not self.events:
            raise NVMLError("Timeout")
        gpu, xid = self.events.pop(0)
        return SimpleNamespace(device=gpu, eventData=xid)

    def _of(self, gpu: int, value: int) -> int:
        if gpu in self.lost:
            raise NVMLError("GPU is lost")
        return value
