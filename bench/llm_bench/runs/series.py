"""Several runs in a row: repetitions of one scenario, and two targets in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llm_bench.results.result import Result
from llm_bench.runs.run import RunOptions, run
from llm_bench.workload.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Pair:
    a: Result
    b: Result


def repeat(scenario: Scenario, options: RunOptions, folder: Path, count: int) -> list[Result]:
    """Make `count` runs, each with the next seed, in `folder`/1, /2, …; an interrupted run is the last."""
    results: list[Result] = []
    for number in range(count):
        seeded = replace(
            options, seed=first_seed(scenario, options) + number, name=_numbered(scenario, options, number)
        )
        results.append(run(scenario, seeded, folder / str(number + 1)))
        if results[-1].run.interrupted:
            break
    return results


def run_pairs(scenario: Scenario, a: RunOptions, b: RunOptions, folder: Path, *, count: int) -> list[Pair]:
    """Make `count` pairs in `folder`/1/a, /1/b, …; both runs of a pair get the same schedule.

    A goes first in one pair, B in the next, so a steady change (a machine that warms up, a neighbour that arrives)
    affects both sides alike. Their prompts differ, because the two targets can share an engine and its prefix cache.
    """
    pairs: list[Pair] = []
    for number in range(count):
        seed = first_seed(scenario, a) + number
        sides: Sequence[tuple[str, RunOptions]] = [("a", a), ("b", b)]
        done = {}
        for side, options in sides if number % 2 == 0 else reversed(sides):
            done[side] = run(scenario, replace(options, seed=seed), folder / str(number + 1) / side)
            if done[side].run.interrupted:
                return pairs
        pairs.append(Pair(done["a"], done["b"]))
    return pairs


def first_seed(scenario: Scenario, options: RunOptions) -> int:
    return scenario.seed if options.seed is None else options.seed


def _numbered(scenario: Scenario, options: RunOptions, number: int) -> str:
    return f"{options.name or scenario.name} {number + 1}"


def invalid_runs(results: Sequence[Result]) -> list[str]:
    """Return `NAME: reason` for every reason why a run is invalid."""
    return [f"{result.run.name}: {reason}" for result in results for reason in result.verdict.reasons]
