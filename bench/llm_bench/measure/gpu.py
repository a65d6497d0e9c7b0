"""The GPUs of the client's machine, sampled through NVML while the server's metrics are scraped.

If the target runs on the same machine, these are the target's GPUs; otherwise they say nothing about it. Without a GPU
or its driver nothing is sampled, and the result has no GPU part.
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
    """Bytes of memory."""
    series: dict[str, list[float | None]]
    """Values by name of MEASURES, for those that the GPU supports; None where a reading failed."""


@dataclass(frozen=True, slots=True)
class GpuMetrics:
    """The GPUs of the client's machine."""

    times: list[float] = field(default_factory=list)
    """Times of the samples, in seconds from the start of the run."""
    gpus: list[Gpu] = field(default_factory=list)


class GpuSampler:
    """A sampler of every GPU; `close` it afterwards."""

    def __init__(self, nvml: Nvml) -> None:
        """Use `nvml`, which is initialised. Raises NVMLError if it lists no devices."""
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self._samples: list[tuple[float, list[dict[str, float | None]]]] = []

    def sample(self) -> None:
        """Read every GPU once. The driver can take milliseconds, so never call this in the event loop's thread."""
        at = perf_counter()
        self._samples.append((at, [self._read(handle) for handle in self._handles]))

    def read(self, epoch: float) -> GpuMetrics | None:
        """Return the samples; None without a GPU or a sample.

        `epoch`: the run's time 0 on the clock of `perf_counter`.
        """
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
        """Return a reading, or None if this GPU does not support it."""
        try:
            return read(self._nvml, handle)
        except self._nvml.NVMLError:
            return None


def find_gpus(nvml: Nvml = pynvml) -> GpuSampler | None:
    """Return a sampler of this machine's GPUs; None without a GPU or a driver."""
    try:
        nvml.nvmlInit()
        return GpuSampler(nvml)
    except nvml.NVMLError:
        return None
