"""One slot of one engine, with the KV tokens that go with it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from llm_gateway.engines.engine import Engine
from llm_gateway.waiting import Waiting
from llm_proxy.upstream.slot import EngineSlot


class Permit(EngineSlot[Engine]):
    """A slot of an engine, given back exactly once, at the end of the `with` block or before. `cost` is in tokens."""

    __slots__ = ("cost", "request")

    def __init__(
        self, engine: Engine, request: Waiting, *, cost: int, since: float, on_release: Callable[[Permit], None]
    ) -> None:
        super().__init__(
            engine,
            interruptible=request.interruptible,
            probe=engine.breaker.begin(),
            since=since,
            on_release=on_release,
        )
        self.request = request
        self.cost = cost

    def __enter__(self) -> Engine:
        return self.engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
