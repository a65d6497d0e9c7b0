"""The engines as the scheduler sees them: which are up, which have room, and which one a request goes to. No I/O here.

engine             one engine and its state
pool, permit       all engines together; one slot of one engine, given back exactly once
limits, budget     the bounds of an engine: requests in flight, and the KV tokens that they add up to
balance            the choice among engines with room
routes, models     the engines that serve a model; one list of all models
settings           configuration of an engine
changes            the engines of a running gateway follow a reloaded configuration
metrics            the engines' gauges, read at a scrape
"""

from llm_gateway.engines.balance import BalancingName
from llm_gateway.engines.engine import Engine
from llm_gateway.engines.limits import LimitSettings
from llm_gateway.engines.permit import Permit
from llm_gateway.engines.pool import EnginePool
from llm_proxy.upstream.breaker import BreakerSettings

__all__ = ["BalancingName", "BreakerSettings", "Engine", "EnginePool", "LimitSettings", "Permit"]
