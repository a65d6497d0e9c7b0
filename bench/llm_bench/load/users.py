"""Locust users that send a planned load: locust's environment and runner carry it.

The open loop is one user that does nothing but keep the clock: at each request's scheduled time it spawns a greenlet
that sends it, whatever became of the requests before; a conversation's greenlet goes on to its next turns. A closed
loop is N users that each wait for their answer.

Our figures come from the raw records; locust's own statistics, which round percentiles and cost a request more than
sending it, are fed only where somebody looks at them (`locust_stats`).

Importing this patches the world for gevent; nothing that only reads results imports it.
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
"""Characters that are kept of a server's message."""
IDLE_INTERVAL = 0.01
"""Seconds between two looks at whether anything is still running."""
LEAD = 0.1
"""Seconds between the start of the user and the run's time 0, so that the first request is not late."""
LOOK = 0.05
"""Seconds between two looks at whether the load was stopped."""


@dataclass(kw_only=True)
class Load:
    """A planned load, its connections and what came of it."""

    client: Client
    records: list[RequestRecord]
    requests: list[bytes]
    drain: float
    """How long after the last arrival unfinished requests are waited for, in seconds."""
    epoch: float = 0.0
    """The run's time 0 on the clock of `perf_counter`."""
    tally: Tally = field(default_factory=Tally)
    done: Event = field(default_factory=Event)
    stop: Event = field(default_factory=Event)
    """Set, it ends the load early."""
    starts_at: float | None = None
    """The epoch, where someone else has chosen it."""
    following: dict[int, int] = field(default_factory=dict)
    """Index of the next turn by that of a turn."""
    on_end: Callable[[RequestRecord], None] | None = None
    """Count a request that has ended."""
    credentials: Credentials = NO_CREDENTIALS
    ran_out: bool = False
    """A closed loop had sent all its requests before its time was over."""

    @property
    def now(self) -> float:
        return perf_counter() - self.epoch

    def send(self, index: int) -> RequestRecord:
        """Sends one request, waits for its end and fills its record."""
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
        """Sends one request and, as long as answers come, the turns that follow it."""
        record = self.send(index)
        while record.ok and (following := self.following.get(record.index)) is not None:
            turn = self.records[following]
            turn.scheduled_at = (record.ended_at or 0.0) + turn.think_seconds
            gevent.sleep(max(turn.scheduled_at - self.now, 0.0))
            record = self.send(following)


def plan_load(
    scenario: Scenario, target: Target, schedule: list[PlannedRequest], credentials: Credentials = NO_CREDENTIALS
) -> Load:
    """Everything that can be done before the clock starts."""
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
    """One of these sends the whole load."""

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
    """Thinks, sends, waits for the answer, and does it again; as many of these as are to keep the target busy."""

    abstract = True
    load: ClassVar[Load]
    queue: ClassVar[Iterator[int]]
    duration: ClassVar[float]
    """Nothing is sent after it."""

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
            raise StopUser  # the runner killed us; the client has noted it and returned
        if not record.ok:
            gevent.sleep(0.1)  # a target that refuses at once must not be asked in a spin


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps Python's search for cycles away: over a million objects it takes longer than a token."""
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
    """Keeps `users` requests running for `duration` seconds; then waits for their ends as long as the load drains."""
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
