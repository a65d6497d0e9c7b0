"""Send one run's schedule, from one process or several, while the scraper and the GPU sampler run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time, time

import gevent
from gevent.event import Event

from llm_bench.client.credentials import Credentials
from llm_bench.client.loop_lag import LoopLag
from llm_bench.client.target import Target
from llm_bench.errors import ScenarioError
from llm_bench.load.distribute import run_distributed
from llm_bench.load.progress import Read, progress_watcher
from llm_bench.load.users import Load, plan_load, run_closed_loop, run_open_loop
from llm_bench.measure.gpu import GpuSampler
from llm_bench.measure.record import RequestRecord
from llm_bench.measure.scrape import INTERVAL, Scraper
from llm_bench.workload.arrivals import ClosedLoop
from llm_bench.workload.scenario import Scenario
from llm_bench.workload.schedule import PlannedRequest


@dataclass(frozen=True, slots=True)
class Sent:
    records: list[RequestRecord]
    epoch: float
    """The run's time 0 on the clock of `perf_counter`."""
    client_cpu: float
    """CPU seconds per second, of the busiest process that sent."""
    loop_lag: list[float]
    interrupted: bool
    ran_out: bool = False
    """A closed loop had sent all its requests before its time was over."""


def send(
    scenario: Scenario,
    target: Target,
    schedule: Sequence[PlannedRequest],
    *,
    scraper: Scraper,
    gpus: GpuSampler | None,
    credentials: Credentials,
    name: str,
    workers: int,
    quiet: bool,
    stop: Event,
) -> Sent:
    """Send the schedule. Return when every request has ended or was given up, or when `stop` is set."""
    if workers > 1 and isinstance(scenario.arrivals, ClosedLoop):
        raise ScenarioError(f"{scenario.name} is a closed loop: one process sends it; leave --workers out")
    watch = progress_watcher(name, None if isinstance(scenario.arrivals, ClosedLoop) else len(schedule), quiet=quiet)
    with _observed(scraper, gpus):
        if workers > 1:
            return _send_from_many(
                scenario, target, schedule, credentials=credentials, workers=workers, stop=stop, watch=watch
            )
        return _send_from_here(scenario, plan_load(scenario, target, list(schedule), credentials), stop, watch)


def _send_from_here(scenario: Scenario, load: Load, stop: Event, watch: Callable[[Read], None]) -> Sent:
    loop, lag, cpu = scenario.arrivals, LoopLag(), process_time()
    watcher = gevent.spawn(lag.watch)
    if isinstance(loop, ClosedLoop):
        run_closed_loop(load, users=loop.users, duration=scenario.duration, stop=stop, watch=watch)
        load.records = [record for record in load.records if record.sent_at is not None]
    else:
        run_open_loop(load, stop=stop, watch=watch)
    watcher.kill()
    used = (process_time() - cpu) / max(load.now, 1e-9)
    return Sent(load.records, load.epoch, used, lag.samples, stop.is_set(), load.ran_out)


def _send_from_many(
    scenario: Scenario,
    target: Target,
    schedule: Sequence[PlannedRequest],
    *,
    credentials: Credentials,
    workers: int,
    stop: Event,
    watch: Callable[[Read], None],
) -> Sent:
    done = run_distributed(scenario, target, schedule, credentials, workers=workers, stop=stop, watch=watch)
    epoch = done.epoch - time() + perf_counter()
    return Sent(done.records, epoch, done.client_cpu, done.loop_lag, stop.is_set())


@contextmanager
def _observed(scraper: Scraper, gpus: GpuSampler | None) -> Iterator[None]:
    """Scrape the server's metrics before, during and after the block; sample this machine's GPUs during it."""
    scraper.scrape()
    watchers = [gevent.spawn(scraper.watch), gevent.spawn(_sample, gpus)]
    try:
        yield
    finally:
        gevent.killall(watchers)
        scraper.scrape()


def _sample(gpus: GpuSampler | None) -> None:
    """Run next to the load until it is killed; the driver answers in a thread, because it can be slow."""
    while gpus is not None:
        gevent.get_hub().threadpool.apply(gpus.sample)
        gevent.sleep(INTERVAL)
