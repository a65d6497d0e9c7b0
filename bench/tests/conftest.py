"""A made-up run for tests of results and reports; real runs go through the command line in a process of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from llm_bench.measure.record import RequestRecord
from llm_bench.measure.summary import summarise
from llm_bench.measure.verdict import judge
from llm_bench.results.environment import describe_environment
from llm_bench.results.result import SCHEMA_VERSION, Result, RunInfo
from llm_bench.workload.scenario import Scenario

MakeResult = Callable[..., Result]


@pytest.fixture
def make_result() -> MakeResult:
    """`make_result(name, waits={"interactive": 0.2, "batch": 3.0})`: 20 requests a class that all wait so long.

    `outcome` is how the first one ended.
    """

    def make(name: str = "run", *, waits: dict[str, float], outcome: str = "ok", per_class: int = 20) -> Result:
        scenario = _scenario(list(waits))
        due = [(0.1 * position, *each) for position in range(per_class) for each in waits.items()]
        records = [
            _record(index, class_name, at, wait, "ok" if at else outcome)
            for index, (at, class_name, wait) in enumerate(due)
        ]
        summary = summarise(scenario, records)
        info = RunInfo(
            name=name,
            target="http://target",
            model="m",
            server_version="1.0",
            seed=7,
            salt="salt",
            tokenizer=None,
            started_at="2026-01-01T00:00:00+00:00",
            interrupted=False,
            client_cpu=0.1,
        )
        verdict = judge(records, summary, client_cpu=0.1)
        return Result(
            schema_version=SCHEMA_VERSION,
            run=info,
            scenario=scenario,
            environment=describe_environment(),
            summary=summary,
            verdict=verdict,
            requests=records,
        )

    return make


def _scenario(names: list[str]) -> Scenario:
    lengths = {"kind": "fixed", "tokens": 5}
    kind: dict[str, Any] = {"weight": 1, "prompt_tokens": lengths, "output_tokens": lengths, "slo": {"ttft": 1.0}}
    return Scenario.model_validate(
        {
            "name": "made-up",
            "duration": 2,
            "arrivals": {"kind": "poisson", "rate": 10 * len(names)},
            "classes": dict.fromkeys(names, kind),
        }
    )


def _record(index: int, class_name: str, at: float, wait: float, outcome: str) -> RequestRecord:
    record = RequestRecord(
        index=index,
        class_name=class_name,
        scheduled_at=at,
        planned_prompt_tokens=5,
        max_tokens=5,
        prompt_tokens=5,
        sent_at=at + 0.001,
        outcome=outcome,
    )
    record.ended_at = at + wait + 0.4
    if outcome == "ok":
        record.status, record.output_tokens, record.counted_by_server = 200, 5, True
        record.chunk_times = [at + wait + 0.1 * position for position in range(5)]
        record.chunk_tokens = [1] * 5
    return record
