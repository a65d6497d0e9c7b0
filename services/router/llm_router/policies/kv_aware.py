"""kv_aware: the engine with the most free KV cache and the shortest queue, by its own metrics.

Purpose    Requests of very different lengths: two engines with equally many requests can differ tenfold in KV cache,
           and the fuller one preempts.
Formula    argmin  kv + queue
               kv    = kv_usage + (unseen_tokens + prompt_tokens) / kv_tokens     usage after this request's prefill
               queue = (waiting + unseen_requests) / max_running
           `unseen` is what this edge has sent since the last scrape. Equals go to the smaller load. An engine without
           signals counts load / max_running for both terms.
Inputs     KV usage and capacity, waiting requests, requests and prompt tokens since the scrape.
Trade-off  It sees what least_loaded cannot, the size of the requests. It ignores which prefixes are cached, and with
           several edges the figures are up to one scrape old.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_router.fleet.engine import Engine
from llm_router.policies.policy import Policy, Routed


class KvAware(Policy):
    def choose(self, engines: Sequence[Engine], request: Routed) -> Engine:
        return min(engines, key=lambda engine: (_score(engine, request.prompt_tokens), engine.load, engine.info.id))


def _score(engine: Engine, prompt_tokens: int) -> float:
    signals = engine.signals
    if signals is None:
        return 2 * engine.load / engine.max_running
    tokens = engine.unseen_tokens + prompt_tokens
    coming = tokens / signals.kv_tokens if signals.kv_tokens else 0.0
    return signals.kv_usage + coming + (signals.waiting + engine.unseen_requests) / engine.max_running
