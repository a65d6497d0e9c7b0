"""Random kills for minutes under load: nothing may be lost, memory must stay flat, and no process may be left.

    .venv/bin/python services/router/benchmarks/chaos.py [--minutes 5] [--seed 0]

Every few seconds an engine, its actor or Serve's controller is killed, or an engine is stopped so that it holds its
connections and says nothing. At most one engine of four is down by our hand at a time: the next blow comes when the
last one is repaired.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import psutil
from benchmarks import stack
from benchmarks.stack import Router
from benchmarks.watching import Watch, complete

from llm_measure import results
from llm_measure.traffic import LOST, Traffic

ENGINES = 4
ENGINE = f"{stack.SCRIPTED} --gaps 0.02 --max-running 16"
BLOWS = {"engine": 4, "replica": 3, "wedged": 2, "controller": 1}
"""Kind -> how often, relative to the others."""
PAUSE_SECONDS = (2.0, 6.0)
"""Least and most time between a repair and the next blow."""
REPAIR_SECONDS = 120.0
SETTLED_SHARE = 0.2
"""Share of the run after which memory counts: before that, pools and buffers fill."""
GROWTH_LIMIT = 1.1
LEFT_SECONDS = 5.0
"""Time that processes have to end once the router has ended."""
MIB = 2**20


class Chaos:
    """The blows, and the memory of the router without its engines after each repair."""

    def __init__(self, router: Router, watch: Watch, seed: int) -> None:
        self._router = router
        self._watch = watch
        self._random = random.Random(seed)
        self.blows: Counter[str] = Counter()
        self.memory_mib: list[float] = []
        self.repairs: list[float] = []
        """Seconds each."""

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._random.uniform(*PAUSE_SECONDS))
            begin = time.monotonic()
            gone = await asyncio.to_thread(self._strike)
            await self._watch.until(complete(ENGINES, gone), timeout=REPAIR_SECONDS, what="repair")
            self.repairs.append(time.monotonic() - begin)
            self.memory_mib.append(await asyncio.to_thread(self._router.overhead_bytes) / MIB)

    def _strike(self) -> set[int]:
        """Deal one blow. Return the pid of the engine that must be replaced, none for the controller's."""
        (kind,) = self._random.choices(list(BLOWS), list(BLOWS.values()))
        self.blows[kind] += 1
        if kind == "controller":
            for process in self._router.named("ServeController"):
                process.kill()
            return set()
        victim = self._random.choice(self._router.live())
        number = signal.SIGSTOP if kind == "wedged" else signal.SIGKILL
        stack.kill(victim["pid" if kind == "replica" else "engine_pid"], number)
        return {victim["engine_pid"]}


async def run(minutes: float, seed: int) -> dict[str, Any]:
    configuration = stack.config(ENGINE, replicas=ENGINES, max_running=16, progress_timeout=2.0)
    with stack.running(configuration, gpus=ENGINES) as router:
        await asyncio.to_thread(router.wait_for, ENGINES)
        async with Watch(router) as watch:
            chaos = Chaos(router, watch, seed)
            async with Traffic(router.url, **stack.LOAD) as traffic:
                await chaos.run(60 * minutes)
        router.family()
    left = [*router.server.left, *_end(list(router.seen.values()))]
    return {
        "minutes": minutes,
        "seed": seed,
        "blows": dict(chaos.blows),
        "longest_repair": max(chaos.repairs, default=0.0),
        "memory_mib": chaos.memory_mib,
        "left": left,
        "load": traffic.summary(),
    }


def _end(processes: list[psutil.Process]) -> list[str]:
    """Kill those of the processes that live on. Return their names."""
    left = []
    for process in psutil.wait_procs(processes, timeout=LEFT_SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(process.name())
                process.kill()
    return left


def growth(memory: list[float]) -> float:
    """Return the mean memory of the last fifth over that of the fifth after the beginning."""
    count = max(1, int(SETTLED_SHARE * len(memory)))
    settled, last = memory[count : 2 * count] or memory, memory[-count:]
    return (sum(last) / len(last)) / (sum(settled) / len(settled))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-write", action="store_true", help="leave results/chaos.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    found = {"machine": machine, **asyncio.run(run(arguments.minutes, arguments.seed))}
    load = found["load"]
    print(
        f"  {load['unary']:,} requests and {load['streams']:,} streams, {found['blows']}, {load['seen'] or 'none lost'}"
    )
    print(
        f"  longest repair {found['longest_repair']:.1f} s, memory {[round(each) for each in found['memory_mib']]} MiB"
    )
    print(f"  processes left: {found['left']}")
    held = results.check(
        found,
        {
            **{name.replace("_", " "): (float(load[name]), "<=", 0.0) for name in LOST},
            "memory at the end, of the beginning": (growth(found["memory_mib"]), "<=", GROWTH_LIMIT),
            "processes left": (float(len(found["left"])), "<=", 0.0),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
