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
from llm_monitor.collect.collection import Collection
from llm_monitor.collect.settings import CollectSettings
from llm_monitor.history.recording import Recorder

PROG = "llm-monitor record"


def main(argv: Sequence[str]) -> int:
    """Record until the time is over, or SIGINT or SIGTERM. Return the exit status."""
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument("file", type=Path, help="file to write; it must not exist")
    parser.add_argument("targets", nargs="*", metavar="URL", help="host:port, or the URL of a metrics page")
    parser.add_argument("--router", action="append", default=[], metavar="URL", help="a router, for its engines")
    parser.add_argument("--seconds", type=float, help="how long; until interrupted by default")
    arguments = parser.parse_args(argv)
    if not arguments.targets and not arguments.router:
        parser.error("name a target or a router")
    try:
        settings = CollectSettings(targets=arguments.targets, routers=arguments.router)
        asyncio.run(record(arguments.file, settings, arguments.seconds))
    except (OSError, ValueError) as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(f"{arguments.file}: {arguments.file.stat().st_size} bytes")
    return 0


async def record(file: Path, settings: CollectSettings, seconds: float | None) -> None:
    """Record what the collector finds. Raises FileExistsError."""
    collection, stop = Collection(settings), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    recorder = Recorder(file, collection.head)
    tasks = [asyncio.create_task(collection.run()), asyncio.create_task(recorder.run())]
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
    finally:
        for task in tasks:  # the collector first, so that the recording shows the end of all series
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
