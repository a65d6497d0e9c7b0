"""Up to 1,000 streams of 50 tokens per second through one gateway process: how much does the inter-token latency grow?

    .venv/bin/python services/gateway/benchmarks/streams.py [--streams 250 500 1000] [--seconds 10]

Each event states the time at which it was sent. So the benchmark measures the inter-token latency (ITL, the gap between
two events at the client) and the delay of every event, both without and with the gateway, in one run.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks.servers import bare_engine, gateway

from llm_measure import results
from llm_measure.processes import python

TOKEN_RATE = 50.0
TOKENS = 500
BAR_ADDED_ITL_P99_MS = 20.0
WARM_UP_SECONDS = 6.0
"""In which the streams begin one after the other."""


def run(counts: list[int], seconds: float) -> dict[str, Any]:
    machine, cases = results.machine(), {}
    with python(*bare_engine("--tokens", str(TOKENS), "--token-rate", str(TOKEN_RATE))) as engine:
        for streams in counts:
            cases[str(streams)] = case = {"direct": read_streams("direct", engine.url, streams, seconds)}
            slots = f'[{{"url": "{engine.url}", "max_in_flight": {streams}}}]'
            with python(*gateway(slots)) as running:
                before = running.cpu_seconds()
                case["gateway"] = read_streams("gateway", running.url, streams, seconds)
                case["gateway"]["cpu_share"] = (running.cpu_seconds() - before) / (seconds + WARM_UP_SECONDS)
                case["gateway"]["resident_mib"] = running.resident_bytes() / 2**20
    return {"machine": machine, "seconds": seconds, "token_rate": TOKEN_RATE, "streams": cases}


def read_streams(name: str, url: str, streams: int, seconds: float) -> dict[str, Any]:
    timing = ("--seconds", str(seconds), "--warm-up", str(WARM_UP_SECONDS))
    found = results.load(url, "streams", "--connections", str(streams), *timing)
    times = "   ".join(
        f"{what} P50 {each['p50_ms']:.1f} P99 {each['p99_ms']:.1f} ms"
        for what, each in (("gap", found["gap"]), ("under way", found["delay"]))
    )
    print(f"  {streams:>5} {name:<8} {found['events_per_second']:>8.0f} events/s   {times}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--streams",
        type=int,
        nargs="+",
        default=[250, 500, 1000],
        help="numbers of streams; the bars apply to the last",
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--no-write", action="store_true", help="leave results/streams.json as it is")
    arguments = parser.parse_args()
    found = run(arguments.streams, arguments.seconds)
    direct, through = list(found["streams"].values())[-1].values()
    held = results.check(
        found,
        {
            "added ITL P99, ms": (through["gap"]["p99_ms"] - direct["gap"]["p99_ms"], "<=", BAR_ADDED_ITL_P99_MS),
            "share of the direct rate": (through["events_per_second"] / direct["events_per_second"], ">=", 0.98),
            "silent streams": (float(through["silent_streams"]), "<=", 0.0),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
