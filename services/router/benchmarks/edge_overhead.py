"""The edge's cost: compared with no router, with vLLM's router, with SMG, and with Ray Serve's own data plane.

    .venv/bin/python services/router/benchmarks/edge_overhead.py [--rounds 3] [--without-peers] [--without-serve]

Three loads: 32 connections that ask for one token each, for throughput; one connection, for the latency that is added;
100 streams of 50 tokens per second, for their rate and their inter-token latency (ITL). The engines are scripted and
answer at once. "Direct" is one engine with nothing before it; every router has two. All targets get each load in turn,
and the medians over the rounds count. Ray runs a score of processes even when it idles, so Serve has rounds of its own,
with "direct" next to it; the edge is compared with it by their ratios to direct.

Client, router and engines share the machine's cores: what one of them uses the others lack. CPU time per request is the
router's own, all its threads together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks import routers

from llm_measure import results
from llm_measure.processes import Server, python, scripted_engine

CONNECTIONS = 32
STREAMS = 100
STREAM_TOKENS = 250
GAP = 0.02
"""Seconds between two tokens of a stream."""
STREAM_WARM_UP = 4.0
"""Seconds, in which the streams begin one after the other."""
ENGINE = ("--model", "main", "--gaps", str(GAP))
Run = dict[str, Any]
Bars = dict[str, tuple[float, str, float]]


def measure(server: Server, seconds: float) -> Run:
    """Measure the three loads once."""
    begin = server.cpu_seconds()
    many = _closed(server.url, CONNECTIONS, seconds)
    many["cpu_ms"] = 1e3 * (server.cpu_seconds() - begin) / (many["per_second"] * (seconds + 1.0))
    one = _closed(server.url, 1, seconds)
    timing = ("--seconds", str(seconds), "--warm-up", str(STREAM_WARM_UP), "--max-tokens", str(STREAM_TOKENS))
    return {
        "many": many,
        "one": one,
        "streams": results.load(server.url, "streams", "--connections", str(STREAMS), *timing),
        "resident_mib": server.resident_bytes() / 2**20,
    }


def _closed(url: str, connections: int, seconds: float) -> Run:
    load = ("--connections", str(connections), "--seconds", str(seconds), "--max-tokens", "1")
    return results.load(url, "closed", *load)


def in_turn(servers: dict[str, Server], rounds: int, seconds: float) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            runs[name].append(measure(server, seconds))
            _show(name, runs[name][-1])
    return runs


def _show(name: str, run: Run) -> None:
    many, one, streams = run["many"], run["one"], run["streams"]
    print(
        f"  {name:<12} {many['per_second']:>7.0f} /s {many['cpu_ms']:>6.2f} ms CPU {one['p50_ms']:>7.2f} ms"
        f" {streams['events_per_second']:>7.0f} tokens/s, ITL P99 {streams['gap']['p99_ms']:>6.1f} ms",
        flush=True,
    )


def median(runs: list[Run], read: Callable[[Run], float]) -> float:
    return statistics.median(read(run) for run in runs)


def figures(runs: list[Run]) -> dict[str, float]:
    return {
        "per_second": median(runs, lambda run: run["many"]["per_second"]),
        "cpu_ms_per_request": median(runs, lambda run: run["many"]["cpu_ms"]),
        "p50_ms": median(runs, lambda run: run["one"]["p50_ms"]),
        "tokens_per_second": median(runs, lambda run: run["streams"]["events_per_second"]),
        "itl_p50_ms": median(runs, lambda run: run["streams"]["gap"]["p50_ms"]),
        "itl_p99_ms": median(runs, lambda run: run["streams"]["gap"]["p99_ms"]),
        "resident_mib": median(runs, lambda run: run["resident_mib"]),
        "failed": float(sum(run["many"]["failed"] + run["one"]["failed"] for run in runs)),
    }


def run_routers(rounds: int, seconds: float, peers: bool) -> dict[str, list[Run]]:
    with ExitStack() as stack:
        engines = [stack.enter_context(python(*scripted_engine(*ENGINE))) for _ in range(2)]
        urls = [engine.url for engine in engines]
        edge = routers.edge(urls, "--policy", "p2c", "--max-running", str(STREAMS))
        started = {"direct": engines[0], "edge": stack.enter_context(edge)}
        routers.wait_for_answer(started["edge"].url)
        if peers:
            started["vllm-router"] = stack.enter_context(routers.vllm_router(urls))
            started["smg"] = stack.enter_context(routers.smg(urls))
        return in_turn(started, rounds, seconds)


def run_serve(rounds: int, seconds: float) -> dict[str, list[Run]]:
    with (
        python(*scripted_engine(*ENGINE)) as engine,
        routers.serve_default(("--gaps", str(GAP))) as serve,
    ):
        return in_turn({"direct": engine, "ray serve": serve}, rounds, seconds)


def bars(found: dict[str, dict[str, float]], serve: dict[str, dict[str, float]] | None) -> Bars:
    direct, edge = found["direct"], found["edge"]
    rate = edge["per_second"] / direct["per_second"]
    checks: Bars = {
        "requests per second, of direct": (rate, ">=", 0.7),
        "added P50 at one connection, ms": (edge["p50_ms"] - direct["p50_ms"], "<=", 1.0),
        "streams' tokens per second, of direct": (edge["tokens_per_second"] / direct["tokens_per_second"], ">=", 0.8),
        "ITL P99, of direct": (edge["itl_p99_ms"] / direct["itl_p99_ms"], "<=", 2.0),
        "failed requests": (edge["failed"], "<=", 0.0),
    }
    if serve:
        of_direct = serve["ray serve"]["per_second"] / serve["direct"]["per_second"]
        checks["requests per second, of Ray Serve's"] = (rate / of_direct, ">=", 8.0)
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds per load, after the warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-peers", action="store_true", help="leave out vllm-router and smg")
    parser.add_argument("--without-serve", action="store_true", help="leave out Ray Serve's own data plane")
    parser.add_argument("--no-write", action="store_true", help="leave results/edge_overhead.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    runs = run_routers(arguments.rounds, arguments.seconds, not arguments.without_peers)
    serve_runs = {} if arguments.without_serve else run_serve(arguments.rounds, arguments.seconds)
    found = {name: figures(each) for name, each in runs.items()}
    serve = {name: figures(each) for name, each in serve_runs.items()}
    for name in runs:
        print(f"  {name:<12} {found[name]['per_second'] / found['direct']['per_second']:.2f} of direct")
    versions = {name: routers.PEERS.version(name) for name in ("vllm-router", "smg")}
    written = {
        "machine": machine,
        "versions": versions,
        "servers": found,
        "serve": serve,
        "runs": {**runs, "serve": serve_runs},
    }
    held = results.check(written, bars(found, serve or None))
    if not arguments.no_write:
        print(results.write(__file__, written).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
