"""Benchmarks by name, and the scores of their items.

Scores are kept by item, so that two models are compared on the same items, pair by pair. An item's name is a hash of
its content: a different text, tokenizer or seed gives different names, and such evaluations cannot be compared.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.statistics import FEWEST_GROUPS, Interval, exponential, grouped, mean_interval

Scale = Literal["mean", "exp"]
"""How the mean score is shown: as it is, or as exp of it, which makes a perplexity of a loss."""
HITS_AND_MISSES = (1.0, 1.0, 0.0, 0.0)
PUBLIC_PREFIX = "lm-eval:"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark's name and meaning."""

    name: str
    title: str
    higher_is_better: bool
    scale: Scale = "mean"
    binary: bool = False
    """Whether each score is 0 or 1."""


BENCHMARKS = {
    one.name: one
    for one in (
        Benchmark("perplexity", "Perplexity", higher_is_better=False, scale="exp"),
        Benchmark("next-token", "Next token right", higher_is_better=True),
        Benchmark("kl", "KL to the full model, nats", higher_is_better=False),
        Benchmark("lines", "True line over corrupted", higher_is_better=True, binary=True),
        Benchmark("identifiers", "Identifier of four", higher_is_better=True, binary=True),
        Benchmark("brackets", "Closing bracket", higher_is_better=True, binary=True),
        Benchmark("indents", "Indentation", higher_is_better=True, binary=True),
        Benchmark("humaneval-likelihood", "HumanEval solutions, perplexity", higher_is_better=False, scale="exp"),
        Benchmark("humaneval", "HumanEval pass@1", higher_is_better=True, binary=True),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of this name; EvaluationError if there is none."""
    if name.startswith(PUBLIC_PREFIX):
        return Benchmark(name, name.removeprefix(PUBLIC_PREFIX), higher_is_better=True, binary=True)
    if name not in BENCHMARKS:
        raise EvaluationError(f"no benchmark {name!r}: there are {', '.join(BENCHMARKS)} and {PUBLIC_PREFIX}TASK")
    return BENCHMARKS[name]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one benchmark's items."""

    benchmark: str
    items: list[str]
    """Names of the items."""
    values: list[float]
    weights: list[float]
    """Weights in the mean, such as numbers of tokens."""
    groups: list[str]
    """The document that each item is from, or the item itself."""
    note: str = ""

    @property
    def spec(self) -> Benchmark:
        return find_benchmark(self.benchmark)

    def figure(self) -> Interval:
        """Return the benchmark's figure with its 95% interval."""
        made_up = HITS_AND_MISSES if self.spec.binary else ()
        interval = mean_interval(grouped(self.values, self.weights, self.groups), made_up=made_up)
        return interval.map(exponential) if self.spec.scale == "exp" else interval


class ScoreList:
    """Scores in the making: a list of items that grows."""

    def __init__(self, benchmark: str) -> None:
        self._benchmark = benchmark
        self._rows: list[tuple[str, float, float, str]] = []

    def add(self, item: str, value: float, *, weight: float = 1.0, group: str | None = None) -> None:
        """Add an item's score; EvaluationError if it is no finite number."""
        if not math.isfinite(value):
            raise EvaluationError(
                f"{self._benchmark}: the score of item {len(self._rows) + 1} is {value}; the model's logits are not "
                "finite, so its weights are broken or overflow in this type"
            )
        self._rows.append((item, value, weight, item if group is None else group))

    def finish(self, fewest_groups: int = FEWEST_GROUPS, note: str = "") -> Scores:
        """Return the scores; each item is its own group if there are fewer than `fewest_groups` groups."""
        if len(self._rows) < FEWEST_GROUPS:
            raise EvaluationError(
                f"{self._benchmark}: {len(self._rows)} items are too few for an interval, which takes "
                f"{FEWEST_GROUPS}; give a longer text or more --items"
            )
        items, values, weights, groups = (list(column) for column in zip(*self._rows, strict=True))
        if len(set(groups)) < fewest_groups:
            groups = items
        return Scores(self._benchmark, items, values, weights, groups, note)


def item_name(*parts: str | Sequence[int]) -> str:
    """Return a short hash of an item's content."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
