"""`llm-monitor check URL …`: a few seconds of some targets, as a table, with the alerts whose condition holds.

An alert's `for` is not waited for: a condition that holds now is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from llm_contract.settings import EXIT_USAGE
from llm_monitor.alerts.engine import AlertEngine
from llm_monitor.alerts.results import HeadWriter
from llm_monitor.alerts.rules import load
from llm_monitor.alerts.settings import AlertSettings
from llm_monitor.alerts.state import Alert
from llm_monitor.alerts.templates import humanize
from llm_monitor.collect import Collector, InvalidTarget, Target, TargetState, target_of
from llm_monitor.promql import instant, parse
from llm_monitor.series import Source
from llm_monitor.series.head import Head

PROG = "llm-monitor check"
REQUESTS: Final = "vllm:request_success_total|gateway_requests_total|router_requests_total"
COLUMNS: Final = {
    "running": "sum by (instance) (vllm:num_requests_running)",
    "waiting": "sum by (instance) (vllm:num_requests_waiting or gateway_queue_depth or router_queue_depth)",
    "KV %": "100 * max by (instance) (vllm:kv_cache_usage_perc)",
    "tokens/s": "sum by (instance) (rate(vllm:generation_tokens_total[1m]))",
    "requests/s": f"sum by (instance) (rate({{__name__=~'{REQUESTS}'}}[1m]))",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of all targets at the end of the look."""

    states: list[TargetState]
    values: dict[str, dict[str, float]]
    """Value by column and instance."""
    alerts: list[Alert]


def main(argv: Sequence[str]) -> int:
    """Return the exit status: 0 if all is well, 1 if an alert's condition holds, 2 for a wrong URL."""
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument("targets", nargs="+", metavar="URL", help="host:port, or the URL of a metrics page")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to look; rates need two scrapes at least")
    arguments = parser.parse_args(argv)
    try:
        targets = [target_of(address) for address in arguments.targets]
    except InvalidTarget as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return EXIT_USAGE
    finding = asyncio.run(look(targets, arguments.seconds))
    _show(finding, Console())
    return 1 if finding.alerts else 0


async def look(targets: Sequence[Target], seconds: float) -> Finding:
    """Scrape the targets for some seconds, then evaluate columns and rules once."""
    head = Head()
    collector = Collector(targets, head)
    engine = AlertEngine(load(AlertSettings()), head, write=HeadWriter(head).write)
    finished = asyncio.Event()
    begin = time.time()
    collector.on_cycle(lambda at: finished.set() if at - begin >= seconds else None)
    running = asyncio.create_task(collector.run())
    try:
        await finished.wait()
        at = time.time()
        engine.evaluate(at)
        values = {name: _by_instance(text, head, at) for name, text in COLUMNS.items()}
        return Finding(list(collector.states()), values, [alert for alert in engine.alerts() if alert.active])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _by_instance(text: str, source: Source, at: float) -> dict[str, float]:
    vector = instant(parse(text), source, at)
    return {
        dict(labels).get("instance", ""): float(row[0])
        for labels, row in zip(vector.labels, vector.values, strict=True)
    }


def _show(finding: Finding, console: Console) -> None:
    table = Table("target", "job", "state", *COLUMNS, "scrape ms", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for state in finding.states:
        values = [finding.values[name].get(state.instance) for name in COLUMNS]
        shown = ["" if value is None else humanize(round(value, 1)) for value in values]
        up = "[green]up[/]" if state.up else "[bold red]down[/]"
        table.add_row(state.instance, state.job, up, *shown, f"{1000 * state.duration:.0f}")
    console.print(table)
    for state in finding.states:
        if state.error:
            console.print(f"{state.instance}: {state.error}", markup=False)
    for alert in finding.alerts:
        severity = dict(alert.labels).get("severity", "")
        text = f"{alert.name} ({severity}): {alert.annotations.get('summary', '')}"
        console.print(text, style="bold red" if severity == "critical" else "yellow", markup=False)
    if not finding.alerts:
        console.print("No alert's condition holds.")
