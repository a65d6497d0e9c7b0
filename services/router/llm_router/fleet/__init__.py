"""The engines that one edge knows, and their live state. No Ray here, and no HTTP server.

engine     the facts that a replica publishes, the engine's state at this edge, the slots that requests hold
fleet      lists of replicas in, engines with room out; ejection and return
watch      scrape, probe and progress: one loop each over all engines
targets    the engines for Prometheus's service discovery
"""

from llm_router.fleet.engine import Engine, EngineInfo, Slot
from llm_router.fleet.fleet import Fleet, FleetListener

__all__ = ["Engine", "EngineInfo", "Fleet", "FleetListener", "Slot"]
