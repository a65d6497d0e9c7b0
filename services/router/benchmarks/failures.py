"""Each part of the router is killed under load, N times: what is lost, how long requests go astray, when it is back.

    .venv/bin/python services/router/benchmarks/failures.py [--times 10] [--only engine replica]

engine       SIGKILL of an engine server
wedged       SIGSTOP of an engine server: it holds its connections and says nothing
replica      SIGKILL of the actor that owns an engine
controller   SIGKILL of Serve's controller; then of an engine, which the new controller must replace
node         SIGKILL of a Ray node with all its processes; the cluster has three on this machine
gcs          SIGKILL of Ray's global control store; the data plane must go on without it

Unary requests and streams run all the time. Each answer is compared, word by word, with the undisturbed one: scripted
engines continue a replayed stream from its text. "Out of rotation" is the time from the signal until the edge sends
nothing to the engine any more; "full capacity" the time until as many engines as before are live.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import cluster, stack
from benchmarks.stack import Router
from benchmarks.watching import Watch, complete

from llm_measure import results
from llm_measure.processes import python, scripted_engine
from llm_measure.traffic import LOST, Traffic

ENGINES = 3
GPUS = 4
NODE_GPUS = (0, 2, 2)
"""Each worker has an engine, so one of them has one without the edge."""
PROGRESS_TIMEOUT = 2.0
ENGINE = f"{stack.SCRIPTED} --gaps 0.02 --max-running 16 --load-seconds 1"
BETWEEN_SECONDS = 2.0
"""Undisturbed load before each signal."""
BACK_SECONDS = 90.0
WITHOUT_GCS_SECONDS = 20.0
Case = dict[str, Any]


def config() -> stack.Json:
    return stack.config(ENGINE, replicas=ENGINES, max_running=16, progress_timeout=PROGRESS_TIMEOUT)


@asynccontextmanager
async def under_load(case: Case, router: Router) -> AsyncIterator[Watch]:
    """Run the load in the block, then add what it lost to the case."""
    await asyncio.to_thread(router.wait_for, ENGINES)
    async with Watch(router, every=0.025) as watch:
        async with Traffic(router.url, **stack.LOAD) as traffic:
            yield watch
        case["loads"].append(traffic.summary())


async def kill_one(
    watch: Watch, router: Router, case: Case, *, pid: str, number: signal.Signals = signal.SIGKILL
) -> None:
    """Send a signal to an engine (`pid` "engine_pid") or to its actor ("pid"), and time what follows."""
    await asyncio.sleep(BETWEEN_SECONDS)
    victim = (await asyncio.to_thread(router.live))[0]
    moment = stack.kill(victim[pid], number)
    await note(watch, case, moment, {victim["engine_pid"]})


async def note(watch: Watch, case: Case, moment: float, gone: set[int]) -> None:
    """Wait until the engines with the pids `gone` get no requests, and until others have taken their place."""
    limits: dict[str, Any] = {"timeout": BACK_SECONDS, "since": moment}
    out = await watch.until(lambda sample: not sample.pids & gone, what="ejection", **limits)
    case["out_of_rotation"].append(out.moment - moment)
    back = await watch.until(complete(ENGINES, gone), what="full capacity", **limits)
    case["full_capacity"].append(back.moment - moment)
    print(f"  out after {1e3 * case['out_of_rotation'][-1]:.0f} ms, back after {case['full_capacity'][-1]:.1f} s")


async def one_stack(case: Case, times: int, strike: Callable[[Watch, Router], Any]) -> None:
    """Strike `times` times in one run of one stack."""
    with stack.running(config(), gpus=GPUS) as router:
        async with under_load(case, router) as watch:
            for _ in range(times):
                await strike(watch, router)


async def engine(case: Case, times: int) -> None:
    await one_stack(case, times, lambda watch, router: kill_one(watch, router, case, pid="engine_pid"))


async def wedged(case: Case, times: int) -> None:
    await one_stack(
        case, times, lambda watch, router: kill_one(watch, router, case, pid="engine_pid", number=signal.SIGSTOP)
    )


async def replica(case: Case, times: int) -> None:
    await one_stack(case, times, lambda watch, router: kill_one(watch, router, case, pid="pid"))


async def controller(case: Case, times: int) -> None:
    async def strike(watch: Watch, router: Router) -> None:
        for process in router.named("ServeController"):
            process.kill()
        await kill_one(watch, router, case, pid="engine_pid")

    await one_stack(case, times, strike)


async def node(case: Case, times: int) -> None:
    with (
        cluster.three_nodes(gpus=NODE_GPUS) as nodes,
        stack.running(config(), gpus=0, address=nodes.address) as router,
    ):
        async with under_load(case, router) as watch:
            for _ in range(times):
                await asyncio.sleep(BETWEEN_SECONDS)
                live = await asyncio.to_thread(router.live)
                moment, killed = await asyncio.to_thread(nodes.kill_one, live, spare=router.url)
                await asyncio.to_thread(nodes.replace)
                await note(watch, case, moment, killed)


async def gcs(case: Case, times: int) -> None:
    """Kill the GCS, each time in a new stack: without GCS fault tolerance, a cluster does not survive its death."""
    for _ in range(times):
        with stack.running(config(), gpus=GPUS) as router:
            async with under_load(case, router):
                await asyncio.sleep(BETWEEN_SECONDS)
                for process in router.named("gcs_server"):
                    process.kill()
                await asyncio.sleep(WITHOUT_GCS_SECONDS)


KINDS = {"engine": engine, "wedged": wedged, "replica": replica, "controller": controller, "node": node, "gcs": gcs}
OUT_LIMITS = {"engine": 0.1, "replica": 0.1, "controller": 0.1, "node": 2.0, "wedged": PROGRESS_TIMEOUT + 3.0}
"""Seconds out of rotation, at most."""
BACK_LIMIT = 10.0
"""Seconds from the signal to full capacity, more than an engine's start takes."""


