"""`./lab demo`: the same overload twice, first come first served and by priority, and what each class saw of it.

1. Two engine replicas and the gateway start, or four behind a router.
2. One completion streams to the terminal.
3. A closed loop measures what the stack can do.
4. An open loop of 1.2 times that rate runs under `fcfs` and under `priority`: same arrivals, same lengths. If the queue
   did not grow, the machine was slow when it was measured: 3 and the run under `fcfs` are repeated once.
5. Tables, out/demo/report.html and report.json, and a recording of all metrics for the monitor; everything is stopped.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from llm_lab import load, paths, service, stack
from llm_lab.engines import EngineKind
from llm_lab.models import Model
from llm_lab.service import Running
from llm_lab.stack import GatewayPolicy

OVERLOAD = 1.2
"""Asked rate over measured capacity."""
RECORDING = "run.llmrec"
ATTEMPTS = 2
"""At a load that is one. Machines shared with others change their speed between the measurement and the load."""
PROMPT = 'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n'
SAMPLING = {"max_tokens": 64, "temperature": 0.8, "top_p": 0.9, "seed": 4}
POLICIES: tuple[GatewayPolicy, ...] = ("fcfs", "priority")
# Both runs would otherwise share prompts that the second finds in the cache.
ENGINE_FLAGS = ("--no-enable-prefix-caching",)


@dataclass(frozen=True)
class Lengths:
    """Seconds."""

    capacity: float
    load: float


FULL = Lengths(capacity=10, load=20)
QUICK = Lengths(capacity=8, load=12)


def demo(kind: EngineKind, model: Model, *, quick: bool, router: bool, console: Console) -> None:
    lengths = QUICK if quick else FULL
    out = paths.OUT / "demo"
    out.mkdir(parents=True, exist_ok=True)
    running: list[Running] = []
    try:
        with console.status(stack.announcement(kind, model, router=router)):
            gateway = stack.start(kind, POLICIES[0], running, model=model, router=router, flags=ENGINE_FLAGS)
            backends = [each for each in running if each is not gateway]
            stack.start_recorder((*backends, gateway), out / RECORDING, running)
        _show_completion(gateway.url, model, console)
        for _ in range(ATTEMPTS):
            rate = OVERLOAD * _capacity(gateway.url, model, lengths.capacity, console)
            fcfs = load.run(gateway.url, POLICIES[0], rate=rate, seconds=lengths.load, out=out, model=model)
            if _overloaded(fcfs, lengths.load):
                break
            console.print("The stack kept up with that: this machine is faster now than it was when it was measured.")
        service.stop([gateway])
        running.remove(gateway)
        gateway = stack.start_gateway(backends, POLICIES[1], running)
        service.wait_until_ready([gateway])
        priority = load.run(gateway.url, POLICIES[1], rate=rate, seconds=lengths.load, out=out, model=model)
        _report((fcfs, priority), out, rate)
    finally:
        service.stop(reversed(running))
    console.print(f"\nReport: [bold]{_shown(out / 'report.html')}[/]   data: {_shown(out / 'report.json')}")
    console.print(f"Watch it again: .venv/bin/python -m llm_monitor replay {_shown(out / RECORDING)}")


def _show_completion(url: str, model: Model, console: Console) -> None:
    """Stream one completion to the terminal as it is generated."""
    body = {"model": model.name, "prompt": PROMPT, "stream": True, **SAMPLING}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    console.print(f"\n[dim]POST {url}/v1/completions[/]")
    console.out(PROMPT, end="", style="bold")
    with urllib.request.urlopen(request, timeout=60) as response:
        for line in response:
            data = line.removeprefix(b"data: ").strip()
            if data and data != b"[DONE]":
                console.out("".join(choice["text"] for choice in json.loads(data)["choices"]), end="")
    console.print("\n")


def _capacity(url: str, model: Model, seconds: float, console: Console) -> float:
    """Measure how many requests per second of the scenario's mix the stack can serve."""
    with console.status(f"Measuring capacity: {load.USERS} closed-loop users for {seconds:.0f} s …"):
        measured = load.capacity(url, seconds, model)
    console.print(
        f"Capacity {measured.requests_per_second:.1f} requests/s (± {measured.relative_error:.0%}), "
        f"{measured.output_tokens_per_second:.0f} output tokens/s; "
        f"the load asks {OVERLOAD:g} times that, {OVERLOAD * measured.requests_per_second:.1f} requests/s."
    )
    return measured.requests_per_second


def _overloaded(folder: Path, seconds: float) -> bool:
    """Return whether an FCFS queue grew to at least half of the length that the overload implies."""
    summary = json.loads((folder / "result.json").read_bytes())["summary"]
    expected = seconds * (1 - 1 / OVERLOAD)
    return bool(summary["classes"]["all"]["longest_wait"] >= expected / 2)


def _report(folders: Sequence[Path], out: Path, rate: float) -> None:
    title = f"First come first served against priority, {OVERLOAD:g} x capacity ({rate:.1f} requests/s)"
    files = ("--html", str(out / "report.html"), "--json", str(out / "report.json"))
    load.bench("report", *map(str, folders), *files, "--title", title, show=True)


def _shown(path: Path) -> str:
    return str(path.relative_to(paths.ROOT))
