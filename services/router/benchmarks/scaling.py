"""1 -> 4 -> 1 engines under a step of load, and 0 -> 1 for a single request: how soon, how steadily, what is lost.

    .venv/bin/python services/router/benchmarks/scaling.py [--rounds 3]

The step is 27 streams on engines that run eight each: four engines' worth. The order is the moment at which the
controller aims at more engines; that they are live later is the engines' start. A target that goes up and then down
under the same load is a change of direction; the one way down after the load is allowed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from itertools import pairwise
from typing import Any

from benchmarks import stack
from benchmarks.watching import Sample, Watch

from llm_measure import results
from llm_measure.traffic import LOST, PROMPTS, Traffic

MOST = 4
MAX_RUNNING = 8
STREAMS = 27
ENGINE = f"{stack.SCRIPTED} --gaps 0.02 --max-running {MAX_RUNNING}"
STEP_SECONDS = 40.0
DOWNSCALE_SECONDS = 5.0
SCALE_SECONDS = 120.0
FIRST_ORDER_LIMIT = 3.0
Case = dict[str, Any]


def config(fewest: int) -> stack.Json:
    autoscaling = {"min": fewest, "max": MOST, "target": MAX_RUNNING, "downscale_seconds": DOWNSCALE_SECONDS}
    return stack.config(ENGINE, autoscaling=autoscaling, max_running=MAX_RUNNING, queue=2 * STREAMS)


async def step() -> Case:
    with stack.running(config(1), gpus=MOST) as router:
        await asyncio.to_thread(router.wait_for, 1)
        async with Watch(router) as watch:
            await watch.until(lambda sample: sample.target == 1, timeout=SCALE_SECONDS, what="target of 1")
            async with Traffic(router.url, streams=STREAMS, tokens=100, prompts=PROMPTS[:1]) as traffic:
                begin = time.monotonic()
                ordered = await watch.until(lambda sample: sample.target > 1, timeout=SCALE_SECONDS, what="order")
                grown = await watch.until(
                    lambda sample: len(sample.live) == MOST, timeout=SCALE_SECONDS, what=f"{MOST} engines"
                )
                await asyncio.sleep(max(0.0, begin + STEP_SECONDS - time.monotonic()))
            end = time.monotonic()
            shrunk = await watch.until(
                lambda sample: len(sample.live) == 1 == sample.target, timeout=SCALE_SECONDS, what="one engine"
            )
    found = {
        "first_order": ordered.moment - begin,
        "all_live": grown.moment - begin,
        "back": shrunk.moment - end,
        "targets": _steps(watch.since(begin)),
        "load": traffic.summary(),
    }
    print(
        f"  ordered after {found['first_order']:.1f} s, {MOST} live after {found['all_live']:.1f} s, one again"
        f" {found['back']:.1f} s after the load; targets {found['targets']}",
        flush=True,
    )
    return found


async def wake() -> float:
    """Return the seconds until the first request to a router without engines has its answer."""
    with stack.running(config(0), gpus=MOST) as router:
        await asyncio.to_thread(
            stack.wait_until, lambda: router.application()["target"] == 0, timeout=SCALE_SECONDS, what="target of 0"
        )
        begin = time.monotonic()
        async with Traffic(router.url, unary=1, tokens=1, prompts=("x",), timeout=SCALE_SECONDS):
            seconds = time.monotonic() - begin
    print(f"  woken from zero, the first answers came after {seconds:.1f} s", flush=True)
    return seconds


def _steps(samples: list[Sample]) -> list[int]:
    """Return the controller's targets, one for each change."""
    targets = [sample.target for sample in samples if sample.target >= 0]
    return targets[:1] + [later for earlier, later in pairwise(targets) if later != earlier]


def turns(targets: list[int]) -> int:
    """Return how often the target changes its direction."""
    ups = [later > earlier for earlier, later in pairwise(targets)]
    return sum(later != earlier for earlier, later in pairwise(ups))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave results/scaling.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    steps = [asyncio.run(step()) for _ in range(arguments.rounds)]
    wakes = [asyncio.run(wake()) for _ in range(arguments.rounds)]
    medians = {name: statistics.median(run[name] for run in steps) for name in ("first_order", "all_live", "back")}
    found = {"machine": machine, "streams": STREAMS, "medians": medians, "steps": steps, "wakes": wakes}
    lost = sum(run["load"][name] for run in steps for name in LOST)
    held = results.check(
        found,
        {
            "lost, unfinished or wrong": (float(lost), "<=", 0.0),
            "first order, s": (medians["first_order"], "<=", FIRST_ORDER_LIMIT),
            "most changes of direction": (float(max(turns(run["targets"]) for run in steps)), "<=", 1.0),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
