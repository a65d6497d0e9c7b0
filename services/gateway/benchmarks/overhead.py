"""The gateway's cost per request, compared with LiteLLM's proxy, a bare aiohttp proxy and no proxy, all in one run.

    .venv/bin/python services/gateway/benchmarks/overhead.py [--no-peer] [--seconds 8]

The engine gives canned answers (bare_engine.py), so the proxy's own cost remains. Everything runs on loopback, each
server as one process. The load client and the engine share the machine's cores with the proxy. LiteLLM is measured at
the beginning and at the end; the difference between the two is the noise. Absolute figures depend on the machine;
ratios carry over to others.

There are three loads: a closed loop of 32 connections for throughput; one connection for the latency added to a
request; and Poisson arrivals at half of the gateway's maximum rate, for P50 and P99 at a sustainable load. The engine,
the aiohttp proxy and the gateway get each load in turn, several times. A shared machine has pauses of many milliseconds
and changes its speed; the median over the rounds removes both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from benchmarks.litellm_peer import PEER, litellm
from benchmarks.servers import bare_engine, gateway, script

from llm_measure import results
from llm_measure.processes import Server, python

CONNECTIONS = 32
ROUNDS = 5
BAR_PER_SECOND = 2500.0
BAR_TIMES_PEER = 20.0
BAR_ADDED_P50_MS = 0.7
BAR_P99_MS = 5.0
MIB = 2**20


Rounds = dict[str, list[dict[str, Any]]]


def measure_peer(url: str, seconds: float) -> dict[str, Any]:
    """Measure both closed loops through LiteLLM's proxy in front of the engine at `url`."""
    with litellm(url) as running:
        many = closed(running.url, CONNECTIONS, seconds)
        resident = running.resident_bytes()
        one = closed(running.url, 1, seconds)
    return _shown("litellm", many, one, resident)


def measure_in_turn(engine: Server, proxies: dict[str, Server], seconds: float) -> tuple[dict[str, Any], Rounds]:
    """Measure both closed loops of all targets in turn. Return the medians by name, and the single runs."""
    urls = {"engine": engine.url, **{name: proxy.url for name, proxy in proxies.items()}}
    many = in_turn(urls, "closed", "--connections", str(CONNECTIONS), "--seconds", str(seconds))
    resident = {name: server.resident_bytes() for name, server in {"engine": engine, **proxies}.items()}
    one = in_turn(urls, "closed", "--connections", "1", "--seconds", str(seconds))
    return {name: _shown(name, median(many[name]), median(one[name]), resident[name]) for name in urls}, many


def in_turn(urls: dict[str, str], *load: str) -> Rounds:
    rounds: Rounds = {name: [] for name in urls}
    for _ in range(ROUNDS):
        for name, url in urls.items():
            rounds[name].append(results.load(url, *load))
    return rounds


def median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure over the rounds; failures are added up."""
    keys = ("per_second", "p50_ms", "p90_ms", "p99_ms")
    return {
        "failed": sum(one["failed"] for one in rounds),
        **{key: statistics.median(one[key] for one in rounds) for key in keys},
    }


def closed(url: str, connections: int, seconds: float) -> dict[str, Any]:
    return results.load(url, "closed", "--connections", str(connections), "--seconds", str(seconds))


def _shown(name: str, many: dict[str, Any], one: dict[str, Any], resident: int) -> dict[str, Any]:
    print(f"  {name:<12} {many['per_second']:>9.0f} /s {one['p50_ms']:>8.2f} ms {resident / MIB:>6.0f} MB", flush=True)
    return {"many": many, "one": one, "resident_mib": round(resident / MIB, 1)}


def run(seconds: float, peer: bool) -> dict[str, Any]:
    machine = results.machine()
    with python(*bare_engine()) as engine:
        before = [measure_peer(engine.url, seconds)] if peer else []
        with python(*script("aiohttp_passthrough.py", engine.url)) as passthrough, python(*gateway(engine.url)) as ours:
            proxies = {"aiohttp": passthrough, "gateway": ours}
            servers, many = measure_in_turn(engine, proxies, seconds / 2)
            urls = {"engine": engine.url, **{name: proxy.url for name, proxy in proxies.items()}}
            rate = servers["gateway"]["many"]["per_second"] / 2
            half = in_turn(urls, "open", "--rate", str(rate), "--seconds", str(seconds / 2))
        after = [measure_peer(engine.url, seconds)] if peer else []
    for name, each in half.items():
        found = median(each)
        print(f"  {name:<12} at {rate:.0f} /s: P50 {found['p50_ms']:.2f} ms, P99 {found['p99_ms']:.2f} ms", flush=True)
    return {
        "machine": machine,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "servers": servers,
        "litellm": before + after,
        "half_rate": {name: median(each) for name, each in half.items()},
        "rounds": {"many": many, "half_rate": half},
    }


def bars(found: dict[str, Any]) -> dict[str, tuple[float, str, float]]:
    servers, half = found["servers"], found["half_rate"]
    ours, engine = servers["gateway"], servers["engine"]
    added = {"one connection": ours["one"]["p50_ms"] - engine["one"]["p50_ms"]}
    added["half rate"] = half["gateway"]["p50_ms"] - half["engine"]["p50_ms"]
    checks = {
        "requests per second": (ours["many"]["per_second"], ">=", BAR_PER_SECOND),
        **{f"added P50 at {name}, ms": (value, "<=", BAR_ADDED_P50_MS) for name, value in added.items()},
        "P99 at half rate, ms": (half["gateway"]["p99_ms"], "<=", BAR_P99_MS),
        "failed requests": (float(ours["many"]["failed"] + ours["one"]["failed"] + half["gateway"]["failed"]), "<=", 0),
    }
    if found["litellm"]:
        best = max(one["many"]["per_second"] for one in found["litellm"])
        checks["times the better LiteLLM run"] = (ours["many"]["per_second"] / best, ">=", BAR_TIMES_PEER)
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds per load, after one of warm-up")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="also measure LiteLLM")
    parser.add_argument("--no-write", action="store_true", help="leave results/overhead.json as it is")
    arguments = parser.parse_args()
    print(f"  {'':<12} {'32 conn.':>12} {'one: P50':>11} {'memory':>9}")
    found = run(arguments.seconds, arguments.peer)
    held = results.check(found, bars(found))
    if arguments.peer:
        found["litellm_version"] = PEER.version("litellm")
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
