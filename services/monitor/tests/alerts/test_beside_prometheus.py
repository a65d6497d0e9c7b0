"""A real Prometheus with the generated rules and this engine watch the same targets while one of them dies."""

from __future__ import annotations

import asyncio
import datetime
import json
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from llm_monitor.alerts.prometheus import rule_file
from llm_monitor.alerts.settings import AlertSettings
from llm_monitor.testing.incidents import hasty_rules, killed
from llm_monitor.testing.watch import Watch

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed")
SECONDS = 60.0


def lay_out(folder: Path, targets: tuple[str, ...]) -> Path:
    (folder / "rules.yaml").write_text(rule_file(AlertSettings()))
    job = {"job_name": "engine", "static_configs": [{"targets": list(targets)}]}
    times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": times, "rule_files": ["rules.yaml"], "scrape_configs": [job]}))
    return config


@asynccontextmanager
async def prometheus(config: Path) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--web.listen-address={address}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}/api/v1"
    finally:
        process.terminate()
        await process.wait()


async def until(url: str, condition: Callable[[Any], bool]) -> Any:
    """Return the data of an API path once it meets a condition."""
    async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    data = (await response.json())["data"]
                if condition(data):
                    return data
            except (aiohttp.ClientError, json.JSONDecodeError):
                pass  # it starts
            await asyncio.sleep(0.2)


def all_up(data: Any) -> bool:
    return [target["health"] for target in data["activeTargets"]] == ["up", "up"]


def fires(data: Any) -> bool:
    return any(alert["state"] == "firing" for alert in data["alerts"])


async def test_both_fire_the_same_alert_at_the_same_time(tmp_path: Path) -> None:
    async with killed() as incident:
        config = await asyncio.to_thread(lay_out, tmp_path, incident.targets)
        async with prometheus(config) as api, Watch(hasty_rules(1.0, 1.0), incident.targets) as watch:
            await until(f"{api}/targets", all_up)
            assert not watch.fired
            await incident.begin()
            await watch.until(lambda: bool(watch.fired), SECONDS)
            ((name, ours),) = watch.fired.items()
            (theirs,) = (await until(f"{api}/alerts", fires))["alerts"]
            assert (name, theirs["labels"], theirs["annotations"]) == (
                "TargetDown",
                dict(ours.labels),
                ours.annotations,
            )
            # Both scrape within a second of its death and evaluate within another one.
            assert abs(datetime.datetime.fromisoformat(theirs["activeAt"]).timestamp() - ours.since) < 4
            await incident.end()
            await watch.until(lambda: watch.engine.alerts()[0].state == "resolved", SECONDS)
            await until(f"{api}/alerts", lambda data: data["alerts"] == [])
