"""The writer of the history: each second, what the head has new goes to disk, in a thread of its own.

A disk that is full, slow or broken never stops the live path. The history then has a gap, and says why.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from llm_contract import monitor_metrics as names
from llm_monitor.history.chunk import Chunk, Ids, Milliseconds
from llm_monitor.history.levels import to_ms
from llm_monitor.history.store import MAX_BYTES, REFUSED, Entry, Store
from llm_monitor.history.thin import is_counter, thin
from llm_monitor.metrics import MonitorMetrics
from llm_monitor.series.block import Frame
from llm_monitor.series.head import Head
from llm_monitor.series.selection import NAME, Floats, Labels

log = logging.getLogger(__name__)

LATE_SECONDS = 3.0
"""Time that a minute stays open for the samples of slow targets."""
CLOCK_STEP = 10_000
"""Milliseconds by which a target's time can lie behind what is written without the clock having been set back."""
RETRY_SECONDS = 5.0
"""Time between two attempts to write while the disk refuses."""


@dataclass(slots=True)
class _Written:
    """The last entry of a target in the journal."""

    labels: Sequence[Labels]
    ids: Ids
    time: int
    values: Floats


class History:
    """`error` says why the history is not written at present; empty while it is."""

    def __init__(
        self,
        store: Store,
        head: Head,
        *,
        metrics: MonitorMetrics | None = None,
        max_bytes: int = MAX_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.error = ""
        self._head = head
        self._now = now
        self._max_bytes = max_bytes
        self._written: dict[str, _Written] = {}
        self._live = np.zeros(0, np.bool_)
        """By number of the series: its last sample in a chunk is not a stale marker."""
        self._retry_at = 0.0
        self._minute = 0
        """End of the last minute that is in chunks, in milliseconds; 0 before the first."""
        metrics = metrics or MonitorMetrics()
        self._bytes = metrics.gauge(names.HISTORY_BYTES)
        self._writable = metrics.gauge(names.HISTORY_WRITABLE)
        self._seconds = metrics.histogram(names.HISTORY_WRITE_SECONDS)

    async def run(self) -> None:
        """Write each second until cancelled; then write what is left."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "history") as thread:
            try:
                while True:
                    await loop.run_in_executor(thread, self.tick)
                    await asyncio.sleep(1.0)
            finally:
                thread.submit(self.tick)

    def tick(self) -> None:
        """Write what is new. An error is noted, not raised."""
        now = self._now()
        if self.error and self._retry_at - RETRY_SECONDS <= now < self._retry_at:
            return
        began = time.perf_counter()
        try:
            self._write(now)
            self.error = ""
        except (sqlite3.Error, OSError) as error:
            if not self.error:
                log.warning("the history is not written: %s", error)
            self.error = f"the history at {self.store.path} is not written: {error}"
            self._retry_at = now + RETRY_SECONDS
            self._written.clear()  # the next entries are full ones
        self._writable.set(not self.error)
        self._seconds.observe(time.perf_counter() - began)

    def _write(self, now: float) -> None:
        if not self._minute:
            self._recover()
        span = self.store.levels[0].span
        due = to_ms(now - LATE_SECONDS) // span * span
        if not self._minute or due < self._minute - span:  # the first time, or the clock was set back
            self._minute = due
        self.store.write_journal(self._entries(now))
        if due > self._minute:
            self._close_minute(due)
            for level in range(1, len(self.store.levels)):
                while self.store.compact(level):
                    pass
            self.store.prune(to_ms(now), self._max_bytes)
            self._bytes.set(self.store.size)

    def _entries(self, now: float) -> Iterator[Entry]:
        """Yield the last values of each target that has new ones. Of series that end, yield the sample before, too."""
        for frame in self._head.frames(now - LATE_SECONDS, now):
            ended = len(frame.times) > 1 and (np.isnan(frame.values[:, -1]) & ~np.isnan(frame.values[:, -2])).any()
            for column in (-2, -1) if ended else (-1,):
                entry = self._entry(frame, column, now)
                if entry is not None:
                    yield entry

    def _entry(self, frame: Frame, column: int, now: float) -> Entry | None:
        """Return a column in full once a minute, else the values that changed; None if it is written already."""
        written = self._written.get(frame.target)
        at, values = to_ms(frame.times[column]), frame.values[:, column].copy()
        if written is not None and at <= written.time < at + CLOCK_STEP:
            return None
        if written is not None and written.labels is not frame.labels:
            written = None
        ids = written.ids if written else self.store.ids_of(frame.labels, to_ms(now))
        is_full = written is None or self._minute_of(at) != self._minute_of(written.time)
        chosen = ids != REFUSED
        if written is not None and not is_full:
            chosen &= (values != written.values) & ~(np.isnan(values) & np.isnan(written.values))
        self._written[frame.target] = _Written(frame.labels, ids, at, values)
        return Entry(frame.target, at, is_full, ids[chosen], values[chosen])

    def _close_minute(self, end: int) -> None:
        """Move the time up to `end` from the journal to chunks. These come from the head, which has more samples."""
        chunks = []
        for frame in self._head.frames(self._minute / 1000, end / 1000):
            ids = self.store.ids_of(frame.labels, end)
            known = ids != REFUSED
            chunk = self._chunk(ids[known], np.rint(frame.times * 1000).astype(np.int64), frame.values[known])
            counters = np.array([is_counter(dict(labels)[NAME]) for labels in frame.labels], np.bool_)
            chunk = thin(chunk, self.store.levels[0].step, counters[known])
            if len(chunk.times):  # none if all that a target had was markers, such as a rule that yields nothing
                chunks.append(chunk)
        self.store.write_minute(chunks, end)
        self._minute = end
        for chunk in chunks:
            self._live[chunk.ids] = ~np.isnan(chunk.values[:, -1])
        oldest = end - to_ms(self._head.seconds)
        self._written = {target: written for target, written in self._written.items() if written.time > oldest}

    def _chunk(self, ids: Ids, times: Milliseconds, values: Floats) -> Chunk:
        """Return a target's samples. Of stale markers in a row, the first counts, and none before the first sample."""
        if len(self._live) < self.store.series:
            self._live = np.concatenate([self._live, np.zeros(self.store.series + 1024 - len(self._live), np.bool_)])
        is_stale = np.isnan(values)
        was_stale = np.concatenate([~self._live[ids, None], is_stale[:, :-1]], axis=1)
        return Chunk(ids, times, values, ~(is_stale & was_stale))

    def _recover(self) -> None:
        """Make chunks of what a process that was killed left in the journal, and mark the end of its series."""
        chunks = [self._recovered(entries) for entries in _runs(self.store.read_journal())]
        if chunks:
            self.store.write_minute(chunks, max(int(chunk.times[-1]) for chunk in chunks))

    def _recovered(self, entries: list[Entry]) -> Chunk:
        ids = np.sort(entries[0].ids)
        columns = np.full((len(ids), len(entries) + 1), np.nan)  # the last one marks the end
        for column, entry in enumerate(entries):
            columns[:, column] = columns[:, column - 1]
            columns[np.searchsorted(ids, entry.ids), column] = entry.values
        times = np.array([entry.time for entry in entries] + [entries[-1].time + self.store.levels[0].step], np.int64)
        is_stale = np.isnan(columns)
        was_stale = np.concatenate([np.ones((len(ids), 1), np.bool_), is_stale[:, :-1]], axis=1)
        return Chunk(ids, times, columns, ~(is_stale & was_stale))

    def _minute_of(self, time: int) -> int:
        return (time - 1) // self.store.levels[0].span


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield each full entry with those that tell its changes. What has no full entry before it says nothing."""
    run: list[Entry] = []
    for entry in entries:
        if entry.is_full:
            if run:
                yield run
            run = [entry]
        elif run and entry.target == run[0].target and entry.time > run[-1].time:
            run.append(entry)
    if run:
        yield run
