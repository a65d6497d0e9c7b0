"""Locust users that send a planned load: locust's environment and runner carry it.

The open loop is one user that only keeps time: at each request's scheduled time it spawns a greenlet that sends it,
whether or not earlier requests have ended. A conversation's greenlet goes on to its next turns. A closed loop is N
users that each wait for their answer.

Our figures come from the raw records. Locust's own statistics round percentiles and cost more than sending a request,
so they are filled only for locust's UI (`locust_ui.stats`).

Importing this module patches the process for gevent; modules that only read results never import it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar

import gevent
import locust
from gevent.event import Event
from gevent.pool import Group
from locust.env import Environment
from locust.exception import StopUser

from llm_bench.client.client import Client
from llm_bench.client.credentials import NO_CREDENTIALS, Credentials
from llm_bench.client.target import Target
from llm_bench.client.wire import encode_request
from llm_bench.load.tally import Tally
from llm_bench.measure.record import INCOMPLETE, RequestRecord, fill_record, plan_record
from llm_bench.workload.scenario import Scenario
from llm_bench.workload.schedule import PlannedRequest

LONGEST_DETAIL = 500
"""Characters of a server's message that are kept."""
IDLE_INTERVAL = 0.01
"""Seconds between checks for running requests."""
LEAD = 0.1
"""Seconds between the start of the user and the run's time 0, so that the first request is not late."""
LOOK = 0.05
"""Seconds between checks whether the load was stopped."""


@dataclass(kw_only=True)
class Load:
    """A planned load, its connections and its records."""

    client: Client
    records: list[RequestRecord]
    requests: list[bytes]
    drain: float
    """Longest wait for unfinished requests after the last arrival, in seconds."""
    epoch: float = 0.0
    """The run's time 0 on the clock of `perf_counter`."""
    tally: Tally = field(default_factory=Tally)
    done: Event = field(default_factory=Event)
    stop: Event = field(default_factory=Event)
    """Ends the load early when it is set."""
    starts_at: float | None = None
    """The epoch, if another process has chosen it."""
    following: dict[int, int] = field(default_factory=dict)
    """Index of each turn's next turn."""
    on_end: Callable[[RequestRecord], None] | None = None
    """Called with each request that has ended."""
    credentials: Credentials = NO_CREDENTIALS
    ran_out: bool = False
    """A closed loop had sent all its requests before its time was over."""

    @property
    def now(self) -> float:
        return perf_counter() - self.epoch

    def send(self, index: int) -> RequestRecord:
        """Send one request, wait for its end and fill in its record."""
        record = self.records[index]
        self.tally.in_flight += 1
        exchange = self.client.send(self.requests[index])
        self.tally.in_flight -= 1
        fill_record(record, exchange, self.epoch)
        if record.detail:
            record.detail = self.credentials.blot_out(record.detail)[:LONGEST_DETAIL]
        self.tally.add(record)
        if self.on_end is not None:
            self.on_end(record)
        return record

    def converse(self, index: int) -> None:
        """Send one request, then the turns that follow it for as long as their answers succeed."""
        record = self.send(index)
        while record.ok and (following := self.following.get(record.index)) is not None:
            turn = self.records[following]
            turn.scheduled_at = (record.ended_at or 0.0) + turn.think_seconds
            gevent.sleep(max(turn.scheduled_at - self.now, 0.0))
            record = self.send(following)


def plan_load(
    scenario: Scenario, target: Target, schedule: list[PlannedRequest], credentials: Credentials = NO_CREDENTIALS
) -> Load:
    """Prepare the load: everything that can be done before the clock starts."""
    usage = scenario.continuous_usage
    return Load(
        client=Client(target, scenario.timeout),
        records=[plan_record(planned) for planned in schedule],
        requests=[
            encode_request(planned, target, scenario.api, usage, credentials=credentials) for planned in schedule
        ],
        drain=scenario.drain,
        following={planned.follows: planned.index for planned in schedule if planned.follows is not None},
        credentials=credentials,
    )


class OpenLoopUser(locust.User):  # type: ignore[misc]  # locust is untyped to mypy
    """The one user that sends the whole load."""

    abstract = True
    fixed_count = 1
    load: ClassVar[Load | None] = None

    @locust.task  # type: ignore[untyped-decorator]
    def dispatch(self) -> None:
        if self.load is None:
            raise StopUser
        load, group = self.load, Group()
        with _no_collection():
            load.epoch = load.starts_at or perf_counter() + LEAD
            try:
                self._send_all(load, group)
                gevent.wait([gevent.spawn(group.join), load.stop], timeout=load.drain, count=1)
            finally:
                group.kill()  # each records itself as incomplete
                load.done.set()
        raise StopUser

    @staticmethod
    def _send_all(load: Load, group: Group) -> None:
        for record in load.records:
            if record.follows is not None:
                continue
            while (wait := (record.scheduled_at or 0.0) - load.now) > 0 and not load.stop.is_set():
                gevent.sleep(min(wait, LOOK))
            if load.stop.is_set():
                return
            group.spawn(load.converse, record.index)


class ClosedLoopUser(locust.User):  # type: ignore[misc]
    """A user that thinks, sends, waits for the answer, and repeats."""

    abstract = True
    load: ClassVar[Load]
    queue: ClassVar[Iterator[int]]
    duration: ClassVar[float]
    """Seconds after which nothing is sent."""

    @locust.task  # type: ignore[untyped-decorator]
    def next_request(self) -> None:
        load, index = self.load, next(self.queue, None)
        if index is None:
            load.ran_out = True
            raise StopUser
        gevent.sleep(load.records[index].think_seconds)
        if load.now >= self.duration:
            raise StopUser
        load.records[index].scheduled_at = load.now
        record = load.send(index)
        if record.outcome == INCOMPLETE:
            raise StopUser  # the runner killed us, and the client has recorded it
        if not record.ok:
            gevent.sleep(0.1)  # do not spin on a target that refuses at once


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turn garbage collection off: a pass over a million objects takes longer than a token."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_open_loop(load: Load, *, stop: Event, watch: Callable[[Callable[[], Tally]], None]) -> None:
    """Send the load; return when it is done or when `stop` is set. `watch` runs next to it, in its own greenlet."""
    environment = Environment(user_classes=[type("OpenLoop", (OpenLoopUser,), {"load": load, "abstract": False})])
    runner = environment.create_local_runner()
    watcher = gevent.spawn(watch, lambda: load.tally)
    runner.start(1, spawn_rate=1)
    gevent.wait([load.done, stop], count=1)
    runner.quit()
    watcher.kill()
    load.client.close()


def run_closed_loop(
    load: Load, *, users: int, duration: float, stop: Event, watch: Callable[[Callable[[], Tally]], None] | None = None
) -> None:
    """Keep `users` requests running for `duration` seconds; then wait for the rest, up to the load's drain time."""
    attributes = {"load": load, "abstract": False, "queue": iter(range(len(load.requests))), "duration": duration}
    environment = Environment(user_classes=[type("ClosedLoop", (ClosedLoopUser,), attributes)])
    runner = environment.create_local_runner()
    watcher = gevent.spawn(watch or (lambda _: None), lambda: load.tally)
    load.epoch = perf_counter()
    runner.start(users, spawn_rate=users)
    if not stop.wait(duration) and load.drain:
        gevent.wait([stop, gevent.spawn(_wait_until_idle, load)], timeout=load.drain, count=1)
    runner.quit()
    watcher.kill()
    load.client.close()


def _wait_until_idle(load: Load) -> None:
    while load.tally.in_flight:
        gevent.sleep(IDLE_INTERVAL)
