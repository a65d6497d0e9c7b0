"""The policies on traces, against engines with a prefix cache, in virtual time."""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from statistics import mean

from llm_router.fleet import Engine, Slot
from llm_router.policies import Policy, Routed, make_policy
from llm_router.policies.p2c import PowerOfTwo
from llm_router.settings import PolicyName
from llm_router.testing import MODEL, fleet_of

ENGINES, SLOTS = 4, 8
CACHE_BLOCKS = 2000
"""Blocks of an engine's prefix cache. The shared trace has more in all, so one cache has to evict."""
SECONDS_PER_BLOCK, SECONDS_PER_ANSWER = 0.004, 0.6
"""Prefill of a block that is not cached, and decoding."""


@dataclass
class Cache:
    """An engine's prefix cache, least recently used out first."""

    blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)

    def hits(self, prefix: tuple[int, ...]) -> int:
        """Return how many leading blocks are cached, and cache all of them."""
        hits = 0
        while hits < len(prefix) and prefix[hits] in self.blocks:
            hits += 1
        for block in reversed(prefix):
            self.blocks[block] = None
            self.blocks.move_to_end(block)
        while len(self.blocks) > CACHE_BLOCKS:
            self.blocks.popitem(last=False)
        return hits


@dataclass
class Result:
    hit_rate: float
    throughput: float
    """Requests per second."""
    imbalance: float
    """Largest mean load of an engine over the mean of all."""


def shared_trace(count: int, source: random.Random) -> list[tuple[int, ...]]:
    """Return prompts of 64 documents, some asked often (Zipf), each with its own question at the end."""
    weights = [1 / (rank + 1) for rank in range(64)]
    prompts = []
    for number in range(count):
        document = source.choices(range(64), weights)[0]
        first, question = document * 1000, 10**6 + number * 8
        prompts.append((*range(first, first + 40), *range(question, question + 8)))
    return prompts


def free_trace(count: int) -> list[tuple[int, ...]]:
    return [tuple(range(number * 48, number * 48 + 48)) for number in range(count)]


def policy_of(name: PolicyName) -> Policy:
    return PowerOfTwo(random.Random(1)) if name == "p2c" else make_policy(name)


def simulated(policy_name: PolicyName, prompts: list[tuple[int, ...]], *, engines: int, rate: float) -> Result:
    """Serve the prompts, which arrive at `rate` a second on each engine, and wait first come first served."""
    source = random.Random(7)
    fleet, policy = fleet_of(engines, max_running=SLOTS), policy_of(policy_name)
    caches: dict[Engine, Cache] = {engine: Cache() for engine in fleet.engines(MODEL)}
    events: list[tuple[float, int, Slot | tuple[tuple[int, ...], float]]] = []
    """(time, order, slot to give back or request that arrives)"""
    now, hits, busy = 0.0, 0, dict.fromkeys(caches, 0.0)
    for number, prompt in enumerate(prompts):
        now += source.expovariate(rate * engines)
        heapq.heappush(events, (now, number, (prompt, source.expovariate(1 / SECONDS_PER_ANSWER))))
    waiting: deque[tuple[tuple[int, ...], float]] = deque()
    order = len(prompts)
    while events:
        now, _, event = heapq.heappop(events)
        if isinstance(event, Slot):
            event.release()
        else:
            waiting.append(event)
        while waiting and (able := fleet.candidates(MODEL)):
            prompt, decoding = waiting.popleft()
            engine = policy.choose(able, Routed(prompt))
            found = caches[engine].hits(prompt)
            hits += found
            seconds = SECONDS_PER_BLOCK * (len(prompt) - found) + decoding
            busy[engine] += seconds
            order += 1
            heapq.heappush(events, (now + seconds, order, fleet.take(engine)))
    blocks = sum(map(len, prompts))
    return Result(hits / blocks, len(prompts) / now, max(busy.values()) / mean(busy.values()))


def test_prefix_keeps_a_single_engines_hit_rate_and_an_even_load() -> None:
    prompts = shared_trace(3000, random.Random(3))
    alone = simulated("prefix", prompts, engines=1, rate=7.0)
    prefix = simulated("prefix", prompts, engines=ENGINES, rate=7.0)
    spread = simulated("p2c", prompts, engines=ENGINES, rate=7.0)
    assert prefix.hit_rate >= 0.9 * alone.hit_rate
    assert prefix.imbalance <= 1.3
    assert prefix.hit_rate >= 1.1 * spread.hit_rate


def test_prefix_is_no_worse_than_p2c_where_no_prefix_is_shared() -> None:
    prompts = free_trace(1500)
    prefix = simulated("prefix", prompts, engines=ENGINES, rate=12.0)
    spread = simulated("p2c", prompts, engines=ENGINES, rate=12.0)
    assert prefix.hit_rate == spread.hit_rate == 0
    assert prefix.throughput >= spread.throughput
    assert prefix.imbalance <= 1.3
