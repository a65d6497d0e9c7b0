"""A target's knee: the highest rate at which it keeps its SLOs, found by bisection with repeats.

Rates double (or halve) from the first until one holds and one does not; then the geometric middle is tried until the
two are within the requested precision. A rate is tried until one answer has the majority of the repeats, so a single
unlucky run does not decide. The search assumes that a target that fails at one rate fails at every higher rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from llm_bench.results.result import Result

MAX_DOUBLINGS = 12
"""From the first rate up or down: a factor of 4,096."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run at one rate."""

    rate: float
    holds: bool
    attainment: float | None
    """Share of requests within their SLO, of the class that has the lowest."""
    goodput: float
    """Requests per second within their SLO."""
    output_tokens_per_second: float
    why: str
    """Reason why the goal was missed; empty if it was met."""


@dataclass(frozen=True, slots=True)
class Knee:
    holds: float | None
    """Highest rate that met the goal; None if none did."""
    fails: float | None
    """Lowest rate that missed the goal; None if none did."""
    trials: list[Trial] = field(default_factory=list)
    """In the order in which they were made."""

    @property
    def best(self) -> Trial | None:
        """Return a run at the highest rate that holds."""
        return next((trial for trial in self.trials if trial.rate == self.holds and trial.holds), None)


def find_knee(attempt: Callable[[float], Trial], *, first: float, precision: float, repeats: int) -> Knee:
    """Search for the knee.

    `attempt` makes one run at a rate in requests per second. With `precision` 0.05 the search ends at rates 5% apart.
    """
    trials: list[Trial] = []

    def holds(rate: float) -> bool:
        mine: list[Trial] = []
        while not _decided(mine, repeats):
            mine.append(attempt(rate))
            trials.append(mine[-1])
        return 2 * sum(trial.holds for trial in mine) > len(mine)

    low, high = _bracket(holds, first)
    while low and high and high / low > 1 + precision:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return Knee(low, high, trials)


def judge_trial(result: Result, rate: float, goal: float) -> Trial:
    """Judge a run: its rate holds if it is valid and `goal` of each class's requests meet their SLO."""
    shares = {name: result.summary.classes[name].slo_attainment for name in result.scenario.classes}
    known = {name: share for name, share in shares.items() if share is not None}
    lowest = min(known, key=lambda name: known[name], default=None)
    why = list(result.verdict.reasons)
    if lowest is None:
        why.append("no request was due")
    elif known[lowest] < goal:
        why.insert(0, f"{known[lowest]:.1%} of {lowest} requests within their SLO, goal {goal:.1%}")
    every = result.summary.classes["all"]
    return Trial(
        rate=rate,
        holds=not why,
        attainment=None if lowest is None else known[lowest],
        goodput=every.goodput,
        output_tokens_per_second=every.output_tokens_per_second,
        why="; ".join(why),
    )


def _decided(trials: list[Trial], repeats: int) -> bool:
    """Return whether the remaining trials cannot change the majority."""
    yes = sum(trial.holds for trial in trials)
    return max(yes, len(trials) - yes) > repeats // 2


def _bracket(holds: Callable[[float], bool], first: float) -> tuple[float | None, float | None]:
    """Return (a rate that holds, a rate that fails), a factor of 2 apart; one is None at the limit of the search."""
    rate = first
    if holds(first):
        for _ in range(MAX_DOUBLINGS):
            if not holds(2 * rate):
                return rate, 2 * rate
            rate *= 2
        return rate, None
    for _ in range(MAX_DOUBLINGS):
        if holds(rate / 2):
            return rate / 2, rate
        rate /= 2
    return None, rate
