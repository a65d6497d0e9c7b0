"""One scenario at many rates: `sweep` over given ones, `saturate` to the knee."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llm_bench.analyse.knee import Knee, Trial, find_knee, judge_trial
from llm_bench.errors import ScenarioError
from llm_bench.results.result import Result
from llm_bench.runs.run import RunOptions, run
from llm_bench.runs.series import first_seed, repeat
from llm_bench.workload.scenario import Scenario, Slo, scaled


class SearchInterrupted(Exception):
    """The user ended a run of the search."""


def sweep(scenario: Scenario, options: RunOptions, folder: Path, rates: list[float], *, repeats: int) -> list[Result]:
    """Run every rate `repeats` times, in `folder`/RATE/1, /2, …; an interrupted run is the last."""
    results: list[Result] = []
    for rate in rates:
        named = replace(options, name=f"{options.name or scenario.name} {rate:g}/s")
        results += repeat(scaled(scenario, rate), named, folder / f"{rate:g}", repeats)
        if results[-1].run.interrupted:
            break
    return results


def saturate(
    scenario: Scenario, options: RunOptions, folder: Path, *, goal: float, precision: float, repeats: int
) -> Knee:
    """Search for the knee; runs go to `folder`/1, /2, … in order. Raises SearchInterrupted."""
    if all(kind.slo == Slo() for kind in scenario.classes.values()):
        raise ScenarioError(f"{scenario.name} has no SLO: give its classes bounds that the rate is to be found for")
    if scenario.rate is None:
        raise ScenarioError(f"{scenario.name} is a closed loop: it has users, not a rate to look for")
    made: list[Result] = []

    def attempt(rate: float) -> Trial:
        number = len(made) + 1
        options_here = replace(options, seed=first_seed(scenario, options) + number, name=f"{rate:.3g}/s")
        made.append(run(scaled(scenario, rate), options_here, folder / str(number)))
        if made[-1].run.interrupted:
            raise SearchInterrupted
        return judge_trial(made[-1], rate, goal)

    return find_knee(attempt, first=scenario.rate, precision=precision, repeats=repeats)
