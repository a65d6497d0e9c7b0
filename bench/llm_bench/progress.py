"""How a run is doing, on stderr: a bar with live percentiles on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable

import gevent
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from llm_bench.load import Load

BAR_INTERVAL = 0.5
LINE_INTERVAL = 5.0


def progress_watcher(name: str, *, quiet: bool) -> Callable[[Load], None]:
    """What runs beside a load until it is killed."""
    if quiet:
        return lambda _: None
    return (lambda load: _show_bar(name, load)) if sys.stderr.isatty() else (lambda load: _print_lines(name, load))


def _show_bar(name: str, load: Load) -> None:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    # no refresh thread: drawing costs milliseconds, so it happens only here, twice a second
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task(name, total=len(load.records), state="")
        try:
            while True:
                progress.update(task, completed=len(load.finished), state=state_line(load))
                progress.refresh()
                gevent.sleep(BAR_INTERVAL)
        finally:
            progress.update(task, completed=len(load.finished), state=state_line(load))
            progress.refresh()


def _print_lines(name: str, load: Load) -> None:
    while True:
        gevent.sleep(LINE_INTERVAL)
        print(f"{name}: {len(load.finished)}/{len(load.records)} done, {state_line(load)}", file=sys.stderr, flush=True)


def state_line(load: Load) -> str:
    """`12 in flight, TTFT P50 0.21 s P99 1.30 s, 3 failed`, of what has finished so far."""
    done = list(load.finished)
    waits = [record.ttft for record in done if record.ok and record.ttft is not None]
    failed = sum(not record.ok for record in done)
    parts = [f"{load.in_flight} in flight"]
    if waits:
        p50, p99 = np.percentile(waits, [50, 99])
        parts.append(f"TTFT P50 {p50:.2f} s P99 {p99:.2f} s")
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)
