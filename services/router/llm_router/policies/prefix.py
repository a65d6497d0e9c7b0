"""prefix: affinity to the engine whose cache holds the prompt's prefix, bounded by load. The default.

Purpose    Reuse of the engines' prefix caches: prefill is the part of a request that a hit removes.
Formula    Among the engines with little load and room in their KV cache,

               eligible = load <= max(min load + SLACK, min load * RATIO)   and
                          kv_usage <= max(KV_HIGH, min kv_usage + KV_SLACK)

           choose the one that has seen the longest prefix of the prompt, the least loaded of equals. If no eligible
           engine has seen any block, choose the least loaded. The chosen engine learns the prompt.
Inputs     Hashes of the prompt's blocks of 256 bytes; an index per engine of the blocks it was sent, as large as its KV
           cache, least recently used first out; load; KV usage.
Trade-off  The index is a guess: it does not hear of evictions. SLACK trades hits for balance. Affinity without a bound
           makes hot spots (sglang#14532, AIBrix#842); here the load of a hot prefix's engine exceeds the least loaded
           one by SLACK at most, and then a second engine learns the prefix. A miss goes to the least loaded engine,
           not to the one with the smallest index, which can be the busiest.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_proxy.balance import longest_match
from llm_router.fleet.engine import Engine
from llm_router.policies.least_loaded import LeastLoaded
from llm_router.policies.policy import LOAD, Policy, Routed

SLACK = 2.0
"""Requests by which an engine may be above the least loaded one."""
RATIO = 1.3
"""Factor by which it may be above, for engines that hold many requests."""
KV_HIGH = 0.9
"""KV usage from which an engine is close to preempting."""
KV_SLACK = 0.05


class PrefixAffinity(Policy):
    wants_prefix = True

    def __init__(self) -> None:
        self._spread = LeastLoaded()

    def choose(self, engines: Sequence[Engine], request: Routed) -> Engine:
        roomy = _with_room_for_kv(engines)
        if not request.prefix:
            return self._spread.choose(roomy)
        chosen = longest_match(_within_slack(roomy), request.prefix, LOAD) or self._spread.choose(roomy)
        chosen.prefixes.add(request.prefix)
        return chosen

    def forget(self, engine: Engine) -> None:
        engine.prefixes.clear()


def _with_room_for_kv(engines: Sequence[Engine]) -> Sequence[Engine]:
    """Return the engines whose KV usage is low, or close to the lowest; at least one."""
    usages = [engine.kv_usage for engine in engines]
    limit = max(KV_HIGH, min(usages) + KV_SLACK)
    if max(usages) <= limit:
        return engines
    return [engine for engine, usage in zip(engines, usages, strict=True) if usage <= limit]


def _within_slack(engines: Sequence[Engine]) -> list[Engine]:
    """Return the engines that hold at most the slack more requests than the least loaded one."""
    loads = [engine.load for engine in engines]
    limit = max(min(loads) + SLACK, min(loads) * RATIO)
    return [engine for engine, load in zip(engines, loads, strict=True) if load <= limit]
