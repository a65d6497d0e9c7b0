"""A real Alertmanager: our alerts arrive and resolve. Debian's package is `prometheus-alertmanager`."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.support_promql import Memory

from llm_monitor.alerts.engine import AlertEngine
from llm_monitor.alerts.notify import GroupingNotifier
from llm_monitor.alerts.receivers import make
from llm_monitor.alerts.rules import parse_rules
from llm_monitor.alerts.settings import AlertmanagerSettings, AlertSettings, SloSettings

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus-alertmanager") and shutil.which("amtool")), reason="Alertmanager is not installed"
)
CONFIG = "route: {receiver: none, group_by: [alertname]}\nreceivers: [{name: none}]\n"
RULES = """
groups:
- name: a
  rules:
  - alert: Down
    expr: up == 0
    labels: {severity: critical}
    annotations: {summary: "{{ $labels.instance }} is down"}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "alertmanager.yml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
async def alertmanager(tmp_path: Path, config: Path) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _until(lambda session: _ready(session, f"http://{address}/-/ready"))
        yield f"http://{address}"
    finally:
        process.terminate()
        await process.wait()


async def _ready(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(url) as response:
        return response.status == 200


async def _until(condition, timeout: float = 60.0) -> None:
    async with asyncio.timeout(timeout), aiohttp.ClientSession() as session:
        while True:
            try:
                if await condition(session):
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def test_alerts_arrive_in_alertmanager_and_resolve(alertmanager: str) -> None:
    now = time.time()
    memory = Memory().add("up", [(now - 10, 0), (now + 100, 1)], instance="a:1", job="engine")
    settings = AlertSettings(receivers=[AlertmanagerSettings(type="alertmanager", url=alertmanager)])
    async with aiohttp.ClientSession() as session:
        notifier = GroupingNotifier(settings, make(settings.receivers, session))
        engine = AlertEngine(parse_rules(RULES, "r", SloSettings()), memory, notifier=notifier)
        delivering = asyncio.create_task(notifier.run())
        engine.evaluate(now - 5)
        await _until(lambda _: _has(alertmanager, ["Down"]))
        shown = _amtool(alertmanager)
        assert shown[0]["labels"] == {"alertname": "Down", "instance": "a:1", "job": "engine", "severity": "critical"}
        assert shown[0]["annotations"] == {"summary": "a:1 is down"}
        memory.series.clear()
        engine.evaluate(time.time())
        await _until(lambda _: _has(alertmanager, []))
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        assert [delivery.failed for delivery in notifier.streams] == [0]


async def _has(address: str, names: list[str]) -> bool:
    return [each["labels"]["alertname"] for each in await asyncio.to_thread(_amtool, address)] == names


def _amtool(address: str) -> list[dict]:
    command = ["amtool", "alert", "query", f"--alertmanager.url={address}", "--output=json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
