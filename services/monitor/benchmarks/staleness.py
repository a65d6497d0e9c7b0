"""Staleness: from a value's change in an engine to pixels in headless Chromium.

    python services/monitor/benchmarks/staleness.py                # 10 targets, then 100; five minutes each
    python services/monitor/benchmarks/staleness.py --seconds 60 --targets 10

Every engine serves a page of a scripted engine. About once a second the number of running requests of one of them rises
by one, at a random moment, so at any phase of the scrape cycle. The board of the engines, all its panels in view, shows
their sum. The page's own event after a frame is drawn, and then a message that runs once the frame was presented, give
the time at which a rise was on the screen. The clock of all processes is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import yaml

from llm_contract.metrics import REQUESTS_RUNNING
from llm_measure.processes import Server, python
from llm_measure.results import check, machine, write
from llm_monitor.testing.chromium import Tab, chromium
from llm_monitor.testing.fleet import MODEL, ScriptedFleet
from llm_monitor.testing.fleet import Server as Exporters
from llm_report.percentile import percentile

LIMITS = {10: 500.0, 100: 1000.0}
"""P99 in milliseconds by number of targets."""
GAP = (0.5, 1.5)
"""Seconds between two changes."""
BUSY, LOAD = 10, 0.7
"""Engines that serve requests, and how much."""
SETTLE = 10.0
LATE = 5.0
"""Seconds after the last change in which it has to be seen."""
WIDTH, HEIGHT = 1600, 2600
WATCH = """() => {
  window.seen = [];
  const shown = document.querySelector('[data-panel=running] .value');
  const channel = new MessageChannel();
  let waiting = null;
  channel.port1.onmessage = () => { window.seen.push(waiting.concat(Date.now() / 1000)); waiting = null; };
  let last = '';
  document.addEventListener('drawn', (event) => {
    if (shown.textContent === last || waiting) return;
    last = shown.textContent;
    waiting = [Number(last.replaceAll(',', '')), event.detail.time];
    channel.port2.postMessage(0);
  });
}"""


class Changes:
    """The running requests of all engines, and when their sum rose to what."""

    def __init__(self, targets: int) -> None:
        self._fleet = ScriptedFleet(targets)
        self._random = random.Random(7)
        self._values = [1.0] * targets
        for index in range(targets):
            self._fleet.move_engine(index, 1.0, LOAD)
            self._set(index)
        self.times: list[tuple[float, float]] = []
        """(sum, Unix seconds)."""

    @property
    def pages(self) -> list[Callable[[], bytes]]:
        return [engine.page for engine in self._fleet.engines]

    async def work(self) -> None:
        """Let some engines serve requests, one after the other, so that no panel is empty. Run until cancelled."""
        while True:
            for index in range(min(BUSY, len(self._values))):
                await asyncio.sleep(1 / BUSY)
                self._fleet.move_engine(index, 1.0, LOAD)
                self._set(index)

    async def run(self, seconds: float) -> None:
        """Raise a random engine's value now and then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._random.uniform(*GAP))
            index = self._random.randrange(len(self._values))
            self._values[index] += 1
            self._set(index)
            self.times.append((sum(self._values), time.time()))

    def _set(self, index: int) -> None:
        engine = self._fleet.engines[index]
        engine.set(REQUESTS_RUNNING, self._values[index], MODEL, "0")
        engine.page()  # rendered ahead, as a page that changes costs the exporter, not the monitor


async def measure(targets: int, seconds: float) -> dict[str, Any]:
    changes = Changes(targets)
    exporters = Exporters(changes.pages)
    await exporters.start()
    working = asyncio.create_task(changes.work())
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "monitor.yaml"
        settings = {"port": 0, "data": folder, "collect": {"targets": exporters.urls, "gpus": False}}
        config.write_text(yaml.safe_dump(settings))
        starting = python("-m", "llm_monitor", "serve", "--config", str(config))
        server = await asyncio.to_thread(starting.__enter__)
        try:
            return await _watch(server, changes, targets, seconds)
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)
            working.cancel()
            await exporters.stop()


async def _watch(server: Server, changes: Changes, targets: int, seconds: float) -> dict[str, Any]:
    async with chromium() as browser:
        tab = await browser.tab(f"{server.url}/engines", width=WIDTH, height=HEIGHT)
        await tab.until("document.querySelectorAll('.panel:not(.empty) canvas').length >= 20", 60)
        panels = await tab.evaluate("document.querySelectorAll('.panel:not(.empty)').length")
        await asyncio.sleep(SETTLE)
        await tab.evaluate(f"({WATCH})()")
        before, began = server.cpu_seconds(), time.monotonic()
        await changes.run(seconds)
        cpu = (server.cpu_seconds() - before) / (time.monotonic() - began)
        await _seen_last(tab, changes)
        seen = await tab.evaluate("window.seen")
        problems = tab.complaints
    found = staleness(changes.times, [(shown, at) for shown, _, at in seen])
    return {
        "targets": targets,
        "panels": panels,
        "seconds": seconds,
        "changes": len(found),
        "p50_ms": 1000 * percentile(found, 50),
        "p99_ms": 1000 * percentile(found, 99),
        "max_ms": 1000 * max(found),
        "monitor_cpu_of_a_core": cpu,
        "monitor_cpu_of_a_core_a_target": cpu / targets,
        "monitor_resident_bytes": server.resident_bytes(),
        "console": problems,
    }


async def _seen_last(tab: Tab, changes: Changes) -> None:
    """Wait until the last change is on the screen; a change that never comes fails the run."""
    last = orjson.dumps(changes.times[-1][0]).decode()
    await tab.until(f"window.seen.some((each) => each[0] >= {last})", LATE)


def staleness(changes: list[tuple[float, float]], seen: list[tuple[float, float]]) -> list[float]:
    """Return for each change the seconds until the first frame that shows its sum, or a later one."""
    found, place = [], 0
    for total, changed in changes:
        while seen[place][0] < total:
            place += 1
        found.append(seen[place][1] - changed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, nargs="+", default=list(LIMITS))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "runs": []}
    for targets in arguments.targets:
        run = asyncio.run(measure(targets, arguments.seconds))
        print({name: round(value, 3) if isinstance(value, float) else value for name, value in run.items()}, flush=True)
        found["runs"].append(run)
    bars = {
        f"P99 of {run['targets']} targets, ms": (run["p99_ms"], "<=", LIMITS.get(run["targets"], 1000.0))
        for run in found["runs"]
    }
    holds = check(found, bars)
    if not arguments.no_write:
        print(write(__file__, found))
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
