"""The whole monitor, over scripted targets: every board, resume, zoom and budget in Chromium, and a clean end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import yaml
from aiohttp import web
from tests.web.test_traces import TRACE, batch

from llm_contract.settings import InvalidSettings, read
from llm_monitor.alerts import Alert
from llm_monitor.boards.catalog import BOARDS
from llm_monitor.history.recording import Recorder
from llm_monitor.series.selection import labels_of
from llm_monitor.server import Running, monitor
from llm_monitor.settings import MonitorSettings
from llm_monitor.testing.chromium import Browser, Tab, chromium
from llm_monitor.testing.fleet import TICK, ScriptedFleet, Server
from llm_monitor.web.security import hash_key

EXAMPLE = Path(__file__).parents[1] / "monitor.example.yaml"
PAGE_BYTES = 200_000
FIRST_PAINT_SECONDS = 1.0
CHARTS = "document.querySelectorAll('.panel:not(.empty) canvas').length"
LONG_ALERT = """
groups:
- name: long
  rules:
  - alert: AnAlertWhoseNameIsLongerThanThatOfAnyRuleWhichTheMonitorHas
    expr: label_replace(vector(1), "instance", "a-pod-with-a-long-name-5f7d8c9b6d-x2x4z.namespace.svc:8000", "", "")
    annotations: {summary: "a-pod-with-a-long-name-5f7d8c9b6d-x2x4z.namespace.svc:8000 is long"}
"""
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
FRESH = "document.querySelector('.fresh.live')"


class World(NamedTuple):
    running: Running
    fleet: ScriptedFleet


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Return a monitor over a fleet that works."""
    fleet = ScriptedFleet(3)
    targets = Server([exporter.page for _, exporter in fleet.exporters])
    await targets.start()
    fleet.names[:] = [url.removeprefix("http://") for url in targets.urls[:3]]

    async def work() -> None:
        while True:
            fleet.advance(TICK)
            await asyncio.sleep(TICK)

    working = asyncio.create_task(work())
    rules = tmp_path / "rules.yaml"
    rules.write_text(LONG_ALERT)
    settings = MonitorSettings(
        port=0,
        data=tmp_path,
        collect={"targets": targets.urls, "gpus": False},
        alerts={"rules": [rules], "runbooks": "http://127.0.0.1:8001/a/long/address/of/runbooks/{name}.html"},
    )
    async with monitor(settings) as running:
        yield World(running, fleet)
    working.cancel()
    await targets.stop()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


