"""`./lab priorities`: what each class sees under `fcfs` and under `priority`, at loads below and above capacity.

Each seed measures capacity anew, because a shared machine changes its speed, and runs each load under both policies
with the same arrivals and lengths. At the end the gateway's simulation replays each run's load on a model of the
engines that is fitted to their traces. The table shows medians over the seeds; the JSON holds every run.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from llm_lab import load, paths, service, stack
from llm_lab.demo import ENGINE_FLAGS
from llm_lab.engine_model import EngineModel, fit
from llm_lab.service import Running
from llm_lab.stack import GatewayPolicy

POLICIES: tuple[GatewayPolicy, ...] = ("fcfs", "priority")
CAPACITY_SECONDS = 10.0
VIOLATIONS = "gateway_wait_bound_violations_total"
CLASSES = ("interactive", "standard", "batch")


@dataclass(frozen=True, kw_only=True)
class Row:
    seed: int
    load: float
    """Asked rate over measured capacity."""
    policy: GatewayPolicy
    valid: bool
    requests: int
    tokens: int
    violations: float
    ttft_p99: dict[str, float]
    """Seconds, by class."""
    simulated_ttft_p99: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """One open loop: both policies serve the same arrivals."""

    seed: int
    factor: float
    """Asked rate over measured capacity."""
    rate: float
    """Requests per second."""
    seconds: float


def priorities(console: Console, *, loads: Sequence[float], seeds: int, seconds: float, file: Path) -> None:
    """Measure both policies at each load and write `file`; every run's own result is in out/priorities."""
    out = paths.OUT / "priorities"
    out.mkdir(parents=True, exist_ok=True)
    traces = [out / f"engine-{index}.trace" for index in range(stack.REPLICAS)]
    rows: list[Row] = []
    running: list[Running] = []
    try:
        flags = [(*ENGINE_FLAGS, "--trace", str(trace)) for trace in traces]
        engines = stack.start_engines("llm-engine", running, flags)
        service.wait_until_ready(running)
        for seed in range(seeds):
            capacity = _capacity(engines, running)
            console.print(f"seed {seed}: capacity {capacity:.1f} requests/s")
            for factor in loads:
                asked = Load(seed, factor, factor * capacity, seconds)
                for policy in POLICIES:
                    with _gateway(engines, running, policy) as gateway:
                        rows.append(_run(gateway, policy, asked, out))
    finally:
        service.stop(reversed(running))
    with console.status("Simulating the same loads …"):
        model = fit(traces)
        rows = [_simulated(row, model, out) for row in rows]
    console.print(_table(rows, loads))
    document = {
        "seconds": seconds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "engine_model": asdict(model),
        "runs": [*map(asdict, rows)],
    }
    file.write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"data: {file}")


def _capacity(engines: Sequence[Running], running: list[Running]) -> float:
    with _gateway(engines, running, "fcfs") as gateway:
        return load.capacity(gateway.url, CAPACITY_SECONDS).requests_per_second


def _run(gateway: Running, policy: GatewayPolicy, asked: Load, out: Path) -> Row:
    name = _run_name(policy, asked.factor, asked.seed)
    folder = load.run(gateway.url, name, "--seed", str(asked.seed), rate=asked.rate, seconds=asked.seconds, out=out)
    violations = _metric(gateway.url, VIOLATIONS)
    result = json.loads((folder / "result.json").read_bytes())
    classes = result["summary"]["classes"]
    return Row(
        seed=asked.seed,
        load=asked.factor,
        policy=policy,
        valid=result["verdict"]["valid"],
        requests=classes["all"]["requests"],
        tokens=classes["all"]["prompt_tokens"] + classes["all"]["output_tokens"],
        violations=violations,
        ttft_p99={name: classes[name]["ttft"]["percentiles"]["p99"] for name in CLASSES},
    )


def _run_name(policy: str, factor: float, seed: int) -> str:
    return f"{policy}-{factor:g}-{seed}"


def _simulated(row: Row, model: EngineModel, out: Path) -> Row:
    """Return the row with the simulation's result for the same arrivals and lengths."""
    folder = out / _run_name(row.policy, row.load, row.seed)
    found = folder / "simulated.json"
    command = (
        *(str(paths.PYTHON), "-m", "llm_gateway", "simulate", "--trace", str(folder / "result.json")),
        *("--policy", stack.SCHEDULED_BY[row.policy], "--json", str(found), *model.flags()),
        *("--engines", str(stack.REPLICAS), "--max-in-flight", str(stack.MAX_IN_FLIGHT)),
    )
    subprocess.run(command, cwd=paths.ROOT, check=True, capture_output=True)
    p99 = {each["name"]: each["ttft_p99"] for each in json.loads(found.read_bytes())["rows"]}
    return replace(row, simulated_ttft_p99={name: p99[name] for name in CLASSES})


@contextmanager
def _gateway(engines: Sequence[Running], running: list[Running], policy: GatewayPolicy) -> Iterator[Running]:
    """Run a gateway for as long as the block lasts; after an error the caller stops it with all that runs."""
    gateway = stack.start_gateway(engines, policy, running)
    service.wait_until_ready([gateway])
    yield gateway
    service.stop([running.pop()])


def _metric(url: str, name: str) -> float:
    """Return the metric's sum over all label sets."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def _table(rows: Sequence[Row], loads: Sequence[float]) -> Table:
    table = Table(
        "load",
        "policy",
        *(f"{name} P99" for name in CLASSES),
        "interactive, of fcfs",
        "simulated",
        "tokens, of fcfs",
        "bound broken",
    )
    for factor in loads:
        baseline = [row for row in rows if (row.load, row.policy) == (factor, "fcfs")]
        for policy in POLICIES:
            chosen = [row for row in rows if (row.load, row.policy) == (factor, policy)]
            p99 = [f"{statistics.median(row.ttft_p99[name] for row in chosen):.2f} s" for name in CLASSES]
            pairs = list(zip(chosen, baseline, strict=True))
            of_fcfs = [row.ttft_p99["interactive"] / base.ttft_p99["interactive"] for row, base in pairs]
            simulated = [
                row.simulated_ttft_p99["interactive"] / base.simulated_ttft_p99["interactive"] for row, base in pairs
            ]
            tokens = [row.tokens / base.tokens for row, base in pairs]
            broken = f"{sum(row.violations for row in chosen):g}"
            figures = (_spread(of_fcfs), _spread(simulated), _spread(tokens, digits=3))
            table.add_row(f"{factor:g}", policy, *p99, *figures, broken)
    return table


def _spread(values: Sequence[float], digits: int = 2) -> str:
    """Format the median and the range over the seeds."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} … {max(values):.{digits}f})"
