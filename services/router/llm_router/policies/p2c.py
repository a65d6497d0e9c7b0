"""p2c: power of two choices (Mitzenmacher 2001).

Purpose    Balance with many edges, none of which knows what the others do.
Formula    Draw two engines at random; take the one with the smaller load. The expected maximum load is
           log log n / log 2 above the mean, where one random choice has log n / log log n.
Inputs     Requests in flight; the engines' running and waiting counts.
Trade-off  Edges with the same stale figures do not all pick the same engine. With one edge, least_loaded is more even.
           It ignores caches.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_proxy.balance import better_of_two
from llm_router.fleet.engine import Engine
from llm_router.policies.policy import LOAD, Policy, Routed


class PowerOfTwo(Policy):
    def __init__(self, source: random.Random | None = None) -> None:
        self._draw = (source or random.Random()).random

    def choose(self, engines: Sequence[Engine], request: Routed) -> Engine:
        return better_of_two(engines, LOAD, self._draw)
