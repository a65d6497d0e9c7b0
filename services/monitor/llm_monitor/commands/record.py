"""`llm-monitor record FILE URL …`: all that targets export, into one file that `replay` shows again."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llm_contract.settings import EXIT_USAGE
from llm_monitor.collect import Collector, InvalidTarget, Target, target_of
from llm_monitor.history.recording import Recorder
from llm_monitor.series.head import Head

PROG = "llm-monitor record"
HEAD_SECONDS = 120.0


def main(argv: Sequence[str]) -> int:
    """Record until the time is over, or SIGINT or SIGTERM. Return the exit status."""
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument("file", type=Path, help="file to write; it must not exist")
    parser.add_argument("targets", nargs="+", metavar="URL", help="host:port, or the URL of a metrics page")
    parser.add_argument("--seconds", type=float, help="how long; until interrupted by default")
    arguments = parser.parse_args(argv)
    try:
        targets = [target_of(address) for address in arguments.targets]
        asyncio.run(record(arguments.file, targets, arguments.seconds))
    except (InvalidTarget, OSError) as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


async def record(file: Path, targets: Sequence[Target], seconds: float | None) -> None:
    """Scrape targets into a file. Raises FileExistsError."""
    head, stop = Head(HEAD_SECONDS), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    recorder = Recorder(file, head)
    tasks = [asyncio.create_task(Collector(targets, head).run())]
    try:
        with suppress(TimeoutError):
            tasks.append(asyncio.create_task(recorder.run()))
            await asyncio.wait_for(stop.wait(), seconds)
    finally:
        # The collector first: the recording ends with the ends of its series.
        for task in tasks:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
