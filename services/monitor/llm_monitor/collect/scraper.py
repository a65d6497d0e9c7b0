"""The scrapes of one target: its page to the head, and what they say about it."""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime

import numpy as np

from llm_contract import monitor_metrics as names
from llm_monitor.collect.exposition import PageTooLong, Reader
from llm_monitor.collect.fetch import Fetch, ScrapeFailed, within
from llm_monitor.collect.targets import UNKNOWN_JOB, Job, Target, TargetState, detect_job
from llm_monitor.metrics import MonitorMetrics
from llm_monitor.series.head import Head
from llm_monitor.series.page import Layout, Page
from llm_monitor.series.selection import NAME, labels_of

LONG_READING = 0.01
MOST_READING = 0.05
"""A page that takes longer than LONG_READING seconds is read less often: for this share of the time."""
MOST_REST = 10.0
REPORT_SUFFIX = " report"
"""End of the name under which the head has the report of a target's scrapes."""


class Scraper:
    """One scrape at a time. A scrape that fails ends the target's series and reports that it is down."""

    def __init__(self, target: Target, fetch: Fetch, head: Head, *, metrics: MonitorMetrics, timeout: float) -> None:
        self.target = target
        self.busy = False
        """Set by who starts a scrape, cleared when it ends."""
        self.rests_until = 0.0
        """Time before which no scrape begins, since the last page took long to read."""
        job = target.job or UNKNOWN_JOB
        self.state = TargetState(url=target.url, job=job, instance=target.instance, labels=dict(target.labels))
        self._fetch = fetch
        self._head = head
        self._timeout = timeout
        self._report_key = target.url + REPORT_SUFFIX
        self._report = np.zeros(len(names.SCRAPE_METRICS))
        self._date = ""
        self._scrapes = metrics.counter(names.SCRAPES)
        self._garbage = metrics.counter(names.GARBAGE_LINES).labels(target.instance)
        self._skew = metrics.gauge(names.CLOCK_SKEW).labels(target.instance)
        self._take_job(job)

    async def scrape(self, at: float) -> None:
        """Scrape once; samples and report have the time `at`. It never raises, except if it is cancelled."""
        state, began = self.state, time.perf_counter()
        try:
            answer = await within(self._timeout, self._fetch)
            page = self._read(answer.body, at)
        except ScrapeFailed as failure:
            self._head.end(self.target.url, at)
            state.up, state.error, state.samples, outcome = False, str(failure), 0, failure.outcome
        else:
            self._head.append(self.target.url, at, page)
            state.up, state.error, outcome = True, "", "ok"
            state.samples = len(page.layout.labels) + page.layout.dropped
            state.dropped = self._head.refused_of(self.target.url)
            self._look_at_clock(answer.date, time.perf_counter() - began)
        finally:
            self.busy = False
        state.last_scrape, state.duration = at, time.perf_counter() - began
        self._scrapes.labels(outcome).inc()
        self._report[:] = state.up, state.duration, state.samples
        self._head.append(self._report_key, at, Page(self._report_layout, self._report))

    def end(self, at: float) -> None:
        """End all series: the target is no longer watched."""
        self._head.end(self.target.url, at)
        self._head.end(self._report_key, at)

    def _read(self, body: bytes, at: float) -> Page:
        began = time.thread_time()
        if self.state.job == UNKNOWN_JOB and (job := detect_job(body)) != UNKNOWN_JOB:
            self._take_job(job)
        try:
            page = self._reader.read(body)
        except PageTooLong as error:
            raise ScrapeFailed("size", str(error)) from None
        finally:
            seconds = time.thread_time() - began
            self.rests_until = at + min(seconds / MOST_READING, MOST_REST) if seconds > LONG_READING else 0.0
        self.state.garbage = page.layout.garbage
        if page.layout.garbage:
            self._garbage.inc(page.layout.garbage)
            if not page.layout.labels:
                raise ScrapeFailed("garbage", f"none of the {page.layout.garbage} lines of its page is a sample")
        return page

    def _take_job(self, job: Job) -> None:
        """Give all series of the target the job, from now on."""
        self.state.job = job
        labels = self.target.series_labels(job)
        self._reader = Reader(labels, self._head.max_series_of_target)
        self._report_layout = Layout(tuple(labels_of({**labels, NAME: metric.name}) for metric in names.SCRAPE_METRICS))

    def _look_at_clock(self, date: str, duration: float) -> None:
        if date != self._date:
            self._date = date
            self.state.clock_skew = clock_skew(date, time.time(), duration)
            self._skew.set(self.state.clock_skew)


def clock_skew(date: str, received: float, duration: float = 0.0) -> float:
    """Return how many seconds the clock that wrote a Date header is ahead, at least; 0 if it can be right.

    The header counts whole seconds, and was written at some time of the request.
    """
    try:
        written = parsedate_to_datetime(date)
        earliest = (written if written.tzinfo else written.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    if earliest > received:
        return earliest - received
    return min(0.0, earliest + 1.0 - (received - duration))
