"""A circuit breaker: an engine that fails its requests gets none for a while, then one to prove itself.

    closed ── consecutive failures, or failure rate ──▶ open ── open_seconds ──▶ half-open ── success ──▶ closed
                                                          ▲                          │ (one request at a time)
                                                          └───────── failure ────────┘

A failure is a connection refused, broken off or silent, or a 5xx. A 4xx is the client's: it neither trips nor counts,
whatever the state. The rate is taken over the last half to one window, in two halves, so that it costs O(1).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from pydantic import BaseModel, ConfigDict, Field


class BreakerSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    consecutive_failures: int = Field(5, ge=1, description="that many in a row open it")
    failure_rate: float = Field(0.5, gt=0, le=1, description="that share of the requests in the window opens it …")
    min_requests: int = Field(20, ge=1, description="… if there were so many")
    window: float = Field(30.0, gt=0, description="seconds")
    open_seconds: float = Field(5.0, gt=0, description="without requests, before one is let through")


class BreakerState(IntEnum):
    """Also the value of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    __slots__ = (
        "_clock",
        "_half",
        "_half_before",
        "_half_began",
        "_in_a_row",
        "_probes",
        "_reopens_at",
        "_settings",
        "probing",
    )

    def __init__(self, settings: BreakerSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._reopens_at: float | None = None
        """When it turns half-open; None while it is closed."""
        self._probes = 0
        self.probing = 0
        """Number of the one request that is on its way through a half-open breaker; 0: none is."""
        self._in_a_row = 0
        self._half, self._half_before = [0, 0], [0, 0]
        """[requests, failures] in the present and in the last half of the window."""
        self._half_began = clock()

    @property
    def state(self) -> BreakerState:
        if self._reopens_at is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._reopens_at else BreakerState.HALF_OPEN

    def allows(self) -> bool:
        """Return whether a request can be sent now."""
        return self._reopens_at is None or (not self.probing and self._clock() >= self._reopens_at)

    def begin(self) -> int:
        """A request that was allowed is sent. Its number if it is the one that a half-open breaker lets through."""
        if self._reopens_at is None:
            return 0
        self._probes += 1
        self.probing = self._probes
        return self.probing

    def end_probe(self, number: int) -> None:
        """That request is over; if nothing was said about it (its client hung up), the next one may try."""
        if self.probing == number:
            self.probing = 0

    def half_open(self) -> None:
        """There is new evidence that the engine works: if open, it need not wait any longer."""
        if self._reopens_at is not None:
            self._reopens_at = min(self._reopens_at, self._clock())

    def succeeded(self) -> bool:
        """True if that closed it. What was sent before it opened says nothing about the engine now."""
        if self._reopens_at is not None:
            return bool(self.probing) and self._close()
        self._in_a_row = 0
        self._count(0)
        return False

    def failed(self) -> bool:
        """True if that opened it."""
        if self._reopens_at is not None:
            return bool(self.probing) and self._open()
        self._in_a_row += 1
        self._count(1)
        return self._must_open() and self._open()

    def _must_open(self) -> bool:
        if self._in_a_row >= self._settings.consecutive_failures:
            return True
        requests = self._half[0] + self._half_before[0]
        failures = self._half[1] + self._half_before[1]
        return requests >= self._settings.min_requests and failures >= self._settings.failure_rate * requests

    def _open(self) -> bool:
        self._reopens_at = self._clock() + self._settings.open_seconds
        self.probing = 0
        return True

    def _close(self) -> bool:
        """With a clean record."""
        self._reopens_at, self.probing = None, 0
        self._in_a_row = 0
        self._half, self._half_before = [0, 0], [0, 0]
        return True

    def _count(self, failures: int) -> None:
        now, length = self._clock(), self._settings.window / 2
        if now - self._half_began >= length:
            self._half_before = self._half if now - self._half_began < 2 * length else [0, 0]
            self._half, self._half_began = [0, 0], now
        self._half[0] += 1
        self._half[1] += failures
