"""One slot of one engine, with the KV tokens that go with it."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from llm_gateway.engines.engine import Engine

if TYPE_CHECKING:
    from llm_gateway.engines.pool import EnginePool
    from llm_gateway.scheduling.waiting import Waiting


class Permit:
    """Given back exactly once, at the latest when the `with` block ends. `cost` is what it took, in tokens."""

    __slots__ = ("_pool", "cost", "engine", "probe", "request", "since", "streams")

    def __init__(self, engine: Engine, pool: EnginePool, request: Waiting, cost: int, probe: int, since: float) -> None:
        self.engine = engine
        self.request = request
        self.cost = cost
        self.probe = probe
        """Its number if it is the one request that a half-open breaker lets through, else 0."""
        self.since = since
        """When it was given out, on the pool's clock."""
        self.streams = False
        self._pool: EnginePool | None = pool

    def started_stream(self) -> None:
        """The answer comes as a stream: from now on bytes are expected of this engine while the permit is out."""
        if self._pool is not None and not self.streams:
            self.streams = True
            self.engine.streams += 1

    def release(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.give_back(self)

    def __enter__(self) -> Engine:
        return self.engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
