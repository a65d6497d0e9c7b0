"""round_robin: engines in turn.

Purpose    The baseline that every other policy is compared with.
Formula    The engine after the one that was chosen last, in the order of their ids; engines without room are skipped.
Inputs     None.
Trade-off  Equal numbers of requests, not equal load: requests differ in length by orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_router.fleet.engine import Engine
from llm_router.policies.policy import Policy, Routed


class RoundRobin(Policy):
    def __init__(self) -> None:
        self._last = ""

    def choose(self, engines: Sequence[Engine], request: Routed) -> Engine:
        after = [engine for engine in engines if engine.info.id > self._last]
        chosen = min(after or engines, key=lambda engine: engine.info.id)
        self._last = chosen.info.id
        return chosen
