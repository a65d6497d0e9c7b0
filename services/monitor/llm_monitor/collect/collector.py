"""The collector: one loop that scrapes all targets at once, four times a second.

    collector = Collector([target_of("127.0.0.1:8000")], Head())
    collector.on_cycle(lambda time: print(time, collector.states()))
    await collector.run()

A cycle is complete when all targets answered, but after `patience` at most. A slow target's samples come with a later
cycle. Until it answered or timed out, it is not asked again, and no other target waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from llm_contract import monitor_metrics as names
from llm_monitor.collect.fetch import Fetch, Fetcher
from llm_monitor.collect.scraper import MOST_REST, Scraper
from llm_monitor.collect.targets import Target, TargetState
from llm_monitor.metrics import MonitorMetrics
from llm_monitor.series.head import Head

log = logging.getLogger(__name__)

INTERVAL = 0.25
PATIENCE = 0.08
TIMEOUT = 1.0
PRUNE_SECONDS = 30.0


class Collector:
    """`local` are targets inside this process, such as its GPUs, and how to get their pages."""

    def __init__(
        self,
        targets: Iterable[Target],
        head: Head,
        *,
        local: Mapping[Target, Fetch] | None = None,
        metrics: MonitorMetrics | None = None,
        interval: float = INTERVAL,
        patience: float = PATIENCE,
        timeout: float = TIMEOUT,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.head = head
        self._local = {target.url: (target, fetch) for target, fetch in (local or {}).items()}
        self._metrics = metrics or MonitorMetrics()
        self._interval = interval
        self._patience = patience
        self._timeout = timeout
        self._now = now
        self._scrapers: dict[str, Scraper] = {}
        self._running: dict[asyncio.Task[None], str] = {}
        self._callbacks: list[Callable[[float], None]] = []
        self._fetcher: Fetcher | None = None
        self._pruned = 0.0
        self._cycle_seconds = self._metrics.histogram(names.CYCLE_SECONDS)
        self._skipped = self._metrics.counter(names.CYCLES_SKIPPED)
        self._metrics.gauge(names.SERIES).set_function(lambda: head.series)
        self._dropped_shown: dict[str, int] = {}
        self.watch(targets)

    def on_cycle(self, callback: Callable[[float], None]) -> None:
        """Call `callback` with the cycle's time after each cycle, when its samples are in the head."""
        self._callbacks.append(callback)

    def states(self) -> list[TargetState]:
        return [scraper.state for scraper in self._scrapers.values()]

    def watch(self, targets: Iterable[Target]) -> None:
        """Scrape these targets and the local ones from the next cycle on. A target that stays keeps its state.

        If two have the same URL, the first one counts.
        """
        local = [target for target, _ in self._local.values()]
        self._wanted = {target.url: target for target in [*local, *targets][::-1]}
        self._changed = True

    async def run(self) -> None:
        """Scrape until cancelled. Then end all series, so that readers see the gap."""
        loop = asyncio.get_running_loop()
        async with Fetcher() as self._fetcher:
            try:
                due = loop.time()
                while True:
                    await self.cycle()
                    due += self._interval
                    if (late := loop.time() - due) > 0:
                        missed = int(late / self._interval) + 1
                        self._skipped.inc(missed)
                        due += missed * self._interval
                    await asyncio.sleep(due - loop.time())
            finally:
                await self._stop()

    async def cycle(self) -> None:
        """Scrape all targets once, wait for them with patience, and tell the listeners."""
        began, at = time.perf_counter(), self._time()
        if at >= self._pruned + PRUNE_SECONDS or at < self._pruned:
            self._pruned = at
            self.head.prune(at)
        if self._changed:
            self._take_targets(at)
        awaited = [task for scraper in self._scrapers.values() if (task := self._begin(scraper, at))]
        if awaited:
            await asyncio.wait(awaited, timeout=self._patience)
        self._cycle_seconds.observe(time.perf_counter() - began)
        self._count_dropped()
        for callback in self._callbacks:
            try:
                callback(at)
            except Exception:
                log.exception("a listener failed after a cycle")

    def _begin(self, scraper: Scraper, at: float) -> asyncio.Task[None] | None:
        """Start a scrape, if the last one has ended. Return it if the cycle waits for it: not if the last timed out."""
        if scraper.busy or at < scraper.rests_until <= at + MOST_REST:
            return None
        scraper.busy = True
        task = asyncio.create_task(scraper.scrape(at))
        self._running[task] = scraper.target.url
        task.add_done_callback(self._forget)
        return task if scraper.state.duration < self._timeout else None

    def _take_targets(self, at: float) -> None:
        self._changed = False
        for url, scraper in list(self._scrapers.items()):
            if self._wanted.get(url) != scraper.target:
                self._drop(url, at)
        for url, target in self._wanted.items():
            if url not in self._scrapers:
                self._scrapers[url] = Scraper(
                    target, self._fetch_of(target), self.head, metrics=self._metrics, timeout=self._timeout
                )

    def _fetch_of(self, target: Target) -> Fetch:
        if target.url in self._local:
            return self._local[target.url][1]
        assert self._fetcher is not None, "a cycle is part of run()"
        return partial(self._fetcher.fetch, target.url, target.key_file)

    def _drop(self, url: str, at: float) -> None:
        for task in [task for task, other in self._running.items() if other == url]:
            task.cancel()
        scraper = self._scrapers.pop(url)
        scraper.end(at)
        self._metrics.forget_target(scraper.state.instance)
        self._dropped_shown.pop(url, None)

    def _forget(self, task: asyncio.Task[None]) -> None:
        url = self._running.pop(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("the scrape of %s failed", url, exc_info=error)

    def _count_dropped(self) -> None:
        for url, count in self.head.dropped.items():
            if url in self._scrapers and (new := count - self._dropped_shown.get(url, 0)) > 0:
                self._metrics.counter(names.SERIES_DROPPED).labels(self._scrapers[url].state.instance).inc(new)
                self._dropped_shown[url] = count

    def _time(self) -> float:
        """Return the time in whole milliseconds, as the history has them."""
        return math.floor(self._now() * 1000) / 1000

    async def _stop(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for scraper in self._scrapers.values():
            scraper.end(self._time())
