"""All that fills the head, from settings."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support_exporter import exporter, samples, until
from tests.support_nvml import FakeNvml

from llm_monitor.collect import collection
from llm_monitor.collect.collection import Collection
from llm_monitor.collect.gpu import Gpus
from llm_monitor.collect.settings import CollectSettings


async def test_static_and_found_targets_gpus_and_the_monitor_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection.Gpus, "find", classmethod(lambda cls: Gpus(FakeNvml())))
    async with exporter() as static, exporter() as found:
        (tmp_path / "targets.yaml").write_text(f"- targets: ['{found.address}']\n  labels: {{job: engine}}\n")
        settings = CollectSettings(targets=[static.address], files=[tmp_path / "targets.yaml"], interval=0.1)
        running = Collection(settings)
        task = asyncio.create_task(running.run())

        def complete() -> bool:
            head = running.head
            jobs = [
                samples(head, "x", instance=found.address, job="engine"),
                samples(head, "x", instance=static.address),
            ]
            own = [samples(head, "monitor_series", job="monitor"), samples(head, "gpu_power_watts", job="gpu", gpu="1")]
            return all([*jobs, *own])

        await until(complete)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert samples(running.head, "x", instance=found.address)[-1] is None
    assert samples(running.head, "gpu_power_watts", gpu="0")[-1] is None
