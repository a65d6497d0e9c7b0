"""An hour of recorded load, replayed at 60x in a minute: how late are its requests?

    .venv/bin/python bench/benchmarks/trace_replay.py [--workers 1] [--no-write]

The trace is drawn from a seed in the format of Azure's LLM inference traces (TIMESTAMP,ContextTokens,GeneratedTokens),
after what is published of the hour of conversation in 2023 (Patel et al., Splitwise, ISCA 2024, section 3): 19,366
requests in 3,501 s, prompts of 1,020 tokens and outputs of 129 at the median, in bursts. Here gamma gaps with a
coefficient of variation of 2 and log-normal lengths with those medians. Fake tokens answer (token_server.py), so that
what is late is the client.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.bars import Bar, check, describe_machine, write
from benchmarks.programs import bench, end_on_sigterm, serving, token_server

from llm_bench.results.result import Result

SEED = 1
REQUESTS = 19_366
SECONDS = 3600.0
SPEED = 60
VARIATION = 2.0
"""Coefficient of variation of the gaps between arrivals."""
MEDIANS = {"prompt": 1020.0, "output": 129.0}
SIGMAS = {"prompt": 1.1, "output": 0.8}
"""Standard deviation of the logarithms."""
LONGEST = {"prompt": 4096, "output": 1000}
BAR_LAG_P99 = 0.005
BAR_SECONDS = 65.0


def write_trace(path: Path) -> None:
    rng = np.random.default_rng(SEED)
    gaps = rng.gamma(1 / VARIATION**2, size=REQUESTS)
    times = np.cumsum(gaps) * (SECONDS / gaps.sum())
    columns = [
        np.clip(rng.lognormal(np.log(MEDIANS[kind]), SIGMAS[kind], REQUESTS), 1, LONGEST[kind]).astype(int)
        for kind in ("prompt", "output")
    ]
    start = datetime(2023, 11, 16, 18, tzinfo=UTC)
    with path.open("w", encoding="utf-8") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for at, prompt, output in zip(times, *columns, strict=True):
            moment = start + timedelta(seconds=float(at))
            file.write(f"{moment:%Y-%m-%d %H:%M:%S.%f}0,{prompt},{output}\n")


def describe_run(result: Result) -> dict[str, Any]:
    every = result.summary.classes["all"]
    arrivals = [record.scheduled_at for record in result.requests if record.scheduled_at is not None]
    return {
        "requests": every.requests,
        "completed": every.completed,
        "last_arrival": max(arrivals),
        "valid": result.verdict.valid,
        "reasons": result.verdict.reasons,
        "schedule_lag": {"p50": every.schedule_lag.p50, "p99": every.schedule_lag.p99, "max": every.schedule_lag.max},
        "busiest_client_cpu": result.run.client_cpu,
        "peak_requests_in_a_second": int(np.bincount([int(at) for at in arrivals]).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, help="processes that send")
    parser.add_argument("--no-write", action="store_true", help="leave results/trace_replay.json as it is")
    arguments = parser.parse_args()
    end_on_sigterm()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder, serving(*token_server()) as server:
        trace = Path(folder) / "azure.csv"
        write_trace(trace)
        flags = ("--target", server.url, "--speed", str(SPEED), "--workers", str(arguments.workers))
        found = describe_run(bench("replay", str(trace), *flags, out=Path(folder) / "out"))
    bars = [
        Bar("schedule lag P99, s", found["schedule_lag"]["p99"], "<=", BAR_LAG_P99),
        Bar("last arrival of the hour, s", found["last_arrival"], "<=", BAR_SECONDS),
        Bar("requests that were answered", float(found["completed"]), ">=", float(REQUESTS)),
    ]
    held = check(bars)
    print("VALID" if found["valid"] else f"INVALID: {'; '.join(found['reasons'])}")
    if not arguments.no_write:
        trace_facts = {"requests": REQUESTS, "seconds": SECONDS, "seed": SEED, "speed": SPEED, "variation": VARIATION}
        print(write("trace_replay", machine, bars, {"trace": trace_facts, "run": found}).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
