"""How many requests a second the bench can send and still measure, and what guidellm can, against one fake server.

    .venv/bin/python bench/benchmarks/client_capacity.py [--no-peer] [--seconds 8] [--no-write]

The server (token_server.py) costs next to nothing: 20 ms to the first of 16 tokens, a chunk each, 4 ms apart. It shares
the machine's cores with the client, and its CPU time is in the result.

Ours: the highest rate whose run is VALID by its own verdict (schedule and event loop late by at most 20 ms at P99, rate
within 2%, under 1% errors), searched by bisection, the majority of three runs decides; from one process and from two.
guidellm: the highest rate of which it sends at least 95% with a median TTFT within 20 ms of the script's, and the most
that it sends at all, its `throughput` profile with 256 requests in flight among it; with two worker processes and with
its default of ten. Twenty minutes in all.

The cost of a request of 16 chunks to the client, at 800 requests/s from one process on two cores of an AMD EPYC, before
and after each change:

    950 us   a greenlet that is switched to for each chunk, geventhttpclient's parser and pool
    490 us   reads by the event loop's own callback, httptools
    430 us   chunks that hold whole events split by one call instead of by the SSE grammar
400 us   no locust events, which were never read; no Event and no timer for a request's turn
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from benchmarks import guidellm_peer
from benchmarks.bars import Bar, check, describe_machine, write
from benchmarks.guidellm_peer import PeerRun
from benchmarks.programs import Server, bench, end_on_sigterm, serving, token_server

from llm_bench.analyse.knee import Knee, Trial, find_knee
from llm_bench.results.result import Result

TTFT = 0.02
TOKENS = 16
WORKERS = (1, 2)
FIRST_RATE = 1000.0
PRECISION = 0.08
REPEATS = 3
BAR_PER_SECOND = 2000.0
PEER_FIRST_RATE = 50.0
PEER_KEEPS = 0.95
PEER_LATE = 0.02
"""Seconds by which its median TTFT can exceed the script's."""
PEER_WORKERS = (2, 10)
"""Two, as ours; ten is its default."""


def measure_ours(server: Server, workers: int, seconds: float, folder: Path) -> tuple[Knee, list[dict[str, Any]]]:
    """Search for the knee; return it with the figures of each run."""
    runs: list[dict[str, Any]] = []

    def attempt(rate: float) -> Trial:
        before, out = server.cpu_seconds(), folder / f"{workers}-{len(runs)}"
        result = send(server.url, rate, workers, seconds, out=out)
        runs.append(describe_run(result, rate, workers, server.cpu_seconds() - before))
        verdict, late = "VALID  " if result.verdict.valid else "INVALID", 1e3 * (runs[-1]["lag_p99"] or 0.0)
        print(f"  processes {workers}, {rate:7.0f}/s  {verdict}  lag P99 {late:.1f} ms", flush=True)
        return Trial(rate, result.verdict.valid, None, rate, 0.0, "; ".join(result.verdict.reasons))

    return find_knee(attempt, first=FIRST_RATE, precision=PRECISION, repeats=REPEATS), runs


def send(url: str, rate: float, workers: int, seconds: float, *, out: Path) -> Result:
    fixed = {"kind": "fixed", "tokens": TOKENS}
    scenario = {
        "name": "capacity",
        "duration": seconds,
        "arrivals": {"kind": "poisson", "rate": rate},
        "classes": {"only": {"weight": 1, "prompt_tokens": fixed, "output_tokens": fixed}},
    }
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(scenario))
    return bench("run", str(path), "--target", url, "--workers", str(workers), out=out)


def describe_run(result: Result, rate: float, workers: int, server_cpu: float) -> dict[str, Any]:
    every, seconds = result.summary.classes["all"], result.summary.seconds
    return {
        "rate": rate,
        "workers": workers,
        "valid": result.verdict.valid,
        "reasons": result.verdict.reasons,
        "completed": every.completed,
        "lag_p99": every.schedule_lag.p99,
        "loop_lag_p99": result.run.loop_lag.p99,
        "ttft_p50": every.ttft.p50,
        "reads_per_request": 1 + every.itl_chunk.count / max(every.completed, 1),
        "busiest_client_cpu": result.run.client_cpu,
        "client_us_per_request": 1e6 * result.run.client_cpu * seconds * workers / max(every.requests, 1),
        "server_us_per_request": 1e6 * server_cpu / max(every.requests, 1),
    }


def measure_peer(url: str, seconds: float) -> dict[str, Any]:
    """Double the rate, for each number of workers, until the peer no longer keeps it."""
    guidellm_peer.PEER.install()
    runs: list[PeerRun] = []
    for workers in PEER_WORKERS:
        rate = PEER_FIRST_RATE
        while kept(run_peer(runs, url, rate, seconds, workers=workers)):
            rate *= 2
        while rate > PEER_FIRST_RATE / 8 and not any(kept(one) for one in runs if one.workers == workers):
            rate /= 2
            run_peer(runs, url, rate, seconds, workers=workers)
        run_peer(runs, url, 0.0, seconds, workers=workers)
    return {
        "version": guidellm_peer.PEER.version("guidellm"),
        "highest_rate_kept": max((one.asked for one in runs if one.asked and kept(one)), default=0.0),
        "most_sent": max(one.sent for one in runs),
        "runs": [asdict(one) for one in runs],
    }


def run_peer(runs: list[PeerRun], url: str, rate: float, seconds: float, *, workers: int) -> PeerRun:
    runs.append(guidellm_peer.run(url, rate, seconds, workers))
    one = runs[-1]
    asked = f"{one.asked:7.0f}/s" if one.asked else "as many "
    print(
        f"  guidellm, {workers} workers {asked}  sent {one.sent:.0f}/s, TTFT P50 {1e3 * one.ttft_p50:.0f} ms",
        flush=True,
    )
    return one


def kept(run: PeerRun) -> bool:
    return run.kept >= PEER_KEEPS and run.ttft_p50 <= TTFT + PEER_LATE


def summarise(knees: dict[int, Knee], peer: dict[str, Any] | None) -> tuple[dict[str, Any], list[Bar]]:
    highest = {str(workers): knee.holds or 0.0 for workers, knee in knees.items()}
    best = max(highest.values())
    bars = [Bar("highest VALID rate on this machine, requests/s", best, ">=", BAR_PER_SECOND)]
    found: dict[str, Any] = {
        "highest_valid_rate": highest,
        "fails_at": {str(w): knee.fails for w, knee in knees.items()},
    }
    if peer is not None:
        found["times_peer_kept"] = best / peer["highest_rate_kept"] if peer["highest_rate_kept"] else None
        found["times_peer_most_sent"] = best / peer["most_sent"]
        bars.append(Bar("times the most that guidellm sent", found["times_peer_most_sent"], ">=", 1.0))
    return found, bars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="measure guidellm as well")
    parser.add_argument("--no-write", action="store_true", help="leave results/client_capacity.json as it is")
    arguments = parser.parse_args()
    end_on_sigterm()
    machine, knees, runs = describe_machine(), {}, []
    with serving(*token_server("--ttft", str(TTFT), "--tokens", str(TOKENS))) as server:
        for workers in WORKERS:
            with tempfile.TemporaryDirectory() as folder:
                knees[workers], made = measure_ours(server, workers, arguments.seconds, Path(folder))
            runs += made
        peer = measure_peer(server.url, arguments.seconds) if arguments.peer else None
    found, bars = summarise(knees, peer)
    held = check(bars)
    if not arguments.no_write:
        print(write("client_capacity", machine, bars, {**found, "runs": runs, "guidellm": peer}).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
