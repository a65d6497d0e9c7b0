"""An engine: the facts that its replica publishes, its state at this edge, and the slots that requests hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from yarl import URL

from llm_proxy.request.prefix import PrefixIndex
from llm_proxy.upstream.breaker import Breaker, BreakerState
from llm_proxy.upstream.interrupt import Interruptible
from llm_proxy.upstream.signals import Signals
from llm_proxy.upstream.slot import EngineSlot
from llm_proxy.upstream.target import Target
from llm_proxy.upstream.tls import tls_context


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The facts about an engine that do not change while it lives."""

    id: str
    """Serve's unique replica id, or the URL of a static engine."""
    model: str
    url: str
    version: str
    """Hash of the application's arguments, 8 hex digits."""
    gpus: tuple[str, ...] = ()
    node: str = ""
    pid: int = 0
    """Process of the replica actor."""
    engine_pid: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "gpus": list(self.gpus)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the facts. Unknown ones are left out: a replica can be newer than this edge."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**{**known, "gpus": tuple(values.get("gpus", ()))})


class Engine(Target):
    """One engine in one edge. Only the fleet, its slots and the watch change it, all in one event loop.

    Several edges can send to one engine, and each knows its own requests only. What the others have sent follows from
    the engine's own count, which is as old as the last scrape:

        others = max(0, running + waiting - own)        load = in_flight + others
    """

    __slots__ = (
        *("breaker", "ejected", "failed_probes", "held", "info", "max_running", "others", "prefixes"),
        *("reports", "resting", "signals", "unseen_requests", "unseen_tokens", "wedged"),
    )

    def __init__(self, info: EngineInfo, *, max_running: int, breaker: Breaker) -> None:
        base = URL(info.url)
        shown = base.authority if info.id == info.url else info.id
        super().__init__(base, shown=shown, tls=tls_context(None) if base.scheme == "https" else None)
        self.info = info
        self.max_running = max_running
        self.breaker = breaker
        self.prefixes = PrefixIndex()
        self.held: set[Slot] = set()
        """The slots that requests hold."""
        self.ejected = False
        self.wedged = False
        """It was ejected for making no progress: a good /health alone does not bring it back."""
        self.failed_probes = 0
        """Failed probes in a row."""
        self.resting = False
        """It has reported overload, and gets no request until the next scrape."""
        self.signals: Signals | None = None
        """The last scrape; None if it failed, as stale signals are not used."""
        self.reports = False
        """A scrape has succeeded: without one, silence says nothing about answers that are not streamed."""
        self.others = 0.0
        """Requests that it holds for other clients than this edge, as of the last scrape."""
        self.unseen_requests = 0
        """Requests sent since the last scrape."""
        self.unseen_tokens = 0
        """Prompt tokens of those."""

    def __repr__(self) -> str:
        return f"Engine({self.shown}, {self.in_flight}/{self.max_running}{', ejected' * self.ejected})"

    @property
    def in_flight(self) -> int:
        return len(self.held)

    @property
    def load(self) -> float:
        """Number of requests that the engine holds, those of other edges included."""
        return len(self.held) + self.others

    @property
    def kv_usage(self) -> float:
        """KV-cache usage from 0 to 1, as last reported; 0 if it does not report."""
        return self.signals.kv_usage if self.signals is not None else 0.0

    @property
    def is_up(self) -> bool:
        """Whether it takes requests, now or when a slot becomes free."""
        return not self.ejected and self.breaker.state is not BreakerState.OPEN

    @property
    def has_room(self) -> bool:
        able = not self.ejected and not self.resting
        return able and len(self.held) < self.max_running and self.breaker.allows()

    def observe(self, signals: Signals | None, own: int) -> None:
        """Take over a scrape, None if it failed. `own` is the number of this edge's requests when it began.

        The larger of both counts is subtracted: the engine knows of requests that have just ended at either moment.
        """
        before, self.signals = self.signals, signals
        self.unseen_requests = self.unseen_tokens = 0
        if signals is None:
            self.others = 0.0
            return
        self.reports = True
        self.others = max(0.0, signals.running + signals.waiting - max(own, self.in_flight))
        if before is not None and signals.moved(before):
            self.progressed(signals.time)
        if signals.kv_tokens:
            self.prefixes.set_kv_tokens(signals.kv_tokens)


class Slot(EngineSlot[Engine]):
    """A place at an engine, given back exactly once. The fleet pulls its request back from a wedged engine."""

    __slots__ = ()

    def __init__(self, engine: Engine, *, since: float, on_release: Callable[[Slot], None]) -> None:
        super().__init__(
            engine, interruptible=Interruptible(), probe=engine.breaker.begin(), since=since, on_release=on_release
        )
