"""The gateway's resident memory over 100,000 requests, one in ten a stream: does it stay flat?

.venv/bin/python services/gateway/benchmarks/memory.py [--requests 100000]
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks.servers import bare_engine, gateway

from llm_measure import results
from llm_measure.processes import Server, python

BAR_MIB = 150.0
BAR_GROWTH_MIB = 10.0
"""From a fifth of the requests on: before that, pools and buffers fill."""
STEPS = 10
MIB = 2**20


def run(requests: int) -> dict[str, Any]:
    machine = results.machine()
    with python(*bare_engine("--tokens", "20", "--token-rate", "1000")) as engine, python(*gateway(engine.url)) as it:
        sizes = [it.resident_bytes() / MIB]
        print(f"  {'requests':>8} {'resident MB':>12}\n  {0:>8} {sizes[0]:>12.1f}")
        done = 0
        while done < requests:
            done += _step(it, requests // STEPS)
            sizes.append(it.resident_bytes() / MIB)
            print(f"  {done:>8} {sizes[-1]:>12.1f}", flush=True)
    return {"machine": machine, "requests": done, "resident_mib": [round(size, 1) for size in sizes]}


def _step(server: Server, requests: int) -> int:
    """Send at least that many requests, in steps of one second. Return their number."""
    done = 0
    while done < requests:
        done += results.load(server.url, "closed", "--seconds", "2", "--warm-up", "0")["requests"]
        found = results.load(server.url, "streams", "--connections", "64", "--seconds", "1", "--warm-up", "0")
        done += int(found["events_per_second"] / 20)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--no-write", action="store_true", help="leave results/memory.json as it is")
    arguments = parser.parse_args()
    found = run(arguments.requests)
    sizes = found["resident_mib"]
    settled = sizes[len(sizes) // 5]
    held = results.check(
        found,
        {
            "largest resident size, MB": (max(sizes), "<=", BAR_MIB),
            "growth, MB": (sizes[-1] - settled, "<=", BAR_GROWTH_MIB),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
