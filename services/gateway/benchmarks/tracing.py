"""The cost of tracing per request: gateways without it, with ids only, and with every request sampled, in turn.

    .venv/bin/python services/gateway/benchmarks/tracing.py [--rounds 8]

The engine gives canned answers (bare_engine.py), so a request costs the gateway's own work and little else. With a
sample ratio of 0, each request has an id in the logs and in the headers for the engine, and no span. The CPU time of
the gateway per request is compared within a round: a shared machine changes its speed within seconds, and CPU time
follows that less than the requests per second do. The ratio of two gateways without tracing shows the noise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from contextlib import ExitStack
from typing import Any

from benchmarks.servers import bare_engine, gateway

from llm_measure import results
from llm_measure.processes import Server, python
from llm_measure.span_sink import span_sink

CONNECTIONS, SECONDS = 32, 3.0
REQUESTS, SPANS = "gateway_requests_total", "llm_spans_total"
BAR = 1.02


def flags(endpoint: str) -> dict[str, tuple[str, ...]]:
    sends = ("--tracing.otlp-endpoint", endpoint)
    return {
        "off": (),
        "off again": (),
        "ids": (*sends, "--tracing.sample-ratio", "0"),
        "sampled": (*sends, "--tracing.sample-ratio", "1"),
    }


def load(server: Server) -> dict[str, float]:
    """Load a gateway for some seconds; return its requests per second and its CPU time per request."""
    requests, cpu = server.metric(REQUESTS), server.cpu_seconds()
    sizes = ("--connections", str(CONNECTIONS), "--seconds", str(SECONDS))
    found = results.load(server.url, "closed", *sizes)
    served = server.metric(REQUESTS) - requests
    return {"per_second": found["per_second"], "cpu_us": (server.cpu_seconds() - cpu) / served * 1e6}


def compared(rounds: list[dict[str, dict[str, float]]], case: str) -> dict[str, Any]:
    """Return a case's medians, and the median and the range of its CPU time's ratio to that without tracing."""
    ratios = [one[case]["cpu_us"] / one["off"]["cpu_us"] for one in rounds]
    return {
        "per_second": round(statistics.median(one[case]["per_second"] for one in rounds)),
        "cpu_us": round(statistics.median(one[case]["cpu_us"] for one in rounds), 1),
        "ratio": round(statistics.median(ratios), 4),
        "range": [round(min(ratios), 4), round(max(ratios), 4)],
    }


def run(count: int) -> dict[str, Any]:
    machine = results.machine()
    with ExitStack() as stack:
        engine = stack.enter_context(python(*bare_engine()))
        cases = flags(stack.enter_context(span_sink()))
        servers = {case: stack.enter_context(python(*gateway(engine.url, *words))) for case, words in cases.items()}
        order = list(servers)
        rounds = []
        for _ in range(count + 1):
            rounds.append({case: load(servers[case]) for case in order})
            order = [*order[1:], order[0]]
        spans = servers["sampled"].metric(SPANS)
    kept = rounds[1:]  # the first warms all of them up
    found = {case: compared(kept, case) for case in servers}
    for case, one in found.items():
        print(f"  {case:<10} {one['per_second']:>7,} /s {one['cpu_us']:>7.1f} us  {one['ratio']:.3f} {one['range']}")
    setting = {"connections": CONNECTIONS, "seconds": SECONDS, "rounds": count, "spans": spans}
    return {"machine": machine, **setting, "cases": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--no-write", action="store_true", help="leave results/tracing.json as it is")
    arguments = parser.parse_args()
    found = run(arguments.rounds)
    held = results.check(found, {"CPU time of a request with ids": (found["cases"]["ids"]["ratio"], "<=", BAR)})
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
