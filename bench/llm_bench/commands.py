"""The commands. Each takes the parsed arguments and returns the exit status.

Modules that send load are imported only after the scenario has been read: they take a second and patch the process.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from llm_bench.analyse.conditions import CheckedCondition, check_pairs, check_run, parse_condition
from llm_bench.analyse.paired import PairedRatio, compare_pairs, evidence
from llm_bench.analyse.repetitions import estimate_figures
from llm_bench.errors import ResultError
from llm_bench.results.result import Result, read_result, result_schema
from llm_bench.workload.recorded import TraceArrivals
from llm_bench.workload.scenario import Scenario, load_scenario, scaled, skip_bad_rows

if TYPE_CHECKING:
    from llm_bench.runs.run import RunOptions

DONE = 0
FAILED = 1
CONDITION_HOLDS = 3
INTERRUPTED = 130


OUT = Path("out") / "bench"
"""Folder of results without --out; each run gets a folder named by its time."""


def default_folder() -> Path:
    """Return a folder that is not there yet, named by the time in UTC."""
    folder = OUT / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(one for one in chain([folder], numbered) if not one.exists())


def run(arguments: Namespace) -> int:
    scenario = _scenario(arguments)
    conditions = [parse_condition(text) for text in arguments.fail_if]
    baseline = read_result(arguments.baseline) if arguments.baseline else None
    from llm_bench.report.estimates import print_repetitions
    from llm_bench.report.table import print_run
    from llm_bench.runs.run import run as run_once
    from llm_bench.runs.series import repeat

    options = _options(arguments, arguments.target, api_key_env=arguments.api_key_env)
    if arguments.repeat == 1:
        results = [run_once(scenario, options, arguments.out)]
    else:
        results = repeat(scenario, options, arguments.out, arguments.repeat)
    if not arguments.quiet:
        print_run(results)
    if len(results) > 1 and not arguments.quiet:
        print_repetitions(estimate_figures([result.summary for result in results]))
    findings = [check_run(condition, result, baseline) for condition in conditions for result in results]
    return _status(results, _judge(findings))


def sweep(arguments: Namespace) -> int:
    scenario = _scenario(arguments)
    from llm_bench.report.curves import write_curves
    from llm_bench.report.estimates import print_sweep
    from llm_bench.runs.sweep import sweep as run_rates

    options = _options(arguments, arguments.target, api_key_env=arguments.api_key_env)
    results = run_rates(scenario, options, arguments.out, arguments.rates, repeats=arguments.repeat)
    print_sweep(results)
    write_curves(results, arguments.out / "sweep.html", title=options.name or scenario.name)
    return _status(results)


def saturate(arguments: Namespace) -> int:
    scenario = _scenario(arguments)
    from llm_bench.report.estimates import print_knee
    from llm_bench.runs.sweep import SearchInterrupted
    from llm_bench.runs.sweep import saturate as search

    options = _options(arguments, arguments.target, api_key_env=arguments.api_key_env)
    search_for = {"goal": arguments.goal, "precision": arguments.precision, "repeats": arguments.repeat}
    try:
        knee = search(scenario, options, arguments.out, **search_for)
    except SearchInterrupted:
        return INTERRUPTED
    _write_json(arguments.out / "knee.json", {"schema_version": 1, **search_for, **asdict(knee)})
    print_knee(knee)
    return DONE if knee.holds is not None else FAILED


def replay(arguments: Namespace) -> int:
    arrivals = TraceArrivals(
        kind="trace", file=arguments.trace, speed=arguments.speed, skip_bad_rows=arguments.skip_bad_rows
    )
    arrivals.read()
    from llm_bench.client.credentials import find_credentials
    from llm_bench.client.target import find_target
    from llm_bench.report.table import print_run
    from llm_bench.runs.run import run as run_once
    from llm_bench.workload.trace_scenario import trace_scenario

    credentials = find_credentials(arguments.api_key_env, {})
    longest = find_target(arguments.target, arguments.model, credentials).max_model_len
    scenario = trace_scenario(arrivals, arguments.duration, arguments.length_scale, longest)
    options = _options(arguments, arguments.target, api_key_env=arguments.api_key_env)
    result = run_once(scaled(scenario, arguments.rate, arguments.rate_scale), options, arguments.out)
    if not arguments.quiet:
        print_run([result])
    return _status([result])


def compare(arguments: Namespace) -> int:
    scenario = _scenario(arguments)
    conditions = [parse_condition(text) for text in arguments.fail_if]
    from llm_bench.report.estimates import print_pairs
    from llm_bench.runs.series import invalid_runs, run_pairs

    sides = zip(arguments.targets, arguments.names, arguments.api_key_env or [None, None], strict=True)
    a, b = (_options(arguments, target, name, key) for target, name, key in sides)
    pairs = run_pairs(scenario, a, b, arguments.out, count=arguments.pairs)
    if len(pairs) < arguments.pairs:
        print(f"llm-bench: interrupted after {len(pairs)} whole pairs", file=sys.stderr)
    if len(pairs) < 2:
        return INTERRUPTED
    ratios = compare_pairs([(pair.a.summary, pair.b.summary) for pair in pairs])
    findings = [check_pairs(condition, evidence(ratios), pairs[-1].b.summary) for condition in conditions]
    invalid = invalid_runs([result for pair in pairs for result in (pair.a, pair.b)])
    _write_json(
        arguments.out / "compare.json",
        _comparison(scenario, arguments, len(pairs), ratios=ratios, findings=findings, invalid=invalid),
    )
    print_pairs(ratios, *arguments.names)
    for reason in invalid:
        print(f"INVALID {reason}")
    status = _judge(findings)
    return INTERRUPTED if len(pairs) < arguments.pairs else status


def capacity(arguments: Namespace) -> int:
    scenario = load_scenario(arguments.scenario)
    from llm_bench.runs.closed_loop import measure_capacity

    measured = measure_capacity(
        scenario,
        target_url=arguments.target,
        model=arguments.model,
        api_key_env=arguments.api_key_env,
        users=arguments.users,
        duration=arguments.duration,
        seed=arguments.seed,
        tokenizer=arguments.tokenizer,
        corpus=arguments.corpus,
    )
    sys.stdout.write(orjson.dumps(measured, option=orjson.OPT_INDENT_2).decode() + "\n")
    return DONE


def report(arguments: Namespace) -> int:
    from llm_bench.report import write_report
    from llm_bench.report.table import print_table

    results = [read_result(folder) for folder in arguments.results]
    write_report(results, title=arguments.title, html=arguments.html, json=arguments.json, markdown=arguments.markdown)
    print_table(results)
    return DONE


def worker(arguments: Namespace) -> int:
    from llm_bench.load.worker import work

    work(arguments.master)
    return DONE


def schema(_: Namespace) -> int:
    sys.stdout.write(orjson.dumps(result_schema(), option=orjson.OPT_INDENT_2).decode() + "\n")
    return DONE


def _scenario(arguments: Namespace) -> Scenario:
    duration = {} if arguments.duration is None else {"duration": arguments.duration}
    scenario = load_scenario(arguments.scenario, duration)
    if arguments.skip_bad_rows:
        scenario = skip_bad_rows(scenario)
    return scaled(scenario, arguments.rate, arguments.rate_scale)


def _options(arguments: Namespace, target: str, name: str | None = None, api_key_env: str | None = None) -> RunOptions:
    from llm_bench.runs.run import RunOptions

    return RunOptions(
        target=target,
        model=arguments.model,
        name=name or arguments.name,
        seed=arguments.seed,
        salt=arguments.salt,
        tokenizer=arguments.tokenizer,
        corpus=arguments.corpus,
        api_key_env=api_key_env,
        metrics=tuple(arguments.metrics),
        workers=arguments.workers,
        quiet=arguments.quiet,
    )


def _status(results: Sequence[Result], judged: int = DONE) -> int:
    """Return the exit status. `judged` is the one that the --fail-if conditions ask for."""
    if results[-1].run.interrupted:
        return INTERRUPTED
    return FAILED if any(result.partial for result in results) else judged


def _judge(findings: Sequence[CheckedCondition]) -> int:
    from llm_bench.report.estimates import print_findings

    print_findings(findings)
    return CONDITION_HOLDS if any(finding.outcome == "failed" for finding in findings) else DONE


def _comparison(
    scenario: Scenario,
    arguments: Namespace,
    pairs: int,
    *,
    ratios: Sequence[PairedRatio],
    findings: Sequence[CheckedCondition],
    invalid: Sequence[str],
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "scenario": scenario.model_dump(mode="json"),
        "names": arguments.names,
        "targets": arguments.targets,
        "pairs": pairs,
        "ratios": [{**asdict(ratio), "verdict": ratio.verdict} for ratio in ratios],
        "findings": [asdict(finding) for finding in findings],
        "invalid": list(invalid),
    }


def _write_json(path: Path, values: Any) -> None:
    try:
        path.write_bytes(orjson.dumps(values, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise ResultError(f"{path}: cannot be written: {error}") from error
