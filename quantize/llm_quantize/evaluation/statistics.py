"""Intervals and paired tests for weighted means over items, such as losses over pieces of text.

Every figure is theta = sum(w x) / sum(w). Items of one group (the pieces of one document) are alike, so whole groups
are resampled and whole groups change sign: Miller, Adding Error Bars to Evals (2024), section 2.2.

Interval of real-valued scores: bootstrap-t (Efron and Tibshirani, An Introduction to the Bootstrap, 12.5). Each
resample gives t* = (theta* - theta) / se*, and the interval is theta - t*(0.975) se … theta - t*(0.025) se. Scores are
skewed, and a percentile interval of some thirty groups would cover too little.

Interval of scores that are 0 or 1: the mean over the items and a few made-up ones, plus and minus 1.96 bootstrap
standard errors. The made-up ones are two hits and two misses (Agresti and Coull 1998), for pairs one win and one loss
(Bonett and Price 2012). 20 hits of 20 are no certainty, and percentiles would cover too little near 0 and 1.

Test of pairs: if two models are equally good, the sign of each group's difference is a coin's. The p-value is the share
of sign patterns with a sum at least as far from 0 (Fisher's randomisation test). On single items that are 0 or 1 it is
McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
NORMAL_QUANTILE = 1.960
RESAMPLES = 2000
FLIPS = 9999
FEWEST_GROUPS = 8
"""With fewer, resamples of a single group over and over decide the interval."""
FLIPS_AT_ONCE = 2_000_000
"""Signs drawn at once: 16 MB."""
LARGEST_EXPONENT = 700.0
ROUND_OFF = 1e-12
"""Relative size below which a spread is rounding."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> Interval:
        """Return the interval of an increasing function of the value."""
        return Interval(function(self.value), function(self.low), function(self.high))


@dataclass(frozen=True, slots=True)
class Groups:
    """Sums of the items of each group: w x, and w."""

    sums: Values
    weights: Values

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.weights.sum())

    @property
    def error(self) -> float:
        """Return the standard error of the mean, by linearisation of the ratio (Cochran, Sampling Techniques, 6.4)."""
        count = len(self.sums)
        residuals = self.sums - self.mean * self.weights
        return float(np.sqrt(count / (count - 1) * (residuals**2).sum()) / self.weights.sum())

    def joined_by(self, made_up: Sequence[float]) -> Groups:
        """Return these groups and one of weight 1 for each made-up score."""
        return Groups(np.append(self.sums, made_up), np.append(self.weights, np.ones(len(made_up))))


def exponential(value: float) -> float:
    """Return exp of a value; infinity where it would overflow."""
    return math.exp(value) if value < LARGEST_EXPONENT else math.inf


def grouped(values: Sequence[float], weights: Sequence[float], groups: Sequence[str]) -> Groups:
    """Return the sums over the items of each group, in the order of the groups' names."""
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    weight = np.asarray(weights, dtype=np.float64)
    value = np.asarray(values, dtype=np.float64)
    sums, totals = (np.bincount(places, each).astype(np.float64) for each in (weight * value, weight))
    return Groups(sums, totals)


def mean_interval(groups: Groups, *, made_up: Sequence[float] = (), seed: int = 0) -> Interval:
    """Return the mean with its interval; `made_up` are the extra scores of weight 1 that 0-or-1 scores need.

    Raises ValueError if there are fewer than FEWEST_GROUPS groups.
    """
    if len(groups.sums) < FEWEST_GROUPS:
        raise ValueError(f"an interval needs {FEWEST_GROUPS} items or more, not {len(groups.sums)}")
    rng = np.random.default_rng(seed)
    low, high = _with_made_up(groups, made_up, rng) if made_up else _bootstrap_t(groups, rng)
    return Interval(groups.mean, min(low, groups.mean), max(high, groups.mean))


def _with_made_up(groups: Groups, made_up: Sequence[float], rng: np.random.Generator) -> tuple[float, float]:
    """Return the mean of items and made-up ones, minus and plus the reach of its bootstrap standard error."""
    joined = groups.joined_by(made_up)
    counts = _draws(len(joined.sums), rng)
    reach = NORMAL_QUANTILE * float(((counts @ joined.sums) / (counts @ joined.weights)).std())
    return max(joined.mean - reach, min(made_up)), min(joined.mean + reach, max(made_up))


def _bootstrap_t(groups: Groups, rng: np.random.Generator) -> tuple[float, float]:
    sums, weights, mean, error = groups.sums, groups.weights, groups.mean, groups.error
    if error <= ROUND_OFF * max(abs(mean), ROUND_OFF):
        return mean, mean
    counts = _draws(len(sums), rng)
    total = counts @ weights
    means = (counts @ sums) / total
    squares = counts @ sums**2 - 2 * means * (counts @ (sums * weights)) + means**2 * (counts @ weights**2)
    errors = np.sqrt(np.maximum(squares, 0.0) * len(sums) / (len(sums) - 1)) / total
    spread = errors > ROUND_OFF * error  # a resample of a single group over and over has none
    low, high = np.quantile((means[spread] - mean) / errors[spread], _tails())
    return mean - float(high) * error, mean - float(low) * error


def _draws(count: int, rng: np.random.Generator) -> Values:
    """Return how often each group is in each resample: [RESAMPLES, count]."""
    return rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)


def _tails() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


def sign_flip_p(differences: Groups, *, seed: int = 0) -> float:
    """Return the two-sided p-value of the hypothesis that each group's difference is as likely to have either sign."""
    sums = differences.sums[differences.sums != 0.0]
    if not len(sums):
        return 1.0
    rng = np.random.default_rng(seed)
    reached = abs(sums.sum()) * (1 - 1e-9)  # the pattern itself, and those equal to it but for rounding, count
    as_far = 0
    for first in range(0, FLIPS, per_part := max(1, FLIPS_AT_ONCE // len(sums))):
        signs = 2.0 * rng.integers(0, 2, size=(min(per_part, FLIPS - first), len(sums))) - 1.0
        as_far += int((np.abs(signs @ sums) >= reached).sum())
    return (1 + as_far) / (1 + FLIPS)
