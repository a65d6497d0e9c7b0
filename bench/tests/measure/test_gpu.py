from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from llm_bench.measure.gpu import Gpu, GpuMetrics, find_gpus
from llm_bench.report.gpu_charts import names, panels
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]
GIB = 2**30


class NvmlError(Exception):
    pass


@dataclass
class FakeNvml:
    """GPUs that are numbers; what is in `missing` they do not have."""

    count: int = 2
    driver: bool = True
    missing: tuple[str, ...] = ()
    busy: int = 50
    open: bool = False

    NVMLError = NvmlError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NvmlError("the driver is not loaded")
        self.open = True

    def nvmlShutdown(self) -> None:
        self.open = False

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return index

    def nvmlDeviceGetName(self, handle: Any) -> str:
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        return SimpleNamespace(total=80 * GIB, used=(10 + handle) * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        self._check("utilisation")
        return SimpleNamespace(gpu=self.busy)

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:
        self._check("power")
        return 350_500

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 61

    def nvmlDeviceGetClockInfo(self, handle: Any, clock: int) -> int:
        assert clock == self.NVML_CLOCK_SM
        return 1980

    def _check(self, measure: str) -> None:
        if measure in self.missing:
            raise NvmlError("not supported")


def measure(nvml: FakeNvml, samples: int = 2) -> GpuMetrics | None:
    sampler = find_gpus(nvml)
    assert sampler is not None
    for _ in range(samples):
        sampler.sample()
        nvml.busy += 25
    found = sampler.read(epoch=0.0)
    sampler.close()
    assert not nvml.open
    return found


def test_every_gpu_is_sampled_in_units_of_physics() -> None:
    found = measure(FakeNvml())

    assert found is not None
    assert len(found.times) == 2
    assert [gpu.series["memory_used"] for gpu in found.gpus] == [[10.0 * GIB] * 2, [11.0 * GIB] * 2]
    first = found.gpus[0]
    assert (first.name, first.memory) == ("NVIDIA H100 80GB HBM3", 80.0 * GIB)
    assert first.series["utilisation"] == [0.5, 0.75]
    assert first.series["power"] == [350.5, 350.5]
    assert first.series["temperature"] == [61.0, 61.0]
    assert first.series["sm_clock"] == [1.98e9, 1.98e9]


def test_what_a_gpu_does_not_have_is_left_out_and_a_reading_that_fails_is_a_gap() -> None:
    found = measure(FakeNvml(count=1, missing=("power",)))
    assert found is not None
    assert set(found.gpus[0].series) == {"utilisation", "memory_used", "temperature", "sm_clock"}

    nvml = FakeNvml(count=1)
    sampler = find_gpus(nvml)
    assert sampler is not None
    sampler.sample()
    nvml.missing = ("utilisation",)
    sampler.sample()
    read = sampler.read(epoch=0.0)
    assert read is not None
    assert read.gpus[0].series["utilisation"] == [0.5, None]


@pytest.mark.parametrize("nvml", [FakeNvml(driver=False), FakeNvml(count=0)])
def test_without_a_driver_or_a_gpu_there_is_nothing(nvml: FakeNvml) -> None:
    sampler = find_gpus(nvml)

    assert sampler is None or sampler.read(epoch=0.0) is None


def test_the_report_says_whose_gpus_they_are(make_result: MakeResult) -> None:
    gpus = [Gpu("H100", 80.0 * GIB, {"utilisation": [0.1, 0.9], "power": [100.0, None]}) for _ in range(2)]
    result = replace(make_result(waits={"chat": 0.2}), gpu=GpuMetrics([0.0, 1.0], gpus))

    shown = panels(result, span=2.0)

    key = ' <span class="key hue5">GPU 0</span> <span class="key hue2">GPU 1</span>'
    assert [caption.unescape() for caption, _ in shown] == [
        f"GPU of the client's machine: in use{key}",
        f"GPU of the client's machine: power, W{key}",
    ]
    assert shown[0][1].count('class="thin') == 2
    assert names(result) == "2 × H100"


def test_a_result_without_gpus_shows_none(make_result: MakeResult) -> None:
    result = make_result(waits={"chat": 0.2})

    assert (panels(result, span=2.0), names(result)) == ([], None)
