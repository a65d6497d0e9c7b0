"""GPUs through an NVML that is made of Python."""

from __future__ import annotations

from inspect import signature

import pynvml
import pytest
from tests.support_nvml import FakeNvml, NVMLError

from llm_contract.monitor_metrics import GPU_METRICS
from llm_monitor.collect.exposition import Reader
from llm_monitor.collect.fetch import ScrapeFailed
from llm_monitor.collect.gpu import Gpus


@pytest.mark.parametrize("name", [name for name in vars(FakeNvml) if name.startswith(("nvml", "NVML"))])
def test_the_library_has_what_the_fake_has(name: str) -> None:
    ours, theirs = getattr(FakeNvml, name), getattr(pynvml, name)
    if callable(ours) and not isinstance(ours, type):
        wanted, found = signature(ours).parameters, signature(theirs).parameters
        assert len(wanted) - 1 == len([one for one in found.values() if one.default is one.empty])
    elif not isinstance(ours, type):
        assert ours == theirs


def values(gpus: Gpus, gpu: str = "0") -> dict[str, float]:
    page = Reader({}).read(gpus.render())
    assert page.layout.garbage == 0
    return {
        found["__name__"] + found.get("xid", ""): value
        for labels, value in zip(page.layout.labels, page.values.tolist(), strict=True)
        if (found := dict(labels))["gpu"] == gpu
    }


def test_all_fields_are_exported_in_the_units_of_their_names() -> None:
    gpus = Gpus(FakeNvml())
    assert values(gpus) == {
        "gpu_utilization_ratio": 0.75,
        "gpu_memory_used_bytes": 2**30,
        "gpu_memory_total_bytes": 2**37,
        "gpu_power_watts": 350.5,
        "gpu_temperature_celsius": 61,
        "gpu_sm_clock_hertz": 1.98e9,
    }
    (labels,) = {
        tuple(sorted(pair for pair in one if pair[0] in ("gpu", "uuid", "name")))
        for one in _labels(gpus)
        if dict(one)["gpu"] == "1"
    }
    assert dict(labels) == {"gpu": "1", "uuid": "GPU-1", "name": 'NVIDIA "H200"'}


def test_an_xid_error_is_an_increase_from_zero() -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    nvml.events += [(1, 79), (1, 79)]
    assert values(gpus, "1")["gpu_xid_errors_total79"] == 0
    assert values(gpus, "1")["gpu_xid_errors_total79"] == 2
    nvml.events.append((1, 79))
    assert values(gpus, "1")["gpu_xid_errors_total79"] == 3
    assert not any("xid" in name for name in values(gpus, "0"))


def test_a_field_without_support_and_a_lost_gpu_are_left_out() -> None:
    nvml = FakeNvml()
    nvml.without_power, nvml.without_events = True, True
    gpus = Gpus(nvml)
    assert "gpu_power_watts" not in values(gpus)
    nvml.lost.add(1)
    assert values(gpus, "1") == {}
    assert values(gpus, "0")["gpu_temperature_celsius"] == 61


def test_a_driver_that_is_gone_fails_the_scrape_and_is_opened_again() -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    nvml.lost |= {0, 1}
    nvml.without_power = True
    with pytest.raises(ScrapeFailed, match="NVML"):
        gpus.render()
    assert nvml.opened == 2
    nvml.lost.clear()
    assert values(gpus)["gpu_temperature_celsius"] == 61


async def test_a_page_is_made_in_a_thread() -> None:
    gpus = Gpus(FakeNvml())
    answer = await gpus.fetch()
    assert {name.decode() for name in answer.body.split() if name.startswith(b"gpu_")} >= {m.name for m in GPU_METRICS}
    gpus.close()


def test_a_machine_without_a_gpu_has_none() -> None:
    class NoDriver(FakeNvml):
        def nvmlInit(self) -> None:
            raise NVMLError("Driver Not Loaded")

    assert Gpus.find(NoDriver()) is None
    assert Gpus.find(FakeNvml(gpus=0)) is None
    assert Gpus.find(FakeNvml()) is not None


def _labels(gpus: Gpus) -> tuple:
    return Reader({}).read(gpus.render()).layout.labels
