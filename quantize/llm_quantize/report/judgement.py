"""Each method against the full model of the same name, and what follows from it.

"A loss is shown" holds over all comparisons of a model: verdicts are corrected for its methods and benchmarks together
(Holm 1979), so that with 95% probability none of them is wrong. Intervals are those of single comparisons, so of k
methods that lose 5% each, one is taken for acceptable with a probability of at most k times 2.5%.

A method is acceptable if its loss of perplexity is shown to be below 5%: the whole interval lies below it. No other
benchmark may show a loss of 5% or 5 points. The recommended method is the smallest acceptable one. Of methods within 2%
of its size, those count whose time of a token at batch 1 is within 20% of the fastest one's, since runs minutes apart
differ by as much; of these, the one with the least loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation import Comparison, compare, corrected
from llm_quantize.report.results import FULL, ModelResult
from llm_report import units

TOLERANCE = 0.05
SAME_SIZE = 1.02
SAME_TIME = 1.2
PRIMARY = ("perplexity", "humaneval-likelihood")
"""The first of these that was measured decides, and is drawn in the Pareto charts."""
NOT_JUDGED = ("kl",)
"""Distances, which are never 0."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A method on one model, against the full model."""

    result: ModelResult
    full: ModelResult
    comparisons: dict[str, Comparison]

    @property
    def method(self) -> str:
        return self.result.method

    @property
    def primary(self) -> Comparison:
        for name in PRIMARY:
            if name in self.comparisons:
                return self.comparisons[name]
        return next(iter(self.comparisons.values()))

    @property
    def smaller(self) -> float:
        """Return how many times smaller the weights are."""
        return self.full.bytes / self.result.bytes

    @property
    def seconds_per_token(self) -> float | None:
        one = self.result.performance.at(1) if self.result.performance else None
        return one.tpot.median if one else None

    @property
    def faster(self) -> float | None:
        """Return how many times faster a token comes at batch 1; None unless both were measured on one machine."""
        ours, full = self.result.performance, self.full.performance
        if ours is None or full is None or (ours.device, ours.server) != (full.device, full.server):
            return None
        one, base = ours.at(1), full.at(1)
        return base.tpot.median / one.tpot.median if one and base else None

    @property
    def worse(self) -> list[Comparison]:
        """Return the benchmarks other than the primary one that show a loss above the tolerance."""
        others = [one for name, one in self.comparisons.items() if one is not self.primary and name not in NOT_JUDGED]
        return [one for one in others if one.verdict == "worse" and one.loss.value > TOLERANCE]

    @property
    def acceptable(self) -> bool:
        return self.primary.loss.high < TOLERANCE and not self.worse


@dataclass(frozen=True, slots=True)
class ModelJudgement:
    """A model, its methods by rising loss, and the variants of methods that differ in calibration only."""

    model: str
    full: ModelResult
    methods: list[Judged]
    calibrations: dict[str, list[Judged]]
    """By method, where one recipe was calibrated more than once; the first of them is among `methods`."""


def judge(results: Sequence[ModelResult]) -> list[ModelJudgement]:
    """Judge every model's methods. Raises EvaluationError for a model without its full result."""
    found = []
    for model in dict.fromkeys(one.model for one in results):
        of_model = [one for one in results if one.model == model]
        full = next((one for one in of_model if one.method == FULL), None)
        if full is None:
            raise EvaluationError(f"{model}: no result of the method {FULL!r}, which all others are compared with")
        recipes: dict[str, list[Judged]] = {}
        for each in _judged(full, [one for one in of_model if one is not full]):
            recipes.setdefault(each.result.recipe, []).append(each)
        methods = sorted((group[0] for group in recipes.values()), key=lambda one: one.primary.loss.value)
        calibrations = {group[0].method: group for group in recipes.values() if len(group) > 1}
        found.append(ModelJudgement(model, full, methods, calibrations))
    return found


