"""The collector's CPU time a target, and the memory of head and history over an hour.

    .venv/bin/python services/monitor/benchmarks/collecting.py [--seconds 30]

Part 1 scrapes 1, 10 and 100 busy engines four times a second over loopback; the exporters are a process of their own.
The CPU time is that of this process: the loop, HTTP, the reader and the head, and with the history its writer, too.

Part 2 lets an hour pass for 10 targets on a clock of its own: every scrape is read, appended, and written to the
history, without HTTP. Memory is read every 5 minutes of that hour.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from benchmarks.engine_pages import pages

from llm_measure import results
from llm_measure.processes import python
from llm_monitor.collect import Collector, Target
from llm_monitor.collect.exposition import Reader
from llm_monitor.history import History, Store
from llm_monitor.metrics import MonitorMetrics
from llm_monitor.series import Head

HZ = 4
COUNTS = (1, 10, 100)
WARM_SECONDS = 3.0
HOUR_PAGES = 600
"""Pages after which the counters of the hour begin anew."""
BAR_PERCENT = 0.5
BAR_MIB = 200.0
MIB = 2**20
BEGIN = 1_700_000_000.0


async def scrape(url: str, count: int, seconds: float, history_file: Path | None) -> dict[str, Any]:
    """Scrape `count` engines for a while, and return what that costs."""
    targets = [Target(f"{url}/{number}/metrics", "engine", (("instance", f"e{number}"),)) for number in range(count)]
    head, metrics = Head(), MonitorMetrics()
    cycles: list[float] = []
    collector = Collector(targets, head, metrics=metrics, interval=1 / HZ)
    collector.on_cycle(cycles.append)
    tasks = [asyncio.create_task(collector.run())]
    if history_file is not None:
        tasks.append(asyncio.create_task(History(Store(history_file), head, metrics=metrics).run()))
    await asyncio.sleep(WARM_SECONDS)
    first, began, cpu = len(cycles), time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    spent, wall, passed = time.process_time() - cpu, time.perf_counter() - began, len(cycles) - first
    durations = sorted(state.duration for state in collector.states())
    up = sum(state.up for state in collector.states())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    found = {
        "targets": count,
        "up": up,
        "series": head.series,
        "history": history_file is not None,
        "cycles": passed,
        "cpu_percent_a_target": 100 * spent / wall / count * (wall * HZ / passed),
        "cpu_ms_a_scrape": 1000 * spent / passed / count,
        "last_scrape_ms_median": 1000 * durations[len(durations) // 2],
    }
    print("  " + ", ".join(f"{name} {value:.3g}" for name, value in found.items()), flush=True)
    return found


def an_hour(targets: int, folder: Path) -> dict[str, Any]:
    """Let an hour pass. Return the resident memory, and the CPU time a second of that hour."""
    rendered = pages(HOUR_PAGES)
    clock = [BEGIN]
    head = Head()
    store = Store(folder / "hour.db")
    history = History(store, head, now=lambda: clock[0])
    readers = [Reader({"job": "engine", "instance": f"e{number}"}) for number in range(targets)]
    process, memory, writing = psutil.Process(), [], 0.0
    began = time.process_time()
    for step in range(3600 * HZ):
        clock[0] = BEGIN + (step + 1) / HZ
        for number, reader in enumerate(readers):
            page = rendered[(step + 7 * number) % len(rendered)]  # the engines do not do the same at the same time
            head.append(f"e{number}", clock[0], reader.read(page))
        if step % HZ == HZ - 1:
            before = time.process_time()
            history.tick()
            writing += time.process_time() - before
        if step % (300 * HZ) == 300 * HZ - 1:
            memory.append(process.memory_info().rss / MIB)
    assert not history.error, history.error
    return {
        "targets": targets,
        "series": head.series,
        "memory_mib_every_5_minutes": [round(value, 1) for value in memory],
        "cpu_percent": 100 * (time.process_time() - began) / 3600,
        "history_cpu_percent": 100 * writing / 3600,
        "history_mib": store.size / MIB,
    }


async def measure(seconds: float, folder: Path) -> list[dict[str, Any]]:
    with python(str(Path(__file__).with_name("engine_pages.py"))) as exporters:
        return [
            await scrape(exporters.url, count, seconds, folder / f"{count}.db" if with_history else None)
            for count in COUNTS
            for with_history in (False, True)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--no-write", action="store_true", help="leave results/collecting.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    with tempfile.TemporaryDirectory() as folder:
        hour = an_hour(10, Path(folder))
        print(f"  an hour: {hour}", flush=True)
        scrapes = asyncio.run(measure(arguments.seconds, Path(folder)))
    found = {"machine": machine, "hz": HZ, "page_bytes": len(pages(1)[0]), "scrapes": scrapes, "hour": hour}
    by_count = {(run["targets"], run["history"]): run["cpu_percent_a_target"] for run in scrapes}
    memory = hour["memory_mib_every_5_minutes"]
    bars = {
        "CPU a target, 10 targets, % of a core": (by_count[10, False], "<=", BAR_PERCENT),
        "CPU a target, 100 targets, % of a core": (by_count[100, False], "<=", BAR_PERCENT),
        "CPU a target with history, 10 targets, % of a core": (by_count[10, True], "<=", BAR_PERCENT),
        "memory after an hour of 10 targets, MiB": (memory[-1], "<=", BAR_MIB),
        "growth of memory in the last half hour, MiB": (memory[-1] - memory[5], "<=", 5.0),
    }
    held = results.check(found, bars)
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
