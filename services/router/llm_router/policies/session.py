"""session: one engine per session, by consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018).

Purpose    Conversations whose client names its session (`x-session-id`): the next turn meets the cache of the last one
           even if this edge is new, as all edges hash alike.
Formula    Engines lie on a ring, each at POINTS places. A session goes to the first engine clockwise of its hash that
           has room and holds fewer requests than

               ceil(BOUND * (total load + 1) / engines)

           An engine that joins or leaves moves only its own sessions and those at the bound. A request without a
           session goes to the least loaded engine.
Inputs     The session's name, the engines' ids, load.
Trade-off  No index, no memory, agreement between edges without a word. It cannot see that two sessions share a system
           prompt, and an overflowing session changes its engine back and forth: prefix follows the cache instead.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Sequence

from llm_router.fleet.engine import Engine
from llm_router.policies.least_loaded import LeastLoaded
from llm_router.policies.policy import Policy, Routed

BOUND = 1.25
"""Most load of an engine, in units of the mean."""
POINTS = 64
"""Places on the ring per engine: the shares of two engines differ by about 1/sqrt(POINTS)."""


class SessionAffinity(Policy):
    def __init__(self) -> None:
        self._spread = LeastLoaded()
        self._ring: list[tuple[int, Engine]] = []
        """(place, engine), by place."""
        self._known: set[Engine] = set()

    def choose(self, engines: Sequence[Engine], request: Routed) -> Engine:
        if request.session is None or len(engines) == 1:
            return self._spread.choose(engines)
        for engine in engines:
            if engine not in self._known:
                self._add(engine)
        total = sum(engine.load for engine in self._known)
        bound = math.ceil(BOUND * (total + 1) / len(self._known))
        allowed = {engine for engine in engines if engine.load < bound}
        start = bisect.bisect(self._ring, place(request.session), key=lambda point: point[0])
        for step in range(len(self._ring)):
            _, engine = self._ring[(start + step) % len(self._ring)]
            if engine in allowed:
                return engine
        return self._spread.choose(engines)

    def forget(self, engine: Engine) -> None:
        self._known.discard(engine)
        self._ring = [point for point in self._ring if point[1] is not engine]

    def _add(self, engine: Engine) -> None:
        self._known.add(engine)
        self._ring += [(place(f"{engine.info.id}#{number}"), engine) for number in range(POINTS)]
        self._ring.sort(key=lambda point: point[0])


def place(name: str) -> int:
    """Return a place on the ring, equal in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())
