"""The prefix policy: cache hits and balance on prompts that share prefixes, throughput on prompts that share nothing.

    .venv/bin/python services/router/benchmarks/prefix.py [--rounds 3]

Shared: groups of prompts with one long beginning each, as system prompts are; some groups are far more popular than
others. The hit rate is compared with that of one engine that gets the whole trace: no router can do better. Balance is
the running time of the busiest engine over the mean. Free: prompts without a common beginning, on which affinity can
only cost; the tokens per second are compared with those of the policy p2c. The engines are scripted, with a prefix
cache and a prefill that takes time for each token that is not cached.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import aiohttp
from benchmarks import routers

from llm_contract import metrics
from llm_contract.testing.scripted_engine import SLOT_SECONDS
from llm_measure import results
from llm_measure.processes import python, scrape, scripted_engine

ENGINES = 4
MAX_RUNNING = 8
ENGINE = (
    *("--model", "main", "--max-running", str(MAX_RUNNING), "--gaps", "0.02", "--tokens-per-chunk", "4"),
    *("--prefill", "0.0005", "--prefix-blocks", "8192"),
)
GROUPS = 64
REQUESTS = 640
PREFIX_BYTES = 512
"""The scripted engine's tokens are bytes."""
SUFFIX_BYTES = 64
ANSWER_TOKENS = 64
SLOTS = ENGINES * MAX_RUNNING
BUSY = {"shared": 0.5, "free": 1.0}
"""Clients per slot. A router has a choice only while more than one engine has room."""
POLICIES = ("prefix", "p2c", "round_robin")
Run = dict[str, Any]


def shared_trace(seed: int) -> list[str]:
    """Return prompts of GROUPS groups, with popularities of 1, 1/2, 1/3, … (Zipf)."""
    source = random.Random(seed)
    beginnings = [_text(source, PREFIX_BYTES) for _ in range(GROUPS)]
    weights = [1 / rank for rank in range(1, GROUPS + 1)]
    chosen = source.choices(beginnings, weights, k=REQUESTS)
    return [beginning + _text(source, SUFFIX_BYTES) for beginning in chosen]


def free_trace(seed: int) -> list[str]:
    """Return prompts of the same length without a common beginning."""
    source = random.Random(seed)
    return [_text(source, PREFIX_BYTES + SUFFIX_BYTES) for _ in range(REQUESTS)]


def _text(source: random.Random, count: int) -> str:
    return "".join(source.choices("abcdefghijklmnopqrstuv ", k=count))


async def replay(url: str, prompts: list[str], clients: int) -> tuple[float, int]:
    """Send the prompts in order, a fixed number at a time. Return the seconds and the number of failures."""
    waiting = iter(prompts)
    failed = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal failed
        for prompt in waiting:
            body = {"model": "main", "prompt": prompt, "max_tokens": ANSWER_TOKENS, "temperature": 0}
            async with session.post(f"{url}/v1/completions", json=body) as response:
                await response.read()
                failed += response.status != 200

    begin = time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return time.monotonic() - begin, failed


def measure(policy: str | None, prompts: list[str], clients: int) -> Run:
    """Replay the prompts through an edge with a policy, or to one engine alone if there is none."""
    with _fleet(policy) as (url, engines):
        seconds, failed = asyncio.run(replay(url, prompts, clients if policy else clients // ENGINES))
        found = [scrape(engine) for engine in engines]
    hits, queries, slots = (
        [each[name] for each in found]
        for name in (metrics.PREFIX_CACHE_HITS.name, metrics.PREFIX_CACHE_QUERIES.name, SLOT_SECONDS.name)
    )
    return {
        "policy": policy or "one engine",
        "hit_rate": sum(hits) / sum(queries),
        "max_of_mean": max(slots) / statistics.mean(slots),
        "tokens_per_second": ANSWER_TOKENS * len(prompts) / seconds,
        "failed": failed,
    }


@contextmanager
def _fleet(policy: str | None) -> Iterator[tuple[str, list[str]]]:
    with ExitStack() as stack:
        count = ENGINES if policy else 1
        urls = [stack.enter_context(python(*scripted_engine(*ENGINE))).url for _ in range(count)]
        if policy is None:
            yield urls[0], urls
            return
        edge = stack.enter_context(routers.edge(urls, "--policy", policy, "--max-running", str(MAX_RUNNING)))
        yield edge.url, urls


def _in_turn(rounds: int, policies: tuple[str | None, ...], trace: str) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {}
    for seed in range(rounds):
        prompts = shared_trace(seed) if trace == "shared" else free_trace(seed)
        for policy in policies:
            run = measure(policy, prompts, int(BUSY[trace] * SLOTS))
            runs.setdefault(run["policy"], []).append(run)
            print(
                f"  {trace:<6} {run['policy']:<11} hits {run['hit_rate']:>4.0%}"
                f"   busiest of mean {run['max_of_mean']:.2f}   {run['tokens_per_second']:>6.0f} tokens/s",
                flush=True,
            )
    return runs


def _median(runs: list[Run], name: str) -> float:
    return float(statistics.median(run[name] for run in runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave results/prefix.json as it is")
    arguments = parser.parse_args()
    machine = results.machine()
    shared = _in_turn(arguments.rounds, (None, *POLICIES), "shared")
    free = _in_turn(arguments.rounds, ("prefix", "p2c"), "free")
    found = {"machine": machine, "engines": ENGINES, "groups": GROUPS, "shared": shared, "free": free}
    best = _median(shared["one engine"], "hit_rate")
    paired = zip(free["prefix"], free["p2c"], strict=True)
    free_ratio = statistics.median(ours["tokens_per_second"] / p2c["tokens_per_second"] for ours, p2c in paired)
    failed = sum(run["failed"] for runs in (*shared.values(), *free.values()) for run in runs)
    held = results.check(
        found,
        {
            "hit rate, of one engine's": (_median(shared["prefix"], "hit_rate") / best, ">=", 0.9),
            "busiest engine, of the mean": (_median(shared["prefix"], "max_of_mean"), "<=", 1.3),
            "tokens per second without prefixes, of p2c's": (free_ratio, ">=", 0.98),
            "failed requests": (float(failed), "<=", 0.0),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
