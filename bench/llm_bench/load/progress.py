"""Progress of a run on stderr: a bar with live percentiles on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable

import gevent
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from llm_bench.load.tally import Tally

BAR_INTERVAL = 0.5
LINE_INTERVAL = 5.0

Read = Callable[[], Tally]


def progress_watcher(name: str, planned: int | None, *, quiet: bool) -> Callable[[Read], None]:
    """Return the display that runs next to a load; `planned` is None if the number of requests is unknown."""
    if quiet:
        return lambda _: None
    if sys.stderr.isatty():
        return lambda read: _show_bar(name, planned, read)
    return lambda read: _print_lines(name, planned, read)


def _show_bar(name: str, planned: int | None, read: Read) -> None:
    """Draw the bar and the line beneath it until the greenlet is killed."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns)
    task = bar.add_task(name, total=planned, done="")
    # no refresh thread: drawing costs milliseconds, so it happens only here, twice a second
    with Live(console=Console(stderr=True), auto_refresh=False) as live:

        def draw() -> None:
            tally = read()
            bar.update(task, completed=tally.finished, done=_done(tally, planned))
            live.update(Group(bar, Text(tally.line(), style="dim")), refresh=True)

        try:
            while True:
                draw()
                gevent.sleep(BAR_INTERVAL)
        finally:
            draw()


def _print_lines(name: str, planned: int | None, read: Read) -> None:
    while True:
        gevent.sleep(LINE_INTERVAL)
        tally = read()
        print(f"{name}: {_done(tally, planned)} done, {tally.line()}", file=sys.stderr, flush=True)


def _done(tally: Tally, planned: int | None) -> str:
    return str(tally.finished) if planned is None else f"{tally.finished}/{planned}"
