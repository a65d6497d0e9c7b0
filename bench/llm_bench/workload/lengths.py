"""Lengths of prompts and outputs, in tokens.

{kind: fixed, tokens: 64}
{kind: uniform, low: 32, high: 128}                               both ends included
{kind: normal, mean: 200, deviation: 50, low: 16, high: 400}      clipped to [low, high]
{kind: lognormal, median: 200, sigma: 0.6, low: 16, high: 2048}   clipped to [low, high]
{kind: empirical, values: [16, 64, 256], weights: [5, 3, 2]}      each value by its weight; equal weights by default
{kind: recorded, scale: 0.5, high: 2048}                          as in the trace or the prompt file, clipped
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Integers = npt.NDArray[np.int64]


class _Lengths(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FixedLengths(_Lengths):
    kind: Literal["fixed"]
    tokens: PositiveInt

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        return np.full(count, self.tokens, dtype=np.int64)

    def longest(self) -> int:
        return self.tokens


class _Bounded(_Lengths):
    low: PositiveInt
    high: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> _Bounded:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not exceed high ({self.high})")
        return self

    def longest(self) -> int:
        return self.high

    def _clip(self, lengths: npt.NDArray[Any]) -> Integers:
        clipped: Integers = np.clip(np.rint(lengths), self.low, self.high).astype(np.int64)
        return clipped


class UniformLengths(_Bounded):
    kind: Literal["uniform"]

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        return rng.integers(self.low, self.high, size=count, endpoint=True)


class NormalLengths(_Bounded):
    kind: Literal["normal"]
    mean: PositiveFloat
    deviation: PositiveFloat

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        return self._clip(rng.normal(self.mean, self.deviation, size=count))


class LognormalLengths(_Bounded):
    kind: Literal["lognormal"]
    median: PositiveFloat
    sigma: PositiveFloat
    """Standard deviation of the logarithm: 0.5 puts two thirds of the lengths within a factor 1.65 of the median."""

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        return self._clip(rng.lognormal(np.log(self.median), self.sigma, size=count))


class EmpiricalLengths(_Lengths):
    kind: Literal["empirical"]
    values: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    weights: tuple[PositiveFloat, ...] | None = None

    @model_validator(mode="after")
    def _as_many(self) -> EmpiricalLengths:
        if self.weights is not None and len(self.weights) != len(self.values):
            raise ValueError(f"{len(self.weights)} weights for {len(self.values)} values")
        return self

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        weights = np.array(self.weights or [1.0] * len(self.values))
        return rng.choice(np.array(self.values), size=count, p=weights / weights.sum())

    def longest(self) -> int:
        return max(self.values)


class RecordedLengths(_Lengths):
    kind: Literal["recorded"]
    scale: PositiveFloat = 1.0
    high: PositiveInt
    """Longest length that the model has room for; longer ones are clipped to it."""

    def take(self, recorded: Integers) -> Integers:
        clipped: Integers = np.clip(np.rint(recorded * self.scale), 1, self.high).astype(np.int64)
        return clipped

    def longest(self) -> int:
        return self.high


DrawnLengths = FixedLengths | UniformLengths | NormalLengths | LognormalLengths | EmpiricalLengths
Lengths = Annotated[DrawnLengths | RecordedLengths, Field(discriminator="kind")]
