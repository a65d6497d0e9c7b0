"""least_loaded: the engine that holds the fewest requests.

Purpose    Keep queues equal. The fallback of the policies with affinity.
Formula    argmin load; equals take turns
               load = requests in flight of this edge + those of other clients, by the engine's last scrape
Inputs     Requests in flight; the engines' running and waiting counts, which are up to one scrape old.
Trade-off  The best balance with one edge. Several edges see each other only through the scrapes, so in between they
           send to the same engine: use p2c with many edges. It ignores caches.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_proxy.balance import cheapest
from llm_router.fleet.engine import Engine
from llm_router.policies.policy import LOAD, Policy, Routed


class LeastLoaded(Policy):
    def __init__(self) -> None:
        self._turn = 0

    def choose(self, engines: Sequence[Engine], request: Routed | None = None) -> Engine:
        self._turn += 1
        return cheapest(engines, LOAD, self._turn)
