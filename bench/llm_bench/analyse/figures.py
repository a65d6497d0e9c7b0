"""Figures by name: `ttft_p99` of all requests, `interactive.ttft_p99` of a class.

ttft, ttft_from_send, tpot, itl_chunk, itl_token, e2e   with _mean, _p50, _p90 or _p99; seconds, lower is better
slo_attainment, goodput, requests_per_second, prompt_tokens_per_second, output_tokens_per_second
                                                        higher is better
longest_wait                                            seconds, lower is better
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_bench.errors import ScenarioError
from llm_bench.measure.stats import PERCENTILES, Distribution
from llm_bench.measure.summary import ALL, ClassFigures, RunSummary

TIMES = ("ttft", "ttft_from_send", "tpot", "itl_chunk", "itl_token", "e2e")
STATISTICS = ("mean", *(f"p{p}" for p in PERCENTILES))
RATES = (
    "slo_attainment", "goodput", "requests_per_second", "prompt_tokens_per_second", "output_tokens_per_second",
)  # fmt: skip
FIGURES = (*(f"{time}_{statistic}" for time in TIMES for statistic in STATISTICS), *RATES, "longest_wait")


@dataclass(frozen=True, slots=True)
class Figure:
    class_name: str
    key: str
    """One of FIGURES."""

    @property
    def name(self) -> str:
        return self.key if self.class_name == ALL else f"{self.class_name}.{self.key}"

    @property
    def higher_is_better(self) -> bool:
        return self.key in RATES

    @property
    def split(self) -> tuple[str, str]:
        """Return (`ttft`, `p99`); the second part is empty for figures that are not a statistic of a time."""
        time, _, statistic = self.key.rpartition("_")
        return (time, statistic) if time in TIMES and statistic in STATISTICS else (self.key, "")


def parse_figure(name: str) -> Figure:
    """Return the figure that `name` stands for. Raises ScenarioError, which lists the known names."""
    class_name, _, key = name.rpartition(".")
    if key not in FIGURES:
        raise ScenarioError(
            f"{name!r} is no figure: write {', '.join(TIMES)} with _{', _'.join(STATISTICS)}, or {', '.join(RATES)}, "
            "longest_wait; a class goes in front, as in interactive.ttft_p99"
        )
    return Figure(class_name or ALL, key)


def read_figure(summary: RunSummary, figure: Figure) -> float | None:
    """Return the figure's value, or None if the run has none. Raises ScenarioError if the run has no such class."""
    if figure.class_name not in summary.classes:
        raise ScenarioError(
            f"{figure.name}: the run has no class {figure.class_name!r}, but {', '.join(summary.classes)}"
        )
    return read_class_figure(summary.classes[figure.class_name], figure)


def read_class_figure(summary: ClassFigures, figure: Figure) -> float | None:
    time, statistic = figure.split
    if not statistic:
        value: float | None = getattr(summary, figure.key)
        return value
    distribution: Distribution = getattr(summary, time)
    return distribution.mean if statistic == "mean" else distribution.percentiles.get(statistic)