def _judged(full: ModelResult, others: Sequence[ModelResult]) -> list[Judged]:
    """Compare all methods with the full model; their verdicts are one family."""
    found = [(one, each) for one in others for each in compare(full.evaluation, one.evaluation)]
    family = corrected([each for _, each in found])
    comparisons: dict[str, dict[str, Comparison]] = {one.method: {} for one in others}
    for (one, _), each in zip(found, family, strict=True):
        comparisons[one.method][each.benchmark] = each
    return [Judged(one, full, comparisons[one.method]) for one in others]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other point beats in one coordinate without losing in the other.

    Smaller is better in both; the front is in ascending order of the first.
    """
    order = sorted(range(len(points)), key=lambda index: points[index])
    front: list[int] = []
    for index in order:
        if not front or points[index][1] < points[front[-1]][1]:
            front.append(index)
    return front


def recommended(judgement: ModelJudgement) -> Judged | None:
    """Return the recommended method of a model; None if none is acceptable."""
    fit = [one for one in judgement.methods if one.acceptable]
    if not fit:
        return None
    least = min(one.result.bytes for one in fit)
    near = [one for one in fit if one.result.bytes <= least * SAME_SIZE]
    times = [one.seconds_per_token for one in near if one.seconds_per_token is not None]
    longest = min(times, default=math.inf) * SAME_TIME
    return min(
        (one for one in near if (one.seconds_per_token or 0.0) <= longest), key=lambda one: one.primary.loss.value
    )


def recommendation(judgement: ModelJudgement) -> str:
    """Return the recommendation for a model in one sentence, with its reason."""
    best = recommended(judgement)
    if not judgement.methods:
        return f"Only the full {judgement.model} was measured."
    if best is None:
        nearest = judgement.methods[0]
        return (
            f"Keep the full {judgement.model}: no method is shown to lose less than {TOLERANCE:.0%}; the nearest, "
            f"{nearest.method}, {_loss(nearest.primary)}."
        )
    gains = [f"{units.ratio(best.smaller)} smaller"]
    if best.faster is not None and best.faster > 1:
        gains.append(f"{units.ratio(best.faster)} as fast at batch 1")
    shown = [one for one in best.comparisons.values() if one is not best.primary and one.verdict == "worse"]
    rest = f" (a loss is shown in {', '.join(one.benchmark for one in shown)} as well)" if shown else ""
    sentence = f"Use {best.method} for {judgement.model}: it is {' and '.join(gains)}, and {_loss(best.primary)}{rest}"
    smaller = [one for one in judgement.methods if one.result.bytes * SAME_SIZE < best.result.bytes]
    if smaller:
        next_one = max(smaller, key=lambda one: one.result.bytes)
        return f"{sentence}; {next_one.method} is smaller still but {_why_not(next_one)}."
    return f"{sentence}."


def headline(judgements: Sequence[ModelJudgement]) -> str:
    """Return the one sentence at the top of the report."""
    if len(judgements) == 1:
        return recommendation(judgements[0])
    acceptable = [{one.method: one for one in each.methods if one.acceptable} for each in judgements]
    shared = set.intersection(*(set(each) for each in acceptable))
    if not shared:
        return f"No method is shown to lose less than {TOLERANCE:.0%} on every model: choose by model."
    best = min(shared, key=lambda method: (sum(each[method].result.bytes for each in acceptable), method))
    ratios = sorted(each[best].smaller for each in acceptable)
    losses = sorted(each[best].primary.loss.value for each in acceptable)
    return (
        f"Use {best}: the smallest that is shown to lose less than {TOLERANCE:.0%} on all {len(judgements)} models, "
        f"{_range(units.ratio(ratios[0]), units.ratio(ratios[-1]))} smaller at "
        f"{_range(units.change(losses[0]), units.change(losses[-1]))} {acceptable[0][best].primary.benchmark}."
    )


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _loss(one: Comparison) -> str:
    if one.verdict == "no difference shown":
        return f"no difference of its {one.benchmark} is shown ({interval(one)})"
    return f"its {one.benchmark} changes by {change_of(one)} ({interval(one)})"


def _why_not(one: Judged) -> str:
    if one.primary.loss.high >= TOLERANCE:
        return f"can lose {units.change(one.primary.loss.high)} of {one.primary.benchmark}"
    return f"loses {units.change(one.worse[0].loss.value)} of {one.worse[0].benchmark}"


def change_of(one: Comparison) -> str:
    """Return the change: `+1.2%` of a ratio, `-1.2 pt` of a share."""
    return show_change(one, one.change.value - _same(one))


def interval(one: Comparison) -> str:
    """Return the change's interval, in the units of `change_of`: `+1.2% … +3.4%`, `-1.2 … +3.4 pt`."""
    low, high = (show_change(one, end - _same(one)) for end in (one.change.low, one.change.high))
    return f"{low.removesuffix(' pt')} … {high}"


def show_change(one: Comparison, value: float) -> str:
    """Return a change of this comparison: in percent of a perplexity, in points of a share."""
    return units.change(value) if one.kind == "ratio" else units.change(value).replace("%", " pt")


def _same(one: Comparison) -> float:
    return 1.0 if one.kind == "ratio" else 0.0