def engine_start() -> float:
    """Return the seconds that an engine needs to listen, here and now."""
    begin = time.monotonic()
    with python(*scripted_engine("--load-seconds", "1")):
        return time.monotonic() - begin


def measure(kind: str, times: int) -> Case:
    case: Case = {"times": times, "out_of_rotation": [], "full_capacity": [], "loads": []}
    print(f"{kind}, {times} times", flush=True)
    asyncio.run(KINDS[kind](case, times))
    case["lost"] = {name: sum(load[name] for load in case["loads"]) for name in LOST}
    case["answers"] = sum(load["unary"] + load["streams"] for load in case["loads"])
    print(f"  {case['answers']:,} answers, {case['lost']}, {[load['seen'] for load in case['loads'] if load['seen']]}")
    return case


def bars(cases: dict[str, Case], start: float) -> dict[str, tuple[float, str, float]]:
    checks: dict[str, tuple[float, str, float]] = {}
    for kind, case in cases.items():
        for name, count in case["lost"].items():
            checks[f"{kind}: {name.replace('_', ' ')}"] = (float(count), "<=", 0.0)
        if case["out_of_rotation"]:
            checks[f"{kind}: longest time out of rotation, s"] = (max(case["out_of_rotation"]), "<=", OUT_LIMITS[kind])
            limit = start + BACK_LIMIT + (OUT_LIMITS[kind] if kind == "wedged" else 0.0)
            checks[f"{kind}: longest time to full capacity, s"] = (max(case["full_capacity"]), "<=", limit)
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="signals of each kind")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--no-write", action="store_true", help="leave results/failures.json as it is")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": results.machine(), "engines": ENGINES, "load": stack.LOAD}
    found["engine_start"] = engine_start()
    found["cases"] = {kind: measure(kind, arguments.times) for kind in arguments.only}
    held = results.check(found, bars(found["cases"], found["engine_start"]))
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
