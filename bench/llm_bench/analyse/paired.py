"""Paired comparison of B with A: runs come in pairs, right after each other, under the same load.

The ratio B/A of each pair cancels what both runs met: the schedule, the hour, the neighbours. Their logarithms are
averaged: the estimate is the geometric mean of the ratios, its 95% interval Student's t on the logarithms. A bootstrap
of so few pairs would be too narrow: of six pairs it covers the truth about 86 times in 100.

    minimum detectable ratio = exp((t(0.975) + t(0.8)) s / sqrt(n)): a true difference of that size would be shown in
    about 80% of such comparisons; if nothing is shown, anything smaller may still be there

Many figures are looked at in one comparison, so verdicts are corrected for their number (Holm 1979): two targets that
are the same get any verdict but "no difference shown" in at most 5% of comparisons, over all figures together. An
interval alone, which stands for its own figure, may therefore leave out 1 where the verdict shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llm_bench.analyse.figures import Figure, read_figure
from llm_bench.analyse.repetitions import Estimate, deviation, headline_figures, mean_interval
from llm_bench.analyse.t_distribution import t_quantile, two_sided_p
from llm_bench.measure.stats import CONFIDENCE
from llm_bench.measure.summary import RunSummary
from llm_measure.stats import holm

POWER = 0.8
ROUND_OFF = 1e-9
"""Spread of logarithms below which pairs differ only by rounding."""


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """One figure of B over that of A."""

    figure: str
    a: float
    """Geometric mean over the pairs."""
    b: float
    ratio: Estimate
    p_value: float
    """Probability of a ratio at least this far from 1 between identical targets."""
    detectable: float
    """Smallest ratio above 1 that this comparison would have shown in 80% of cases."""
    higher_is_better: bool
    shown: bool = False
    """Whether a difference is shown, corrected for the number of figures."""

    @property
    def verdict(self) -> str:
        if not self.shown:
            return "no difference shown"
        return "B better" if (self.ratio.value > 1) == self.higher_is_better else "B worse"


def compare_pairs(pairs: Sequence[tuple[RunSummary, RunSummary]]) -> list[PairedRatio]:
    """Compare every headline figure that all runs have and that is above 0 in each. Takes at least two pairs."""
    values = {
        figure: [(read_figure(a, figure), read_figure(b, figure)) for a, b in pairs]
        for figure in headline_figures(pairs[0][0])
    }
    known = {
        figure: [(a, b) for a, b in each if a and b] for figure, each in values.items() if all(a and b for a, b in each)
    }
    return correct([paired_ratio(figure, each) for figure, each in known.items()])


def paired_ratio(figure: Figure, pairs: Sequence[tuple[float, float]]) -> PairedRatio:
    logs = [math.log(b / a) for a, b in pairs]
    count, interval, spread = len(logs), mean_interval(logs), deviation(logs)
    error = spread / math.sqrt(count)
    reach = t_quantile(0.5 + CONFIDENCE / 2, count - 1) + t_quantile(POWER, count - 1)
    return PairedRatio(
        figure=figure.name,
        a=math.exp(math.fsum(math.log(a) for a, _ in pairs) / count),
        b=math.exp(math.fsum(math.log(b) for _, b in pairs) / count),
        ratio=Estimate(math.exp(interval.value), math.exp(interval.low or 0.0), math.exp(interval.high or 0.0), count),
        p_value=two_sided_p(interval.value / error, count - 1) if error > ROUND_OFF else _exact(interval.value),
        detectable=math.exp(reach * error),
        higher_is_better=figure.higher_is_better,
    )


def _exact(log_ratio: float) -> float:
    """Return the p-value of pairs without any spread, such as shares that are all 100%."""
    return 1.0 if abs(log_ratio) <= ROUND_OFF else 0.0


def correct(ratios: Sequence[PairedRatio]) -> list[PairedRatio]:
    """Say which differences are shown, by Holm's step-down over all figures."""
    shown = holm([ratio.p_value for ratio in ratios], 1 - CONFIDENCE)
    return [replace(ratio, shown=is_shown) for ratio, is_shown in zip(ratios, shown, strict=True)]


def evidence(ratios: Sequence[PairedRatio]) -> Mapping[str, Estimate]:
    """Return the ratios by figure, for `--fail-if`."""
    return {ratio.figure: ratio.ratio for ratio in ratios}
