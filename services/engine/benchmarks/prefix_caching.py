"""Time to the first token of requests that begin alike, with prefix caching off, by hashes, and in a tree.

python services/engine/benchmarks/prefix_caching.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import count
from statistics import median

from benchmarks.measure import MODELS, environment, heldout, paired, rounded, save

from llm_engine import Engine, EngineConfig, SamplingParams

REQUESTS, SHARED_TOKENS, OWN_TOKENS, ROUNDS = 16, 504, 24, 5
"""504 is no multiple of 16: a tree also shares the beginning of the last block."""


def main() -> int:
    setting = environment()
    ways = {kind: Engine(EngineConfig(str(MODELS / "main"), prefix_cache=kind)) for kind in ("off", "hash", "radix")}
    runs = paired({kind: first_token_time(engine) for kind, engine in ways.items()}, ROUNDS, "median_ttft_seconds")
    summary = runs.summary("off")
    for kind, engine in ways.items():
        stats = engine.kv_cache.stats
        summary[kind]["hit_rate"] = rounded(stats.hits / stats.queries)
    sizes = {"requests": REQUESTS, "shared_tokens": SHARED_TOKENS, "own_tokens": OWN_TOKENS, "rounds": ROUNDS}
    save("prefix_caching", {**setting, "model": "main", **sizes, **summary})
    return 0


def first_token_time(engine: Engine) -> Callable[[], float]:
    """Run requests one after another; each run has a shared beginning of its own, which the first request brings."""
    ids = engine.tokenizer.encode(heldout()[:80_000])
    starts = count(0, SHARED_TOKENS + REQUESTS * OWN_TOKENS)
    params = SamplingParams(temperature=0, max_tokens=1)

    def run() -> float:
        start = next(starts)
        shared, own = ids[start : start + SHARED_TOKENS], ids[start + SHARED_TOKENS :]
        times = []
        for index in range(REQUESTS):
            engine.add_request(str(index), shared + own[index * OWN_TOKENS : (index + 1) * OWN_TOKENS], params)
            begun = time.perf_counter()
            while engine.has_work:
                engine.step()
            times.append(time.perf_counter() - begun)
        return median(times)

    return run


if __name__ == "__main__":
    sys.exit(main())
