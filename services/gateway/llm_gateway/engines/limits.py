"""The limit of an engine's requests in flight: a fixed number, or one that follows the engine's own signals.

Purpose     Keep the engine full and its own queue nearly empty: requests that wait there have left the gateway's order.
Inputs      Once per scrape: running, waiting, KV usage, time to first token per prompt token, and requests in flight.
            End-to-end time is not used: it follows the length of the output, not the load.
Formula     Gradient2 (Netflix, concurrency-limits) with the worst of three gradients, each 1 when all is well:

                g = clamp(min(running / (running + excess), kv_high / kv_usage, tolerance * long / short), 0.5, 1)
                L <- 0.8 L + 0.2 (g L + 4)      all slots in use, no excess and no pressure on the KV cache: up
                L <- 0.8 L + 0.2 g L            else, if g < 1: down

            excess is the number of waiting requests beyond those that arrive in one step anyway, 1 + running / 16. long
            and short are moving averages of TTFT per prompt token. They are updated only while at least half of the
            slots are in use.
Trade-off   The limit grows by at most 0.8 per scrape, so finding the capacity from below takes a while; it shrinks by
            up to 10 %. If the engine's capacity is known, `static` is right from the first request.
No signals  An engine without signals has its `max_in_flight`, which is also where the search starts.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llm_proxy.upstream.signals import Signals

SMOOTHING = 0.2
ALLOWANCE = 4.0
LOWEST_GRADIENT = 0.5
TTFT_TOLERANCE = 1.5
"""Slack, as a mix of short and long prompts moves TTFT per token by itself. concurrency-limits has the same default."""
SHORT_SAMPLES, LONG_SAMPLES = 3, 600
RECOVERY = 0.95
"""Factor per sample on a long average above twice the short one: after a slow period it is forgotten faster."""


class LimitSettings(BaseModel):
    """The limit of requests in flight, for all engines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["static", "adaptive"] = Field(
        "static",
        description="static: each engine's max_in_flight; adaptive: starts there and follows the engine's signals",
    )
    min: int = Field(1, ge=1, description="adaptive: lowest limit")
    max: int = Field(256, ge=1, description="adaptive: highest limit")
    kv_high: float = Field(0.9, gt=0, le=1, description="adaptive: KV usage above which the limit shrinks")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class AdaptiveLimit:
    """The controller of one engine's limit."""

    def __init__(self, settings: LimitSettings, start: int) -> None:
        self._settings = settings
        self._start = start
        self.reset()

    def reset(self) -> int:
        """Forget the learned limit, as the engine is a new one or reports no signals. Return the starting limit."""
        self._limit = float(self._start)
        self._short: float | None = None
        self._long = 0.0
        return self._start

    def observe(self, signals: Signals, ttft_per_prompt_token: float | None, in_flight: int) -> int:
        """Update the limit from a scrape and return it."""
        if ttft_per_prompt_token is not None and in_flight >= self._limit / 2:
            self._average(ttft_per_prompt_token)
        load = min(_queue_gradient(signals), self._kv_gradient(signals))
        gradient = max(LOWEST_GRADIENT, min(load, self._ttft_gradient(in_flight)))
        if load == 1.0 and in_flight >= int(self._limit):
            self._move(gradient * self._limit + ALLOWANCE)
        elif gradient < 1.0:
            self._move(gradient * self._limit)
        return int(self._limit)

    def _move(self, target: float) -> None:
        limit = (1 - SMOOTHING) * self._limit + SMOOTHING * target
        self._limit = max(float(self._settings.min), min(limit, float(self._settings.max)))

    def _kv_gradient(self, signals: Signals) -> float:
        return min(1.0, self._settings.kv_high / signals.kv_usage) if signals.kv_usage else 1.0

    def _ttft_gradient(self, in_flight: int) -> float:
        if not self._short or in_flight < self._limit / 2:
            return 1.0
        return min(1.0, TTFT_TOLERANCE * self._long / self._short)

    def _average(self, sample: float) -> None:
        if self._short is None:
            self._short = self._long = sample
        self._short += (sample - self._short) * 2 / (SHORT_SAMPLES + 1)
        self._long += (sample - self._long) * 2 / (LONG_SAMPLES + 1)
        if self._long > 2 * self._short:
            self._long *= RECOVERY


def _queue_gradient(signals: Signals) -> float:
    excess = signals.waiting - (1 + signals.running // 16)
    return signals.running / (signals.running + excess) if excess > 0 else 1.0
