"""The back ends as the scheduler sees them: who is up, who has room, and which one a request goes to. No I/O here.

engine      one back end and all that is known about it
permit      one slot of one engine, given back exactly once
pool        the engines together: takes permits, adds and removes engines
limits      how many requests an engine may have in flight: fixed, or from its own signals
budget      how many KV tokens the requests in flight may add up to
breaker     keeps requests off an engine that fails them
balance     which of the engines with room: least loaded, power of two choices, by session, by prefix
prefix      what is known about the prompts in each engine's prefix cache
signals     what an engine says about itself under /metrics
routes      which engines serve a request's model; models: one list of all models
addresses   where an engine is and what it is called; settings: its configuration; changes: engines come and go
metrics     the engines' gauges, read when scraped
watch/      what reads from the engines: probes, scrapes, progress
"""

from llm_gateway.engines.balance import BalancingName
from llm_gateway.engines.breaker import BreakerSettings
from llm_gateway.engines.engine import Engine
from llm_gateway.engines.limits import LimitSettings
from llm_gateway.engines.permit import Permit
from llm_gateway.engines.pool import EnginePool

__all__ = ["BalancingName", "BreakerSettings", "Engine", "EnginePool", "LimitSettings", "Permit"]
