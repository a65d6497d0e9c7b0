"""The router's own needs: seconds from its command to the first answer, and memory with four engines.

    .venv/bin/python services/router/benchmarks/footprint.py [--rounds 3]

The memory is that of all processes but the engines, each without what it shares (USS).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

import psutil
from benchmarks import routers, stack

from llm_measure import results

ENGINES = 4
READY_LIMIT = 30.0
MEMORY_LIMIT_MIB = 900.0
MIB = 2**20


def measure() -> dict[str, Any]:
    begin = time.monotonic()
    with stack.running(stack.config(stack.SCRIPTED, replicas=ENGINES), gpus=ENGINES) as router:
        routers.wait_for_answer(router.url)
        answered = time.monotonic() - begin
        router.wait_for(ENGINES)
        complete = time.monotonic() - begin
        memory = _memory(router)
    print(
        f"  first answer after {answered:.1f} s, {ENGINES} engines after {complete:.1f} s,"
        f" {sum(memory.values()):.0f} MiB",
        flush=True,
    )
    return {"first_answer": answered, "all_engines": complete, "memory_mib": memory}


def _memory(router: stack.Router) -> dict[str, float]:
    """Return the MiB of each kind of process."""
    engines = {engine["engine_pid"] for engine in router.engines()}
    sums: dict[str, float] = defaultdict(float)
    for process in router.family():
        with suppress(psutil.Error):
            if process.pid not in engines:
                sums[_kind(process)] += process.memory_full_info().uss / MIB
    return dict(sums)


def _kind(process: psutil.Process) -> str:
    words = process.cmdline()
    command = " ".join(words)
    if command.startswith("ray::"):
        return command.partition("::")[2].partition(".")[0].strip()  # without the method that runs
    known = {"gcs_server": "gcs_server", "raylet": "raylet", "supervisor.py": "supervisor", "llm_router serve": "serve"}
    return next((kind for part, kind in known.items() if part in command), process.name())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave results/footprint.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    runs = [measure() for _ in range(arguments.rounds)]
    answered = statistics.median(run["first_answer"] for run in runs)
    memory = statistics.median(sum(run["memory_mib"].values()) for run in runs)
    found = {"machine": machine, "engines": ENGINES, "first_answer": answered, "memory_mib": memory, "runs": runs}
    held = results.check(
        found,
        {
            "first answer, s": (answered, "<=", READY_LIMIT),
            f"memory with {ENGINES} engines, MiB": (memory, "<=", MEMORY_LIMIT_MIB),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
