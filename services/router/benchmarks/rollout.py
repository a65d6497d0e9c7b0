"""New versions under load: nothing lost, as many engines live as promised, and a version that cannot start taken back.

    .venv/bin/python services/router/benchmarks/rollout.py [--rounds 3]

spare     a changed engine flag, with GPUs to spare: never fewer than N engines live
tight     the same without a spare GPU: never fewer than N - 1
broken    an engine command that fails at once: capacity unchanged, the former version stays
edge      a changed setting of the edge: its successor takes over the port
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import statistics
import sys
import time
from typing import Any

from benchmarks import stack
from benchmarks.stack import Router
from benchmarks.watching import Watch

from llm_measure import results
from llm_measure.traffic import LOST, Traffic

ENGINES = 3
ENGINE = f"{stack.SCRIPTED} --gaps 0.02 --max-running 16 --load-seconds 2"
GPUS = {"spare": 2 * ENGINES, "tight": ENGINES, "broken": ENGINES + 1, "edge": ENGINES}
LEAST_LIVE = {"spare": ENGINES, "tight": ENGINES - 1, "broken": ENGINES, "edge": ENGINES}
ENDINGS = {"spare": "done", "tight": "done", "broken": "rolled_back", "edge": "done"}
ROLLOUT_SECONDS = 180.0
SETTLE_SECONDS = 3.0
"""Load before and after the rollout."""
Case = dict[str, Any]


def changed(configuration: stack.Json, kind: str) -> stack.Json:
    new = copy.deepcopy(configuration)
    engines, edge = (application["args"] for application in new["applications"])
    if kind == "edge":
        edge["edge_drain_timeout"] = 61.0
    elif kind == "broken":
        engines["engine_command"] = "{python} -c 'raise SystemExit(\"no such model\")' --port {port}"
        engines["start_timeout"] = 20.0
    else:
        engines["engine_command"] += " --max-model-len 4096"
    return new


async def measure(kind: str) -> Case:
    configuration = stack.config(ENGINE, replicas=ENGINES, max_running=16)
    with stack.running(configuration, gpus=GPUS[kind]) as router:
        await asyncio.to_thread(router.wait_for, ENGINES)
        async with Watch(router) as watch:
            async with Traffic(router.url, **stack.LOAD) as traffic:
                await asyncio.sleep(SETTLE_SECONDS)
                begin = time.monotonic()
                await asyncio.to_thread(router.deploy, changed(configuration, kind))
                ended = await asyncio.to_thread(_ended, router, "edge" if kind == "edge" else "engines")
                seconds = time.monotonic() - begin
                await asyncio.sleep(SETTLE_SECONDS)
            live = [len(sample.live) for sample in watch.since(begin)]
    found = {"kind": kind, "state": ended, "seconds": seconds, "least_live": min(live), "most_live": max(live)}
    print(f"  {kind:<7} {found['state']:<12} {seconds:>5.1f} s, {min(live)} to {max(live)} live", flush=True)
    return {**found, "load": traffic.summary()}


def _ended(router: Router, application: str) -> str:
    """Return the state in which the newest rollout of the application ends."""
    states: list[str] = []

    def settled() -> bool:
        rollouts = (router.status()["control"] or {"rollouts": []})["rollouts"]
        states[:] = [one["state"] for one in rollouts if one["application"] == application and one["from_version"]]
        return bool(states) and states[-1] in ("done", "rolled_back", "failed")

    stack.wait_until(settled, timeout=ROLLOUT_SECONDS, what=f"end of the rollout of {application}")
    return states[-1]


def bars(runs: list[Case]) -> dict[str, tuple[float, str, float]]:
    checks: dict[str, tuple[float, str, float]] = {}
    for kind in GPUS:
        cases = [run for run in runs if run["kind"] == kind]
        lost = sum(case["load"][name] for case in cases for name in LOST)
        checks[f"{kind}: lost, unfinished or wrong"] = (float(lost), "<=", 0.0)
        checks[f"{kind}: fewest live engines"] = (min(case["least_live"] for case in cases), ">=", LEAST_LIVE[kind])
        unexpected = sum(case["state"] != ENDINGS[kind] for case in cases)
        checks[f"{kind}: rollouts that did not end as {ENDINGS[kind]}"] = (float(unexpected), "<=", 0.0)
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave results/rollout.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    runs = [asyncio.run(measure(kind)) for _ in range(arguments.rounds) for kind in GPUS]
    seconds = {kind: statistics.median(run["seconds"] for run in runs if run["kind"] == kind) for kind in GPUS}
    found = {"machine": machine, "engines": ENGINES, "seconds": seconds, "runs": runs}
    for run in runs:
        if run["load"]["seen"]:
            print(f"  {run['kind']}: {run['load']['seen']}")
    held = results.check(found, bars(runs))
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
