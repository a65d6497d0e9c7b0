"""10,000 requests, many of them aborted at random moments: every block comes back, and memory stays flat.

python services/engine/benchmarks/leaks.py
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Any

import psutil
from benchmarks.measure import MODELS, environment, rounded, save

from llm_engine import Engine, EngineConfig, SamplingParams

SAMPLES = 10
MIB = 2**20
MOST_GROWTH_MIB = 8.0
"""Limit on the growth of the resident set over the second half of the run."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    arguments = parser.parse_args()
    setting = environment()
    found = {name: serve(arguments.requests, **settings) for name, settings in WAYS.items()}
    save("leaks", {**setting, "model": "zoo/llama", "requests": arguments.requests, **found})
    return 0 if all(way["all_blocks_back"] and way["flat"] for way in found.values()) else 1


WAYS: dict[str, dict[str, Any]] = {
    "hash": {},
    "radix, swapped, overlapped": {"prefix_cache": "radix", "num_cpu_blocks": 60, "async_scheduling": True},
}


def serve(requests: int, **settings: Any) -> dict[str, Any]:
    tight: dict[str, Any] = {"num_gpu_blocks_override": 100, "block_size": 4, "max_model_len": 120, "max_num_seqs": 16}
    engine = Engine(EngineConfig(str(MODELS / "zoo" / "llama"), **tight, **settings))
    rng, resident, aborted, started = random.Random(0), [], 0, time.perf_counter()
    for index in range(requests):
        prompt = [rng.randint(1, 20) for _ in range(rng.randint(1, 60))]
        params = SamplingParams(temperature=1, max_tokens=rng.randint(1, 16), n=rng.choice((1, 1, 1, 2)))
        engine.add_request(str(index), prompt, params)
        while len(engine.scheduler.waiting) > 8:
            engine.step()
        if rng.random() < 0.4:
            engine.abort_request(str(rng.randint(max(0, index - 20), index)))
            aborted += 1
        if (index + 1) % (requests // SAMPLES) == 0:
            resident.append(psutil.Process().memory_info().rss / MIB)
    while engine.has_work:
        engine.step()
    growth = resident[-1] - resident[SAMPLES // 2 - 1]
    pool = engine.kv_cache.pool
    return {
        "aborts": aborted,
        "preemptions": engine.num_preemptions,
        "seconds": rounded(time.perf_counter() - started),
        "all_blocks_back": pool.num_available == engine.num_blocks and not any(pool.ref_counts),
        "host_blocks_back": len(engine.kv_cache.free_host_blocks) == engine.config.num_cpu_blocks,
        "resident_mib": [round(value, 1) for value in resident],
        "growth_of_second_half_mib": round(growth, 1),
        "flat": growth <= MOST_GROWTH_MIB,
    }


if __name__ == "__main__":
    sys.exit(main())
