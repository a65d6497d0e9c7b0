"""One slot of one engine, with the KV tokens that go with it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from llm_gateway.engines.engine import Engine
from llm_gateway.waiting import Waiting


class Permit:
    """A slot of an engine, given back exactly once, at the end of the `with` block or before. `cost` is in tokens."""

    __slots__ = ("_on_release", "cost", "engine", "probe", "request", "since", "streams")

    def __init__(
        self,
        engine: Engine,
        request: Waiting,
        *,
        cost: int,
        probe: int,
        since: float,
        on_release: Callable[[Permit], None],
    ) -> None:
        self.engine = engine
        self.request = request
        self.cost = cost
        self.probe = probe
        """Number of the request if a half-open breaker let it through, else 0."""
        self.since = since
        """Time at which the slot was taken, on the pool's clock."""
        self.streams = False
        self._on_release: Callable[[Permit], None] | None = on_release

    def started_stream(self) -> None:
        """Note that the answer is a stream: from now on the engine has to send bytes while the permit is held."""
        if self._on_release is not None and not self.streams:
            self.streams = True
            self.engine.streams += 1

    def release(self) -> None:
        """Give the slot back. A second call does nothing."""
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release(self)

    def __enter__(self) -> Engine:
        return self.engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
