"""GPUs of the machine that the client runs on, through NVML: sampled beside the server's metrics.

On the target's own machine they are the target's GPUs; from elsewhere they say nothing of it. Without a GPU or its
driver there is nothing to sample, and a result holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol, TypeVar

import pynvml  # type: ignore[import-untyped]

Value = TypeVar("Value")


class Nvml(Protocol):
    """The part of the module `pynvml` that is used."""

    NVMLError: type[Exception]
    NVML_TEMPERATURE_GPU: int
    NVML_CLOCK_SM: int

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...
    def nvmlDeviceGetName(self, handle: Any) -> str: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int: ...
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int: ...
    def nvmlDeviceGetClockInfo(self, handle: Any, clock: int) -> int: ...


MEASURES: dict[str, Callable[[Nvml, Any], float]] = {
    "utilisation": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    "memory_used": lambda nvml, gpu: float(nvml.nvmlDeviceGetMemoryInfo(gpu).used),
    "power": lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
    "temperature": lambda nvml, gpu: float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
    "sm_clock": lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM) * 1e6,
}
"""Utilisation: 0 to 1, share of the driver's sampling period in which a kernel ran. Bytes, watts, degrees, hertz."""


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory: float | None
    """Bytes that it has."""
    series: dict[str, list[float | None]]
    """By MEASURES; those that the GPU has. None where a reading failed."""


@dataclass(frozen=True, slots=True)
class GpuMetrics:
    """The GPUs of the client's machine."""

    times: list[float] = field(default_factory=list)
    """Times of the samples, in seconds from the start of the run."""
    gpus: list[Gpu] = field(default_factory=list)


class GpuSampler:
    """Samples every GPU when told to; `close` it after."""

    def __init__(self, nvml: Nvml) -> None:
        """NVML is initialised already. Raises NVMLError if it lists no devices."""
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self._samples: list[tuple[float, list[dict[str, float | None]]]] = []

    def sample(self) -> None:
        """May take milliseconds in the driver: not for the event loop's own thread."""
        at = perf_counter()
        self._samples.append((at, [self._read(handle) for handle in self._handles]))

    def read(self, epoch: float) -> GpuMetrics | None:
        """`epoch`: the run's time 0 on the clock of `perf_counter`. None if there is no GPU, or no sample."""
        if not self._handles or not self._samples:
            return None
        times = [round(at - epoch, 3) for at, _ in self._samples]
        return GpuMetrics(times, [self._describe(index) for index in range(len(self._handles))])

    def close(self) -> None:
        with suppress(self._nvml.NVMLError):  # nothing depends on it any more
            self._nvml.nvmlShutdown()

    def _describe(self, index: int) -> Gpu:
        handle = self._handles[index]
        series = {key: [of_gpu[index][key] for _, of_gpu in self._samples] for key in MEASURES}
        known = {key: values for key, values in series.items() if any(value is not None for value in values)}
        name = self._try(lambda nvml, gpu: nvml.nvmlDeviceGetName(gpu), handle)
        memory = self._try(lambda nvml, gpu: float(nvml.nvmlDeviceGetMemoryInfo(gpu).total), handle)
        return Gpu(name or "GPU", memory, known)

    def _read(self, handle: Any) -> dict[str, float | None]:
        return {key: self._try(measure, handle) for key, measure in MEASURES.items()}

    def _try(self, read: Callable[[Nvml, Any], Value], handle: Any) -> Value | None:
        """None for what this GPU does not have."""
        try:
            return read(self._nvml, handle)
        except self._nvml.NVMLError:
            return None


def find_gpus(nvml: Nvml = pynvml) -> GpuSampler | None:
    """None without a GPU or a driver."""
    try:
        nvml.nvmlInit()
        return GpuSampler(nvml)
    except nvml.NVMLError:
        return None
