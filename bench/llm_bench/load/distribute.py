"""One schedule, sent by several processes: a locust master and its workers.

The master draws the schedule and gives each worker one conversation in turn. The workers agree on the run's time 0,
send their parts on time, report their progress twice a second, and return their records at the end. On one machine they
share a clock. Between machines the clocks are as good as their synchronisation (NTP); the schedule lag shows how good
that is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import time
from typing import Any

import gevent
import orjson
from gevent.event import Event
from locust.env import Environment
from pydantic import TypeAdapter

from llm_bench.client.credentials import Credentials
from llm_bench.client.target import Target
from llm_bench.errors import BenchError
from llm_bench.load.partition import renumber, split
from llm_bench.load.tally import Tally
from llm_bench.load.users import OpenLoopUser
from llm_bench.measure.record import RequestRecord
from llm_bench.workload.scenario import Scenario
from llm_bench.workload.schedule import PlannedRequest

START_TIMEOUT = 30.0
"""Seconds for the workers to connect, and to accept their part."""
LEAD = 1.0
"""Seconds between the start message and the run's time 0: the message has that long to reach the last worker."""
LOOK = 0.05
"""Seconds between checks for dead workers."""

PLAN, PLANNED, START, STOP = "bench-plan", "bench-planned", "bench-start", "bench-stop"
TALLY, RECORDS, FINISHED = "bench-tally", "bench-records", "bench-finished"

_RECORDS = TypeAdapter(list[RequestRecord])


@dataclass(slots=True)
class Distributed:
    """The outcome of a load that several processes sent."""

    records: list[RequestRecord]
    client_cpu: float
    """CPU seconds per second of the busiest worker."""
    loop_lag: list[float]
    """Lags of all workers' event loops, in seconds."""
    epoch: float
    """The run's time 0, in seconds since 1970."""


@dataclass(slots=True)
class _Part:
    """One worker's share."""

    places: list[int]
    """Indices of its requests in the schedule."""
    records: list[RequestRecord] = field(default_factory=list)
    planned: bool = False
    cpu: float | None = None
    loop_lag: list[float] = field(default_factory=list)
    tally: dict[str, Any] = field(default_factory=lambda: Tally().plain())
    """Progress that its worker reported last."""


def run_distributed(
    scenario: Scenario,
    target: Target,
    schedule: Sequence[PlannedRequest],
    credentials: Credentials,
    *,
    workers: int,
    stop: Event,
    watch: Callable[[Callable[[], Tally]], None],
) -> Distributed:
    """Send the schedule from `workers` processes of this machine; `stop` ends it early, `watch` runs next to it."""
    environment = Environment(user_classes=[type("OpenLoop", (OpenLoopUser,), {"abstract": False, "fixed_count": 0})])
    runner = environment.create_master_runner("127.0.0.1", 0)
    parts = [_Part([planned.index for planned in share]) for share in split(schedule, workers)]
    by_worker: dict[str, _Part] = {}
    _listen(runner, by_worker)
    processes = [_start_worker(runner.server.port) for _ in range(workers)]
    try:
        _wait(lambda: len(runner.clients.ready) == workers, processes, "connect")
        for client, part, share in zip(runner.clients.ready, parts, split(schedule, workers), strict=True):
            by_worker[client.id] = part
            runner.send_message(PLAN, {"plan": _encode_plan(scenario, target, renumber(share), credentials)}, client.id)
        _wait(lambda: all(part.planned for part in parts), processes, "accept their part")
        epoch = time() + LEAD
        runner.send_message(START, {"epoch": epoch})
        runner.start(workers, spawn_rate=workers)
        watcher = gevent.spawn(watch, lambda: Tally.merge(part.tally for part in parts))
        _collect(runner, parts, processes, stop)
        watcher.kill()
    finally:
        runner.quit()
        for process in processes:
            process.terminate()
            process.wait()
    return _merge(schedule, parts, epoch)


def _listen(runner: Any, parts: dict[str, _Part]) -> None:
    def planned(msg: Any, **_: Any) -> None:
        parts[msg.node_id].planned = True

    def tally(msg: Any, **_: Any) -> None:
        parts[msg.node_id].tally = msg.data

    def records(msg: Any, **_: Any) -> None:
        parts[msg.node_id].records += _RECORDS.validate_json(msg.data["records"])

    def finished(msg: Any, **_: Any) -> None:
        parts[msg.node_id].loop_lag = msg.data["loop_lag"]
        parts[msg.node_id].cpu = msg.data["cpu"]

    for kind, listener in ((PLANNED, planned), (TALLY, tally), (RECORDS, records), (FINISHED, finished)):
        runner.register_message(kind, listener)


def _collect(runner: Any, parts: Sequence[_Part], processes: Sequence[subprocess.Popen[bytes]], stop: Event) -> None:
    """Wait until all workers have returned their records; tell them to stop if `stop` is set."""
    stopping = False
    while any(part.cpu is None for part in parts):
        if stop.wait(LOOK) and not stopping:
            runner.send_message(STOP)
            stopping = True
        if stopping:
            gevent.sleep(LOOK)
        _check(processes)


def _wait(arrived: Any, processes: Sequence[subprocess.Popen[bytes]], what: str) -> None:
    with gevent.Timeout(START_TIMEOUT, BenchError(f"the workers did not {what} within {START_TIMEOUT:g} s")):
        while not arrived():
            _check(processes)
            gevent.sleep(LOOK)


def _check(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    dead = [process for process in processes if process.poll() is not None]
    if dead:
        raise BenchError(f"a worker process ended with status {dead[0].returncode}: the run cannot go on")


def _start_worker(port: int) -> subprocess.Popen[bytes]:
    """Start a worker in a session of its own, so that Ctrl-C reaches only the master."""
    command = [sys.executable, "-m", "llm_bench", "worker", f"127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def _encode_plan(scenario: Scenario, target: Target, part: Sequence[PlannedRequest], credentials: Credentials) -> bytes:
    """Encode a worker's part. API keys are left out: workers read them from the environment that they inherit."""
    return orjson.dumps(
        {
            "scenario": scenario.model_dump(mode="json"),
            "target": asdict(target),
            "schedule": list(part),
            "credentials": asdict(credentials),
        }
    )


def _merge(schedule: Sequence[PlannedRequest], parts: Sequence[_Part], epoch: float) -> Distributed:
    records: dict[int, RequestRecord] = {}
    for part in parts:
        for place, record in zip(part.places, part.records, strict=True):
            record.index, record.follows = place, schedule[place].follows
            records[place] = record
    lag = [sample for part in parts for sample in part.loop_lag]
    in_order = [records[planned.index] for planned in schedule]
    return Distributed(in_order, max(part.cpu or 0.0 for part in parts), lag, epoch)
