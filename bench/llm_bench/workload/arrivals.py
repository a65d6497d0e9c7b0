"""When requests arrive: times in seconds from the start of the run, drawn before the clock starts.

    {kind: poisson, rate: 8}                             independent users, who know nothing of each other
    {kind: constant, rate: 8}                            one request every 1/rate seconds
    {kind: gamma, rate: 8, burstiness: 0.5}              gamma gaps; 1 is Poisson, below it bursts, above it regularity
    {kind: on_off, rate: 8, burst: 2, lull: 6}           bursts and lulls of exponential length (MMPP)
    {kind: ramp, start: 2, end: 14}                      a rate that grows (or falls) steadily
    {kind: steps, rates: [2, 4, 8]}                      equal parts of the window, each with its rate
    {kind: diurnal, rate: 8, swing: 0.6, period: 60}     a day in `period` seconds: rate (1 + swing sin)
    {kind: spike, rate: 4, peak: 20, at: 10, lasts: 3}   a sudden crowd
    {kind: trace, file: azure.csv, speed: 60}            as recorded (`trace`)
    {kind: closed, users: 16, think: 0.5}                users who wait for their answers: no arrival times

All but `closed` are open loops: nothing in them depends on how fast the target answers. The number of arrivals is the
expected one, rate x duration. Left to chance, it would vary by its square root: 300 requests could offer a load 6% off
the requested one, and 1.2x capacity might be no overload at all.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from llm_bench.workload.profiles import draw_by_intensity, within

Seconds = npt.NDArray[np.float64]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Rated(_Part):
    rate: PositiveFloat
    """Requests per second, on average."""

    def mean_rate(self, duration: float) -> float:
        return self.rate

    def scaled(self, factor: float) -> Self:
        return self.model_copy(update={"rate": self.rate * factor})


class PoissonArrivals(_Rated):
    kind: Literal["poisson"]

    def draw(self, duration: float, rng: np.random.Generator) -> Seconds:
        """Draw sorted times in [0, duration): a Poisson process, given that its number of arrivals is the expected one.

        Given their number, the arrivals of a Poisson process are independent and uniform (Ross, Stochastic Processes,
        2nd ed., theorem 2.3.1).
        """
        return np.sort(rng.uniform(0.0, duration, size=round(self.rate * duration)))


class ConstantArrivals(_Rated):
    kind: Literal["constant"]

    def draw(self, duration: float, rng: np.random.Generator) -> Seconds:
        times: Seconds = np.arange(int(np.ceil(duration * self.rate)), dtype=np.float64) / self.rate
        return times[times < duration]


class GammaArrivals(_Rated):
    kind: Literal["gamma"]
    burstiness: PositiveFloat
    """Shape of the gaps' distribution, as vLLM's `--burstiness`: their coefficient of variation is its -1/2 power."""

    def draw(self, duration: float, rng: np.random.Generator) -> Seconds:
        """Draw a renewal process, scaled so that the gap after the last arrival ends with the window."""
        gaps = rng.gamma(self.burstiness, size=round(self.rate * duration) + 1)
        times: Seconds = np.cumsum(gaps)[:-1] * (duration / gaps.sum())
        return within(times, duration)


class OnOffArrivals(_Rated):
    """A Markov-modulated Poisson process of two states; the window begins in a burst."""

    kind: Literal["on_off"]
    burst: PositiveFloat
    """Mean length of a burst, in seconds. (Not `on`, which YAML reads as true.)"""
    lull: PositiveFloat
    """Mean length of a lull."""
    quiet: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Rate within lulls over the rate within bursts."""

    def draw(self, duration: float, rng: np.random.Generator) -> Seconds:
        changes = [0.0]
        while changes[-1] < duration:
            changes.append(changes[-1] + rng.exponential(self.lull if len(changes) % 2 == 0 else self.burst))
        breaks = np.array(changes[1:-1])

        def level(t: Seconds) -> Seconds:
            return np.where(np.searchsorted(breaks, t, side="right") % 2, self.quiet, 1.0)

        return draw_by_intensity(level, breaks, duration, round(self.rate * duration), rng=rng)


class RampArrivals(_Part):
    kind: Literal["ramp"]
    start: NonNegativeFloat
    end: NonNegativeFloat

    def mean_rate(self, duration: float) -> float:
        return (self.start + self.end) / 2

    def scaled(self, factor: float) -> Self:
        return self.model_copy(update={"start": self.start * factor, "end": self.end * factor})

    def draw(self, duration: float, rng: np.random.Generator) -> Seconds:
        def level(t: Seconds) -> Seconds:
            return self.start + (self.end - self.start) * t / duration

        return draw_by_intensity(level, np.empty(0), duration, round(self.mean_rate(duration) * duration), rng=rng)


class StepArrivals(_Part):
    kind: Literal["steps"]
    rates: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)]

    def mean_rate(self, duration: float) -> float:
        return sum(self.rates) / len(self.rates)

    def scaled(self, factor: float) -> Self:
        return self.model_copy(update={"rates": tuple(rate * factor for rate in self.rates)})

    def draw(self, duration: float, rng: np.random.Generator) -> Seconds:
        """Draw each part with the number of arrivals that its rate gives."""
        part = duration / len(self.rates)
        times = [np.sort(rng.uniform(0.0, part, round(rate * part))) for rate in self.rates]
        return np.concatenate([part * position + times[position] for position in range(len(self.rates))])


class DiurnalArrivals(_Rated):
    kind: Literal["diurnal"]
    swing: Annotated[float, Field(gt=0, le=1)]
    """Amplitude of the rate around its mean, as a share of the mean."""
    period: PositiveFloat

    def draw(self, duration: float, rng: np.random.Generator) -> Seconds:
        def level(t: Seconds) -> Seconds:
            return 1 + self.swing * np.sin(2 * np.pi * t / self.period)

        return draw_by_intensity(level, np.empty(0), duration, round(self.rate * duration), rng=rng)


class SpikeArrivals(_Rated):
    """A rate of `rate`, and of `peak` for `lasts` seconds from `at`."""

    kind: Literal["spike"]
    peak: PositiveFloat
    at: NonNegativeFloat
    lasts: PositiveFloat

    def mean_rate(self, duration: float) -> float:
        within = max(0.0, min(self.at + self.lasts, duration) - self.at)
        return (self.rate * (duration - within) + self.peak * within) / duration

    def scaled(self, factor: float) -> Self:
        return self.model_copy(update={"rate": self.rate * factor, "peak": self.peak * factor})

    def draw(self, duration: float, rng: np.random.Generator) -> Seconds:
        def level(t: Seconds) -> Seconds:
            return np.where((t >= self.at) & (t < self.at + self.lasts), self.peak, self.rate)

        breaks = np.array([self.at, self.at + self.lasts])
        return draw_by_intensity(level, breaks, duration, round(self.mean_rate(duration) * duration), rng=rng)


class ClosedLoop(_Part):
    """A closed loop: each of `users` sends, waits for the whole answer, thinks, and sends again."""

    kind: Literal["closed"]
    users: PositiveInt
    think: NonNegativeFloat = 0.0
    """Mean of exponential thinking times, in seconds."""

    def draw_thinking(self, count: int, rng: np.random.Generator) -> Seconds:
        return rng.exponential(self.think, size=count)


SyntheticArrivals = (
    PoissonArrivals
    | ConstantArrivals
    | GammaArrivals
    | OnOffArrivals
    | RampArrivals
    | StepArrivals
    | DiurnalArrivals
    | SpikeArrivals
)
