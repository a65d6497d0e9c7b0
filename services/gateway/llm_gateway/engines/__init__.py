"""The engines as the scheduler sees them: which are up, which have room, and which one a request goes to. No I/O here.

engine             one engine and its state
pool, permit       all engines together; one slot of one engine, given back exactly once
limits, budget     the bounds of an engine: requests in flight, and the KV tokens that they add up to
breaker            keeps requests away from an engine that fails them
balance, prefix    the choice among engines with room; the prompts that each engine has seen
signals            the metrics that an engine reports about itself
service_rate       the rate at which slots become free
routes, models     the engines that serve a model; one list of all models
settings           configuration of an engine; addresses and tls check parts of it
changes            the engines of a running gateway follow a reloaded configuration
metrics            the engines' gauges, read at a scrape
"""

from llm_gateway.engines.balance import BalancingName
from llm_gateway.engines.breaker import BreakerSettings
from llm_gateway.engines.engine import Engine
from llm_gateway.engines.limits import LimitSettings
from llm_gateway.engines.permit import Permit
from llm_gateway.engines.pool import EnginePool

__all__ = ["BalancingName", "BreakerSettings", "Engine", "EnginePool", "LimitSettings", "Permit"]
