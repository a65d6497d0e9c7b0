"""Finished spans wait here for a thread that sends them in batches. A request never waits for the receiver.

If the receiver is down, slow or refuses a batch, the batch is lost and counted. One line in the log says so, and
another one when spans are sent again. If spans arrive faster than they are sent, the newest are dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from llm_proxy.telemetry.tracing import SpanCounts

WAITING_SPANS = 8192
BATCH_SPANS = 512
PAUSE_SECONDS = 1.0
"""Longest time that a span waits for a batch to fill."""
CLOSE_SECONDS = 5.0

EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

log = logging.getLogger(__name__)


class Batches(SpanProcessor):
    """A bounded queue of spans and the thread that empties it."""

    def __init__(self, exporter: SpanExporter, receiver: str) -> None:
        self.counts = SpanCounts()
        self._exporter = exporter
        self._receiver = receiver
        self._waiting: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._exporting = threading.Lock()
        self._failing = False
        self._closed = False
        logging.getLogger(EXPORTER_LOG).setLevel(logging.CRITICAL)  # it would log every batch
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span. Only the event loop's thread calls this."""
        if len(self._waiting) >= WAITING_SPANS or self._closed:
            self.counts.dropped += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH_SPANS:
            self._wake.set()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send all waiting spans. This blocks."""
        self._export_all()
        return True

    def shutdown(self) -> None:
        """Send the waiting spans as long as the receiver takes them, and CLOSE_SECONDS at most. This blocks."""
        self._closed = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(PAUSE_SECONDS)
            self._wake.clear()
            self._export_all()
        self._export_all()

    def _export_all(self) -> None:
        with self._exporting:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH_SPANS, len(self._waiting)))]
                self._note(len(batch), sent=self._send(batch))
                if self._closed and self._failing:  # each further batch would delay the shutdown by its time-out
                    self.counts.failed += len(self._waiting)
                    self._waiting.clear()

    def _send(self, batch: list[ReadableSpan]) -> bool:
        try:
            return self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - whatever an exporter raises, the thread goes on
            return False

    def _note(self, spans: int, *, sent: bool) -> None:
        if sent:
            self.counts.sent += spans
        else:
            self.counts.failed += spans
        if self._failing == sent:
            self._failing = not sent
            if sent:
                log.warning("spans are sent to %s again; %d were lost", self._receiver, self.counts.failed)
            else:
                log.warning("spans cannot be sent to %s; they are lost until it takes them", self._receiver)
