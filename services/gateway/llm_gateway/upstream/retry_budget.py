"""A limit on retries, so that a failing fleet is not drowned in second tries.

A token bucket (Finagle's RetryBudget): each request puts in `ratio`, each second `per_second`, each retry takes 1. So
over any stretch of time, retries <= reserve + ratio * requests + per_second * seconds. It starts full: an engine that
dies takes all that it has in flight with it at once, and those shall not fail.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field


class RetryBudgetSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float = Field(0.2, ge=0, le=1, description="retries per request, in the long run")
    per_second: float = Field(1.0, ge=0, description="retries that are always allowed, so that low traffic has some")
    reserve: float = Field(100.0, ge=1, description="retries that may be saved up: at least what one engine holds")


class RetryBudget:
    def __init__(self, settings: RetryBudgetSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._tokens = settings.reserve
        self._refilled = clock()

    def request(self) -> None:
        """A new request came in; on the hot path, so no clock is read."""
        self._tokens = min(self._settings.reserve, self._tokens + self._settings.ratio)

    def retry(self) -> bool:
        """Whether one more retry is allowed; if so, it is counted."""
        now = self._clock()
        earned = self._settings.per_second * (now - self._refilled)
        self._tokens = min(self._settings.reserve, self._tokens + earned)
        self._refilled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
