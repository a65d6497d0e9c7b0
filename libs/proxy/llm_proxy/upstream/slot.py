"""One request's place at an engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from llm_proxy.upstream.client import Engine
from llm_proxy.upstream.interrupt import Interruptible


class EngineSlot(Generic[Engine]):
    """A place at an engine, given back exactly once. `on_release` is called with the slot."""

    __slots__ = ("_on_release", "engine", "interruptible", "probe", "since", "streams")

    def __init__(
        self,
        engine: Engine,
        *,
        interruptible: Interruptible,
        probe: int,
        since: float,
        on_release: Callable[[Any], None],
    ) -> None:
        self.engine = engine
        self.interruptible = interruptible
        """The request runs inside it, so that it can be pulled back from an engine that makes no progress."""
        self.probe = probe
        """Number of the request if a half-open breaker let it through, else 0."""
        self.since = since
        """Time at which the slot was taken; monotonic, seconds."""
        self.streams = False
        self._on_release: Callable[[Any], None] | None = on_release

    def started_stream(self) -> None:
        """Note that the answer is a stream: from now on the engine has to send bytes while the slot is held."""
        if self._on_release is not None and not self.streams:
            self.streams = True
            self.engine.streams += 1

    def release(self) -> None:
        """Give the slot back. A second call does nothing."""
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release(self)