async def ask(world: World, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(world.running.url + path) as response:
        return await response.json()


async def samples(world: World) -> None:
    """Wait until rates have values."""
    async with asyncio.timeout(30):
        found: list[Any] = []
        while not found:
            await asyncio.sleep(0.1)
            found = (await ask(world, "/api/v1/query?query=rate(vllm:generation_tokens_total[5s])"))["data"]["result"]


async def test_every_board_is_clean_on_desktop_phone_and_in_the_dark(world: World, browser: Browser) -> None:
    tab = await browser.tab(world.running.url)
    await tab.until(f"{CHARTS} > 6")
    for board in BOARDS:
        await tab.goto(f"{world.running.url}/{'' if board.key == 'overview' else board.key}")
        await tab.until(f"{FRESH} && document.querySelector('[aria-current]')?.dataset.board === '{board.key}'")
        for width, dark in ((1440, False), (390, True), (390, False), (1440, True)):
            await tab.resize(width, 844, dark=dark)
            assert not await tab.evaluate(TOO_WIDE), (board.key, width)
    assert tab.complaints == []


async def test_the_page_is_small_and_soon_there(world: World, browser: Browser) -> None:
    tab = await browser.tab(world.running.url)
    await tab.until(f"{CHARTS} > 6")
    files = {url: size for url, size in tab.bytes_by_url.items() if "/live" not in url and "/api/" not in url}
    assert len(files) > 10
    assert sum(files.values()) <= PAGE_BYTES, files
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
    assert await tab.evaluate(paint) < FIRST_PAINT_SECONDS


async def test_a_stream_that_breaks_goes_on_without_a_gap(world: World, browser: Browser) -> None:
    tab = await browser.tab(f"{world.running.url}/engines?range=60")
    await tab.until(f"{CHARTS} > 6")
    await record_times(tab)
    await tab.until("window.times.size > 4")
    world.running.hub.close()  # all streams end, as if a proxy had cut them
    world.running.hub.reopen()
    before = await tab.evaluate("window.times.size")
    await tab.until(f"window.times.size > {before} + 8")
    times = await tab.evaluate("[...window.times]")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    cycles = await ask(world, "/api/v1/query?query=sum(monitor_cycles_skipped_total)")
    skipped = float(cycles["data"]["result"][0]["value"][1])
    assert max(gaps) <= 0.25 * (2 + skipped), gaps


async def record_times(tab: Tab) -> None:
    """Record the times of all values that the page gets."""
    script = """(() => {
      window.times = new Set();
      document.addEventListener('drawn', ({detail}) => detail.times.slice(-40).forEach((at) => window.times.add(at)));
    })()"""
    await tab.evaluate(script)


async def test_a_brush_zooms_and_the_address_says_so(world: World, browser: Browser) -> None:
    tab = await browser.tab(f"{world.running.url}/engines?range=60&by=engine")
    await tab.until(f"{CHARTS} > 6")
    await tab.evaluate("document.querySelector('[data-panel=running]').scrollIntoView({block: 'center'})")
    box = await tab.evaluate("document.querySelector('[data-panel=running] .u-over').getBoundingClientRect().toJSON()")
    middle = box["y"] + box["height"] / 2
    await tab.drag((box["x"] + box["width"] * 0.4, middle), (box["x"] + box["width"] * 0.9, middle))
    await tab.until("new URLSearchParams(location.search).has('start')")
    query = await tab.evaluate("Object.fromEntries(new URLSearchParams(location.search))")
    assert 20 < float(query["end"]) - float(query["start"]) < 40
    assert query["by"] == "engine"
    await tab.until("document.querySelector('.fresh.past') && document.querySelector('.back')")
    await tab.evaluate("document.querySelector('.back').click()")
    await tab.until(f"{FRESH} && !location.search.includes('start')")
    assert tab.complaints == []


async def test_a_trace_is_a_waterfall(world: World, browser: Browser) -> None:
    world.running.traces.add(batch(("a", "", 1.0, 2.0), ("b", "a", 1.2, 1.9)))
    tab = await browser.tab(f"{world.running.url}/requests?trace={TRACE.hex()}")
    await tab.until("document.querySelectorAll('.waterfall .span').length === 2")
    assert await tab.evaluate("document.querySelector('.waterfall .value').textContent") == "1.00 s"


async def test_an_alert_is_silenced_and_heard_again_on_the_page(world: World, browser: Browser) -> None:
    labels = labels_of({"alertname": "PreemptionRate", "instance": "a", "severity": "warning"})
    rule = next(each for each in world.running.engine.rules.alerts if each.alert == "PreemptionRate")
    alert = Alert(name="PreemptionRate", labels=labels, since=time.time() - 60, value=1.0, state="firing")
    alerts_of = world.running.engine.alerts_of
    world.running.engine.alerts = lambda: [alert]  # type: ignore[method-assign]
    world.running.engine.alerts_of = lambda each: [alert] if each is rule else alerts_of(each)  # type: ignore[method-assign]
    tab = await browser.tab(f"{world.running.url}/alerts")
    await tab.until("document.querySelector('.alert.firing button')?.textContent === 'Silence for an hour'")
    await tab.until("document.querySelector('.count').textContent === '1'")
    await tab.evaluate("document.querySelector('.alert button').click()")
    await tab.until("document.querySelector('.alert .pill').textContent === 'silenced'")
    await tab.until("document.querySelector('.count').hidden")
    await tab.evaluate("document.querySelector('.alert button').click()")
    await tab.until("document.querySelector('.alert .pill').textContent === 'firing'")
    assert tab.complaints == []


async def test_targets_and_rules_are_listed(world: World, browser: Browser) -> None:
    tab = await browser.tab(f"{world.running.url}/monitor")
    await tab.until("document.querySelectorAll('td.good').length >= 5")
    groups = (await ask(world, "/api/v1/rules"))["data"]["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} >= {"TargetDown", "EngineStalled"}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{world.running.url}/api/silences", json={"matchers": {}, "seconds": 1}) as refused:
            assert refused.status == 400
        async with session.delete(f"{world.running.url}/api/silences/none") as missing:
            assert missing.status == 404


async def test_keys_change_boards(world: World, browser: Browser) -> None:
    tab = await browser.tab(world.running.url)
    await tab.until(FRESH)
    await tab.press("3")
    await tab.until("location.pathname === '/gateway'")
    await tab.press("?")
    await tab.until("document.querySelector('#help').open")


async def test_no_series_of_the_scripted_fleet_is_missing(world: World) -> None:
    await samples(world)
    filters = await ask(world, "/api/filters")
    assert filters["model"] == ["main"]
    assert filters["engine"] == sorted(world.fleet.names)
    assert filters["class"] == ["batch", "interactive", "standard"]
    assert filters["tenant"] == ["product", "research"]
    assert len((await ask(world, "/api/boards"))["boards"]) == len(BOARDS)


async def test_a_wrong_choice_is_told(world: World) -> None:
    for path, message in (
        ("/live?board=nothing", "there is no board"),
        ("/live?by=colour", "by is 'colour'"),
        ("/live?window=wide", "window is 'wide'"),
        ("/api/range?board=engines&start=2&end=1", "start must be before end"),
        ("/api/annotations?start=x&end=1", "start is 'x'"),
    ):
        assert message in (await ask(world, path))["error"]


def test_the_example_is_valid() -> None:
    settings = read(MonitorSettings, prog="llm-monitor", argv=["--config", str(EXAMPLE)])
    assert settings.port == MonitorSettings().port
    shown = yaml.safe_load(EXAMPLE.read_text())
    assert set(shown) == set(json.loads(MonitorSettings().model_dump_json()))


def test_off_loopback_keys_are_needed() -> None:
    with pytest.raises(InvalidSettings, match=re.escape("web.keys must name a key")):
        read(MonitorSettings, prog="llm-monitor", argv=["--host", "0.0.0.0"])
    keys = json.dumps({"keys": [hash_key("k")]})
    assert read(MonitorSettings, prog="llm-monitor", argv=["--host", "0.0.0.0", "--web", keys]).host == "0.0.0.0"


async def test_a_process_serves_a_recording_and_ends_at_once(tmp_path: Path, world: World) -> None:
    recording = tmp_path / "incident.llmrec"
    recorder = Recorder(recording, world.running.head)
    await samples(world)
    recorder.close()
    command = (sys.executable, "-m", "llm_monitor", "replay", str(recording), "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        found: list[Any] = []
        while not found:
            async with session.get(
                f"{url}/api/v1/query?query=count_over_time(vllm:num_requests_running[5m])"
            ) as response:
                found = (await response.json())["data"]["result"]
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await process.wait() == 0
    assert {one["metric"]["job"] for one in found} == {"engine"}


async def test_a_viewer_that_hangs_up_in_mid_message_leaves_no_trace(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(*_: object) -> None:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(web.StreamResponse, "write", write)
    path = f"{world.running.url}/live?board=engines&span=60"
    async with aiohttp.ClientSession() as session, session.get(path) as response:
        assert await response.content.read() == b""
    assert world.running.hub.viewers == 0
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
