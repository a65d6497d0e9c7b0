"""A worker of `distribute`: it receives its part of the schedule from locust's master, sends it, and returns the
records.

Meanwhile it reports its progress twice a second, in a few hundred bytes, which delays its schedule by microseconds.
"""

from __future__ import annotations

from time import perf_counter, process_time, time
from typing import Any, ClassVar

import gevent
import orjson
from gevent.event import Event
from locust.env import Environment
from pydantic import TypeAdapter

from llm_bench.client.credentials import Credentials
from llm_bench.client.loop_lag import LoopLag
from llm_bench.client.target import Target
from llm_bench.load.distribute import FINISHED, PLAN, PLANNED, RECORDS, START, STOP, TALLY
from llm_bench.load.users import Load, OpenLoopUser, plan_load
from llm_bench.workload.scenario import Scenario
from llm_bench.workload.schedule import PlannedRequest

TALLY_INTERVAL = 0.5
"""Seconds."""
BATCH = 1000
"""Records in one message."""

_SCHEDULE = TypeAdapter(list[PlannedRequest])


class OpenLoop(OpenLoopUser):
    """The user that the master starts in each worker; locust matches it by its class name."""

    abstract = False
    fixed_count = 0
    load: ClassVar[Load]


def work(master: str) -> None:
    """Work for `master` (HOST:PORT) until it ends the run."""
    host, _, port = master.rpartition(":")
    environment = Environment(user_classes=[OpenLoop])
    runner = environment.create_worker_runner(host, int(port))
    started = Event()

    def plan(msg: Any, **_: Any) -> None:
        OpenLoop.load = decode_plan(msg.data["plan"])
        runner.send_message(PLANNED)

    def start(msg: Any, **_: Any) -> None:
        OpenLoop.load.starts_at = perf_counter() + msg.data["epoch"] - time()
        started.set()

    def stop(**_: Any) -> None:
        OpenLoop.load.stop.set()

    for kind, listener in ((PLAN, plan), (START, start), (STOP, stop)):
        runner.register_message(kind, listener)
    reporter = gevent.spawn(_report, runner, started)
    runner.greenlet.join()
    reporter.kill()


def decode_plan(data: bytes) -> Load:
    plan = orjson.loads(data)
    scenario, target = Scenario.model_validate(plan["scenario"]), Target(**plan["target"])
    schedule = _SCHEDULE.validate_python(plan["schedule"])
    return plan_load(scenario, target, schedule, Credentials(**plan["credentials"]))


def _report(runner: Any, started: Event) -> None:
    """Report progress and, when the load is done, all records."""
    started.wait()
    lag, cpu = LoopLag(), process_time()
    watcher = gevent.spawn(lag.watch)
    load = OpenLoop.load
    while not load.done.wait(TALLY_INTERVAL):
        runner.send_message(TALLY, load.tally.plain())
    watcher.kill()
    used = (process_time() - cpu) / max(load.now, 1e-9)
    for first in range(0, len(load.records), BATCH):
        runner.send_message(RECORDS, {"records": orjson.dumps(load.records[first : first + BATCH])})
    runner.send_message(TALLY, load.tally.plain())
    runner.send_message(FINISHED, {"cpu": used, "loop_lag": lag.samples})
