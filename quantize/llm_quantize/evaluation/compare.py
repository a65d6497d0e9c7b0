"""B against A, benchmark by benchmark and item by item.

Perplexities are compared as the ratio B/A, which is exp of the mean paired difference of losses; all else as the
difference B - A. Many comparisons are looked at together, so verdicts are corrected for their number (Holm 1979):
`compare` corrects for the benchmarks of one pair, and a report for all methods and benchmarks of a model. "No
difference shown" does not mean equal: `detectable` is the change that a comparison of these items would show in 80% of
cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llm_measure.stats import holm
from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.evaluation import Evaluation
from llm_quantize.evaluation.scores import Benchmark, Scores
from llm_quantize.evaluation.statistics import (
    CONFIDENCE,
    Groups,
    Interval,
    exponential,
    grouped,
    mean_interval,
    sign_flip_p,
)

WIN_AND_LOSS = (1.0, -1.0)
DETECTABLE_ERRORS = 1.960 + 0.842
"""Normal quantiles of 0.975 and 0.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One benchmark of B against A."""

    benchmark: str
    kind: Literal["ratio", "difference"]
    a: float
    b: float
    change: Interval
    """B / A or B - A."""
    p_value: float
    detectable: float
    """Smallest change from "the same" that this comparison would show in 80% of cases."""
    items: int
    groups: int
    higher_is_better: bool
    shown: bool = False
    """Whether a difference is shown, corrected for the number of comparisons in its family."""

    @property
    def verdict(self) -> str:
        if not self.shown:
            return "no difference shown"
        rises = self.change.value > (1.0 if self.kind == "ratio" else 0.0)
        return "better" if rises == self.higher_is_better else "worse"

    @property
    def loss(self) -> Interval:
        """Return how much worse B is, above 0 for worse, as a share of A for ratios."""
        if self.kind == "ratio":
            return self.change.map(lambda value: value - 1.0)
        if not self.higher_is_better:
            return self.change
        return Interval(-self.change.value, -self.change.high, -self.change.low)


def compare(a: Evaluation, b: Evaluation) -> list[Comparison]:
    """Compare every benchmark that both have. Raises EvaluationError if there is none, or if the items differ."""
    shared = [name for name in a.scores if name in b.scores]
    if not shared:
        raise EvaluationError(f"{a.name} and {b.name} share no benchmark: {', '.join(a.scores)}; {', '.join(b.scores)}")
    return corrected([compare_scores(a.scores[name], b.scores[name]) for name in shared])


def corrected(family: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with verdicts: with 95% probability, none of them shows a difference that is not there."""
    shown = holm([one.p_value for one in family], 1 - CONFIDENCE)
    return [replace(one, shown=is_shown) for one, is_shown in zip(family, shown, strict=True)]


def compare_scores(a: Scores, b: Scores) -> Comparison:
    """Compare one benchmark, each item of B with the same item of A."""
    spec = a.spec
    differences = paired_differences(a, b)
    made_up = WIN_AND_LOSS if spec.binary else ()
    change = mean_interval(differences, made_up=made_up)
    detectable = DETECTABLE_ERRORS * differences.joined_by(made_up).error
    is_ratio = spec.scale == "exp"
    return Comparison(
        benchmark=a.benchmark,
        kind="ratio" if is_ratio else "difference",
        a=_figure(a, spec),
        b=_figure(b, spec),
        change=change.map(exponential) if is_ratio else change,
        p_value=sign_flip_p(differences),
        detectable=math.expm1(detectable) if is_ratio else detectable,
        items=len(a.items),
        groups=len(differences.sums),
        higher_is_better=spec.higher_is_better,
    )


def paired_differences(a: Scores, b: Scores) -> Groups:
    """Return B - A by group, each item of B matched to the item of A with its name, whatever their order."""
    place = {item: index for index, item in enumerate(b.items)}
    if len(place) != len(b.items) or place.keys() != set(a.items) or len(a.items) != len(b.items):
        raise EvaluationError(
            f"{a.benchmark}: the two evaluations have different items ({len(a.items)} and {len(b.items)}, "
            f"{len(place.keys() & set(a.items))} in both); evaluate both with the same text, tokenizer and --items"
        )
    values = [b.values[place[item]] - value for item, value in zip(a.items, a.values, strict=True)]
    return grouped(values, a.weights, a.groups)


def _figure(scores: Scores, spec: Benchmark) -> float:
    mean = grouped(scores.values, scores.weights, scores.groups).mean
    return math.exp(mean) if spec.scale == "exp" else mean
