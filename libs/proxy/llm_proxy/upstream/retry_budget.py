"""A limit on retries, so that they do not overload engines that are failing already.

It is a token bucket (Finagle's RetryBudget): each request adds `ratio`, each second adds `per_second`, each retry takes
1. Over any period, retries <= reserve + ratio * requests + per_second * seconds. The bucket starts full: when an engine
dies, all its requests in flight need a retry at once.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field


class RetryBudgetSettings(BaseModel):
    """The limit on retries over all requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float = Field(0.2, ge=0, le=1, description="retries per request in the long run")
    per_second: float = Field(
        1.0, ge=0, description="retries per second that are always allowed, for times of low traffic"
    )
    reserve: float = Field(
        100.0, ge=1, description="most retries that are saved up; set it to the requests that one engine holds, or more"
    )


class RetryBudget:
    """The token bucket. `clock` is monotonic, in seconds."""

    def __init__(self, settings: RetryBudgetSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._tokens = settings.reserve
        self._refilled = clock()

    def request(self) -> None:
        """Add the share of a new request. This is on the hot path, so it does not read the clock."""
        self._tokens = min(self._settings.reserve, self._tokens + self._settings.ratio)

    def retry(self) -> bool:
        """Take one retry if the budget allows it. Return whether it did."""
        now = self._clock()
        earned = self._settings.per_second * (now - self._refilled)
        self._tokens = min(self._settings.reserve, self._tokens + earned)
        self._refilled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
