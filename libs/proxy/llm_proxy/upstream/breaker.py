"""A circuit breaker: an engine that fails its requests gets none for a while, and then one as a test.

    closed ── consecutive failures, or failure rate ──▶ open ── open_seconds ──▶ half-open ── success ──▶ closed
                                                          ▲                          │ (one request at a time)
                                                          └───────── failure ────────┘

A failure is a connection that is refused, broken or silent, or a 5xx. A 4xx is the client's fault and never counts. The
failure rate covers the last half to one window: it is kept in two halves, so that an update costs O(1).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from pydantic import BaseModel, ConfigDict, Field


class BreakerSettings(BaseModel):
    """Thresholds of the circuit breaker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consecutive_failures: int = Field(5, ge=1, description="failures in a row that open it")
    failure_rate: float = Field(0.5, gt=0, le=1, description="share of failed requests in the window that opens it")
    min_requests: int = Field(20, ge=1, description="requests in the window below which `failure_rate` does not apply")
    window: float = Field(30.0, gt=0, description="seconds over which the failure rate is taken")
    open_seconds: float = Field(5.0, gt=0, description="seconds without requests before one is let through")


class BreakerState(IntEnum):
    """The state of a breaker, and the value of its metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """The circuit breaker of one engine. `clock` is monotonic, in seconds."""

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
        """Time at which it turns half-open; None while it is closed."""
        self._probes = 0
        self.probing = 0
        """Number of the request that a half-open breaker has let through; 0 if there is none."""
        self._in_a_row = 0
        self._half, self._half_before = [0, 0], [0, 0]
        """[requests, failures] in the current and in the previous half of the window."""
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
        """Note that an allowed request is sent. Return its number if a half-open breaker let it through, else 0."""
        if self._reopens_at is None:
            return 0
        self._probes += 1
        self.probing = self._probes
        return self.probing

    def end_probe(self, number: int) -> None:
        """Note that the probing request has ended. Without a result (its client hung up) the next request probes."""
        if self.probing == number:
            self.probing = 0

    def half_open(self) -> None:
        """Turn half-open at once if it is open: there is new evidence that the engine works."""
        if self._reopens_at is not None:
            self._reopens_at = min(self._reopens_at, self._clock())

    def succeeded(self) -> bool:
        """Note a success. Return True if it closed the breaker; requests sent before it opened cannot."""
        if self._reopens_at is not None:
            return bool(self.probing) and self._close()
        self._in_a_row = 0
        self._count(0)
        return False

    def failed(self) -> bool:
        """Note a failure. Return True if it opened the breaker."""
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
        """Close the breaker with all counts at zero."""
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
