"""What the gateway costs a request, beside LiteLLM's proxy, a bare aiohttp proxy and no proxy, all in one run.

    .venv/bin/python services/gateway/benchmarks/overhead.py [--no-peer] [--seconds 8]

The engine is a canned answer (bare_engine.py), so what is left is the proxy. Everything runs on loopback, each server
as one process; the load client and the engine share the machine's cores with it. LiteLLM is measured at the beginning
and at the end: how far the two differ is the noise. Absolute figures belong to the machine, ratios travel.

Three loads: 32 connections, closed loop, for throughput; one connection for the time added to a request; half of the
gateway's own maximum, Poisson arrivals, for P50 and P99 at a load that it can carry, sent to the engine, the aiohttp
proxy and the gateway in turn, several times: a machine that others share has hiccups of many milliseconds, and the
median over the rounds is what is left without them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from benchmarks import results
from benchmarks.litellm_peer import litellm, version
from benchmarks.processes import Server, bare_engine, gateway, python, script

CONNECTIONS = 32
ROUNDS = 5
BAR_PER_SECOND = 2500.0
BAR_TIMES_PEER = 20.0
BAR_ADDED_P50_MS = 0.7
BAR_P99_MS = 5.0
MIB = 2**20


def measure(name: str, server: AbstractContextManager[Server], seconds: float) -> dict[str, Any]:
    """Both closed loops against one server."""
    with server as running:
        many = closed(running.url, CONNECTIONS, seconds)
        resident = running.resident_bytes()
        one = closed(running.url, 1, seconds)
    print(f"  {name:<12} {many['per_second']:>9.0f} /s {one['p50_ms']:>8.2f} ms {resident / MIB:>6.0f} MB", flush=True)
    return {"many": many, "one": one, "resident_mib": round(resident / MIB, 1)}


def closed(url: str, connections: int, seconds: float) -> dict[str, Any]:
    return results.load(url, "closed", "--connections", str(connections), "--seconds", str(seconds))


def at_rate(urls: dict[str, str], rate: float, seconds: float) -> dict[str, Any]:
    """Each of `urls` in turn, `ROUNDS` times: medians over the rounds, and the rounds."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in urls}
    for _ in range(ROUNDS):
        for name, url in urls.items():
            rounds[name].append(results.load(url, "open", "--rate", str(rate), "--seconds", str(seconds)))
    keys = ("p50_ms", "p90_ms", "p99_ms")
    found = {
        name: {
            "failed": sum(one["failed"] for one in each),
            **{key: statistics.median(one[key] for one in each) for key in keys},
            "rounds": each,
        }
        for name, each in rounds.items()
    }
    for name, one in found.items():
        print(f"  {name:<12} at {rate:.0f} /s: P50 {one['p50_ms']:.2f} ms, P99 {one['p99_ms']:.2f} ms", flush=True)
    return found


@contextmanager
def existing(server: Server) -> Iterator[Server]:
    yield server


def run(seconds: float, peer: bool) -> dict[str, Any]:
    machine = results.machine()
    with python(*bare_engine()) as engine:
        rows: dict[str, Any] = {}
        if peer:
            rows["litellm"] = measure("litellm", litellm(engine.url), seconds)
        rows["engine"] = measure("engine", existing(engine), seconds)
        with python(*script("aiohttp_passthrough.py", engine.url)) as passthrough, python(*gateway(engine.url)) as ours:
            rows["aiohttp"] = measure("aiohttp", existing(passthrough), seconds)
            rows["gateway"] = measure("gateway", existing(ours), seconds)
            urls = {"engine": engine.url, "aiohttp": passthrough.url, "gateway": ours.url}
            half = at_rate(urls, rows["gateway"]["many"]["per_second"] / 2, seconds / 2)
        if peer:
            rows["litellm again"] = measure("litellm", litellm(engine.url), seconds)
    return {"machine": machine, "seconds": seconds, "connections": CONNECTIONS, "servers": rows, "half_rate": half}


def bars(found: dict[str, Any], peer: bool) -> dict[str, tuple[float, str, float]]:
    rows, half = found["servers"], found["half_rate"]
    many = {name: row["many"]["per_second"] for name, row in rows.items()}
    checks = {
        "gateway, requests per second": (many["gateway"], ">=", BAR_PER_SECOND),
        "added P50 at one connection, ms": (
            rows["gateway"]["one"]["p50_ms"] - rows["engine"]["one"]["p50_ms"],
            "<=",
            BAR_ADDED_P50_MS,
        ),
        "added P50 at half rate, ms": (half["gateway"]["p50_ms"] - half["engine"]["p50_ms"], "<=", BAR_ADDED_P50_MS),
        "P99 at half rate, ms": (half["gateway"]["p99_ms"], "<=", BAR_P99_MS),
        "failed requests": (
            float(sum(row["many"]["failed"] for row in rows.values()) + half["gateway"]["failed"]),
            "<=",
            0,
        ),
    }
    if peer:
        best = max(many["litellm"], many["litellm again"])
        checks["times the better LiteLLM run"] = (many["gateway"] / best, ">=", BAR_TIMES_PEER)
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load, after one of warm-up")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="LiteLLM beside it")
    parser.add_argument("--no-write", action="store_true", help="leave results/overhead.json as it is")
    arguments = parser.parse_args()
    print(f"  {'':<12} {'32 conn.':>12} {'one: P50':>11} {'memory':>9}")
    found = run(arguments.seconds, arguments.peer)
    held = results.check(found, bars(found, arguments.peer))
    if arguments.peer:
        found["litellm_version"] = version()
    if not arguments.no_write:
        print(results.write("overhead", found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
