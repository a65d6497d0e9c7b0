"""The GPUs of this machine, through NVIDIA's management library (NVML), as a page like any exporter's.

NVML's calls block, for milliseconds or, with a broken driver, for seconds; one thread makes them all. A field that a
GPU does not support is left out, and so is a GPU that fell off the bus.
https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pynvml  # type: ignore[import-untyped]

from llm_contract import monitor_metrics as names
from llm_contract.metrics import Metric
from llm_monitor.collect.fetch import Answer, ScrapeFailed

log = logging.getLogger(__name__)


class _Device(NamedTuple):
    handle: Any
    uuid: str
    labels: str


_FIELDS: tuple[tuple[Metric, Callable[[Any, Any], float]], ...] = (
    (names.GPU_UTILIZATION, lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100),
    (names.GPU_MEMORY_USED, lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used),
    (names.GPU_MEMORY_TOTAL, lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total),
    (names.GPU_POWER, lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3),
    (names.GPU_TEMPERATURE, lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
    (names.GPU_SM_CLOCK, lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM) * 1e6),
)
"""Fields, and how to read them in the metric's unit."""


class Gpus:
    """All GPUs of the machine. `nvml` is the module `pynvml`, or one like it."""

    def __init__(self, nvml: Any) -> None:
        """Raises `nvml.NVMLError` if there is no driver."""
        self._nvml = nvml
        self._thread = ThreadPoolExecutor(1, "nvml")
        self._xids: Counter[tuple[str, int]] = Counter()
        """Errors by the GPU's labels and XID."""
        self._shown_xids: set[tuple[str, int]] = set()
        self._open()

    @classmethod
    def find(cls, nvml: Any = pynvml) -> Gpus | None:
        """Return this machine's GPUs; None if there is none, or no driver."""
        try:
            found = cls(nvml)
        except (nvml.NVMLError, OSError):
            return None
        return found if found.count else None

    @property
    def count(self) -> int:
        return len(self._devices)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def fetch(self) -> Answer:
        """Return the page. Raises ScrapeFailed."""
        return Answer(await asyncio.get_running_loop().run_in_executor(self._thread, self.render))

    def render(self) -> bytes:
        self._take_events()
        samples = [line for device in self._devices for line in self._samples(device)]
        if not samples:
            self._reopen()
            raise ScrapeFailed("connect", "NVML tells nothing about any GPU; its driver may be gone")
        lines = [
            f"# TYPE {metric.name} {metric.kind}\n# HELP {metric.name} {metric.help}" for metric in names.GPU_METRICS
        ]
        return "\n".join([*lines, *samples, *self._xid_lines(), ""]).encode()

    def _open(self) -> None:
        nvml = self._nvml
        nvml.nvmlInit()
        self._devices = [self._device(index) for index in range(nvml.nvmlDeviceGetCount())]
        self._events = None
        try:
            self._events = nvml.nvmlEventSetCreate()
            for device in self._devices:
                nvml.nvmlDeviceRegisterEvents(device.handle, nvml.nvmlEventTypeXidCriticalError, self._events)
        except nvml.NVMLError as error:
            log.info("XID errors are not watched: %s", error)
            self._events = None

    def _reopen(self) -> None:
        try:
            self._nvml.nvmlShutdown()
            self._open()
        except self._nvml.NVMLError as error:
            log.warning("NVML cannot be opened again: %s", error)

    def _device(self, index: int) -> _Device:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = (_text(get(handle)) for get in (self._nvml.nvmlDeviceGetUUID, self._nvml.nvmlDeviceGetName))
        return _Device(handle, uuid, f'gpu="{index}",uuid="{uuid}",name="{name}"')

    def _samples(self, device: _Device) -> Iterator[str]:
        for metric, read in _FIELDS:
            try:
                yield f"{metric.name}{{{device.labels}}} {read(self._nvml, device.handle)}"
            except self._nvml.NVMLError:
                continue

    def _take_events(self) -> None:
        """Count the XID errors since the last look."""
        if self._events is None:
            return
        try:
            while True:
                event = self._nvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = _text(self._nvml.nvmlDeviceGetUUID(event.device))
                labels = next(device.labels for device in self._devices if device.uuid == uuid)
                self._xids[labels, int(event.eventData)] += 1
        except self._nvml.NVMLError:
            return  # a timeout: there are no more

    def _xid_lines(self) -> list[str]:
        """Return the counts. A new one is 0 on its first page, or it would have no increase."""
        lines = []
        for key, count in self._xids.items():
            labels, xid = key
            lines.append(
                f'{names.GPU_XID_ERRORS.name}{{{labels},xid="{xid}"}} {count if key in self._shown_xids else 0}'
            )
            self._shown_xids.add(key)
        return lines


def _text(value: str | bytes) -> str:
    text = value.decode() if isinstance(value, bytes) else value
    return text.replace("\\", r"\\").replace('"', r"\"")
