"""The hot path of the SLA: `record` counts and appends, and a thread writes in the background.

The event loop appends records to a bounded deque. The one thread that owns the database empties it. Both operations are
atomic, so there is no lock. Failures of the database never stop requests: records wait, and when the deque is full they
are dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from prometheus_client import Counter

from llm_gateway.classes import UNCLASSIFIED
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.sla.record import EXCLUDED_OUTCOMES, VIOLATIONS, SlaRecord
from llm_gateway.sla.settings import SlaSettings
from llm_gateway.sla.store import SlaStore

FLUSH_SECONDS = 0.5
FLUSH_RECORDS = 500
"""Number of waiting records that triggers a write before the interval ends."""
WAITING_RECORDS = 20_000
"""Most records that wait, about 0.5 KiB each: 8 s at 2,500 requests/s."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class SlaTracker:
    """Counts and stores finished requests. Call `start` and `stop` in the event loop, `record` at any time."""

    def __init__(self, settings: SlaSettings, metrics: GatewayMetrics, wall: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.wall = wall
        self._metrics = metrics
        self._store = SlaStore(settings.path, settings.keep_seconds, settings.max_rows, wall)
        self._waiting: deque[SlaRecord] = deque()
        self._counters: dict[str, ClassCounters] = {}
        self._thread = ThreadPoolExecutor(1, "sla")
        self._asking = asyncio.Lock()
        self._enough = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._failing = False

    def record(self, record: SlaRecord) -> None:
        """Count a finished request and queue it for the database. It takes a few microseconds and never raises."""
        counters = self._counters.get(record.class_name) or self._count_class(record.class_name)
        if record.outcome not in EXCLUDED_OUTCOMES:
            violations = record.violations()
            (counters.missed if violations else counters.met).inc()
            for kind in violations:
                counters.violations[kind].inc()
        waiting = self._waiting
        if len(waiting) >= WAITING_RECORDS:
            self._metrics.sla_dropped.inc()
            return
        waiting.append(record)
        if len(waiting) == FLUSH_RECORDS:
            self._enough.set()

    async def start(self) -> None:
        self._flusher = asyncio.create_task(self._flush_now_and_then())

    async def stop(self) -> None:
        """Write the waiting records and close the database."""
        if self._flusher is not None:
            self._flusher.cancel()
            with suppress(asyncio.CancelledError):
                await self._flusher
        await asyncio.get_running_loop().run_in_executor(self._thread, self._finish)
        self._thread.shutdown()

    async def flush(self) -> None:
        """Wait until all records so far are written or have failed."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write_waiting)

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `question` on all records so far. It runs in the database's thread.

        Questions run one at a time, so that many of them do not delay the writer. Raise sqlite3.Error.
        """
        async with self._asking:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)

    def _count_class(self, name: str) -> ClassCounters:
        counters = self._counters[name] = ClassCounters(self._metrics, name or UNCLASSIFIED)
        return counters

    async def _flush_now_and_then(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._enough.wait()
            self._enough.clear()
            await self.flush()

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        self._write_waiting()
        return self._store.read(question)

    def _write_waiting(self) -> None:
        """Write the waiting records, in the database's thread. After a failure they keep waiting, in order."""
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            self._store.write(batch)
        except (sqlite3.OperationalError, OSError) as error:
            self._waiting.extendleft(reversed(batch))
            if not self._failing:
                log.error("the SLA database %s cannot be written: %s; retrying", self.settings.path, error)
            self._failing = True
        except (sqlite3.Error, ValueError, OverflowError):
            self._metrics.sla_dropped.inc(len(batch))
            log.exception("%d requests cannot be stored for the SLA", len(batch))
        else:
            if self._failing:
                log.warning("the SLA database %s can be written again", self.settings.path)
            self._failing = False

    def _finish(self) -> None:
        self._write_waiting()
        self._metrics.sla_dropped.inc(len(self._waiting))
        self._store.close()


class ClassCounters:
    """The metric series of a class, looked up once."""

    __slots__ = ("met", "missed", "violations")

    def __init__(self, metrics: GatewayMetrics, class_name: str) -> None:
        self.met: Counter = metrics.sla_requests.labels(class_name, "yes")
        self.missed: Counter = metrics.sla_requests.labels(class_name, "no")
        self.violations: dict[str, Counter] = {
            kind: metrics.sla_violations.labels(class_name, kind) for kind in VIOLATIONS
        }
