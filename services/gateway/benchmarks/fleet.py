"""The cost of one queue over several processes: one gateway alone, one with Redis, two with Redis, under equal load.

    .venv/bin/python services/gateway/benchmarks/fleet.py [--rounds 3]

A closed loop of 32 connections in all, on an engine with canned answers. Client, engine, Redis and gateways share the
machine's cores, so requests per second show the capacity of this machine. CPU time per request, of all gateways and
Redis together, shows the cost on any machine, and so how throughput grows with more cores.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psutil
from benchmarks.servers import bare_engine, gateway

from llm_gateway.fleet.testing import RedisServer
from llm_measure import results
from llm_measure.processes import Server, python

CONNECTIONS = 32
REPLICAS = {"alone": 1, "fleet of 1": 1, "fleet of 2": 2}
BAR_CPU_RATIO = 2.0
"""CPU time of a request in a fleet of two, over that of a gateway alone."""


async def measure(case: str, seconds: float) -> dict[str, Any]:
    async with RedisServer() as redis:
        assert redis.process is not None
        shared = psutil.Process(redis.process.pid)
        flags = () if case == "alone" else ("--fleet", f'{{"redis_url": "{redis.url}"}}')
        with ExitStack() as stack:
            engine = stack.enter_context(python(*bare_engine()))
            slots = f'[{{"url": "{engine.url}", "max_in_flight": {2 * CONNECTIONS}}}]'
            replicas = [stack.enter_context(python(*gateway(slots, *flags))) for _ in range(REPLICAS[case])]
            before = _cpu(replicas, shared)
            loads = await asyncio.to_thread(_loads, replicas, seconds)
            used = _cpu(replicas, shared) - before
    requests = sum(load["requests"] for load in loads)
    return {
        "case": case,
        "per_second": requests / seconds,
        "cpu_ms_per_request": 1e3 * used / (requests * (seconds + 1) / seconds),
        "failed": sum(load["failed"] for load in loads),
    }


def _loads(replicas: list[Server], seconds: float) -> list[dict[str, Any]]:
    arguments = ("closed", "--connections", str(CONNECTIONS // len(replicas)), "--seconds", str(seconds))
    with ThreadPoolExecutor(len(replicas)) as pool:
        return list(pool.map(lambda replica: results.load(replica.url, *arguments), replicas))


def _cpu(replicas: list[Server], redis: psutil.Process) -> float:
    times = redis.cpu_times()
    return sum(replica.cpu_seconds() for replica in replicas) + times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds per load, after one of warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave results/fleet.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    runs = [asyncio.run(measure(case, arguments.seconds)) for _ in range(arguments.rounds) for case in REPLICAS]
    cases = {case: _summary([run for run in runs if run["case"] == case]) for case in REPLICAS}
    for case, one in cases.items():
        print(f"  {case:<12} {one['per_second']:>8.0f} /s {one['cpu_ms_per_request']:>7.2f} ms CPU a request")
    ratio = cases["fleet of 2"]["cpu_ms_per_request"] / cases["alone"]["cpu_ms_per_request"]
    found = {"machine": machine, "cases": cases, "cpu_ratio": ratio, "runs": runs}
    held = results.check(
        found,
        {
            "CPU of a request in a fleet of two, of alone": (ratio, "<=", BAR_CPU_RATIO),
            "failed requests": (float(sum(run["failed"] for run in runs)), "<=", 0.0),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


def _summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in ("per_second", "cpu_ms_per_request")}


if __name__ == "__main__":
    main()
