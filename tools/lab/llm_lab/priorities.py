"""`./lab priorities`: what each class sees under `fcfs` and under `priority`, at loads below and above capacity.

For each seed capacity is measured, since a shared machine changes its speed; then each load runs under both policies,
with the same arrivals and lengths. The table shows medians over the seeds, the JSON every run.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from llm_lab import load, paths, service, stack
from llm_lab.demo import ENGINE_FLAGS
from llm_lab.service import Running
from llm_lab.stack import GatewayPolicy

POLICIES: tuple[GatewayPolicy, ...] = ("fcfs", "priority")
CAPACITY_SECONDS = 10.0
VIOLATIONS = "gateway_wait_bound_violations_total"
CLASSES = ("interactive", "standard", "batch")


@dataclass(frozen=True)
class Row:
    seed: int
    load: float
    """Asked rate over measured capacity."""
    policy: str
    valid: bool
    requests: int
    tokens: int
    violations: float
    ttft_p99: dict[str, float]
    """Seconds, by class."""


def priorities(loads: Sequence[float], seeds: int, seconds: float, console: Console) -> None:
    out = paths.OUT / "priorities"
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    running: list[Running] = []
    try:
        engines = stack.start_engines("llm-engine", running, ENGINE_FLAGS)
        service.wait_until_ready(running)
        for seed in range(seeds):
            capacity = _capacity(engines, running)
            console.print(f"seed {seed}: capacity {capacity:.1f} requests/s")
            for factor in loads:
                rows += [_run(engines, running, policy, seed, factor, capacity, seconds, out) for policy in POLICIES]
    finally:
        service.stop(reversed(running))
    console.print(_table(rows, loads))
    document = {
        "seconds": seconds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "runs": [*map(asdict, rows)],
    }
    (out / "priorities.json").write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"data: {(out / 'priorities.json').relative_to(paths.ROOT)}")


def _capacity(engines: Sequence[Running], running: list[Running]) -> float:
    gateway = _gateway(engines, running, "fcfs")
    measured = load.capacity(gateway.url, CAPACITY_SECONDS)
    service.stop([running.pop()])
    return measured.requests_per_second


def _run(
    engines: Sequence[Running],
    running: list[Running],
    policy: GatewayPolicy,
    seed: int,
    factor: float,
    capacity: float,
    seconds: float,
    out: Path,
) -> Row:
    gateway = _gateway(engines, running, policy)
    name = f"{policy}-{factor:g}-{seed}"
    folder = load.run(gateway.url, name, factor * capacity, seconds, out, "--seed", str(seed))
    violations = _metric(gateway.url, VIOLATIONS)
    service.stop([running.pop()])
    result = json.loads((folder / "result.json").read_bytes())
    classes = result["summary"]["classes"]
    return Row(
        seed=seed,
        load=factor,
        policy=policy,
        valid=result["verdict"]["valid"],
        requests=classes["all"]["requests"],
        tokens=classes["all"]["prompt_tokens"] + classes["all"]["output_tokens"],
        violations=violations,
        ttft_p99={name: classes[name]["ttft"]["percentiles"]["p99"] for name in CLASSES},
    )


def _gateway(engines: Sequence[Running], running: list[Running], policy: GatewayPolicy) -> Running:
    running.append(gateway := stack.start_gateway(engines, policy))
    service.wait_until_ready([gateway])
    return gateway


def _metric(url: str, name: str) -> float:
    """The sum over all label sets."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def _table(rows: Sequence[Row], loads: Sequence[float]) -> Table:
    table = Table(
        "load",
        "policy",
        *(f"{name} P99" for name in CLASSES),
        "interactive, of fcfs",
        "tokens, of fcfs",
        "bound broken",
    )
    for factor in loads:
        baseline = [row for row in rows if (row.load, row.policy) == (factor, "fcfs")]
        for policy in POLICIES:
            chosen = [row for row in rows if (row.load, row.policy) == (factor, policy)]
            p99 = [f"{statistics.median(row.ttft_p99[name] for row in chosen):.2f} s" for name in CLASSES]
            of_fcfs = [
                row.ttft_p99["interactive"] / base.ttft_p99["interactive"]
                for row, base in zip(chosen, baseline, strict=True)
            ]
            tokens = [row.tokens / base.tokens for row, base in zip(chosen, baseline, strict=True)]
            broken = f"{sum(row.violations for row in chosen):g}"
            table.add_row(f"{factor:g}", policy, *p99, _spread(of_fcfs), _spread(tokens, digits=3), broken)
    return table


def _spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, and the range over the seeds."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} … {max(values):.{digits}f})"
