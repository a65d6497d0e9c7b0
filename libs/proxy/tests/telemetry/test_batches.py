"""A receiver of spans that is down, slow or refuses: no request waits, all spans are counted, the log has one line."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from llm_proxy.telemetry import batches
from llm_proxy.telemetry.batches import Batches


class Receiver(SpanExporter):
    """Takes spans when its gate is open, and says whether it took them."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.works = True
        self.raises = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        assert self.gate.wait(30)
        if self.raises:
            raise ConnectionError("refused")
        return SpanExportResult.SUCCESS if self.works else SpanExportResult.FAILURE


def finish_spans(waiting: Batches, count: int) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(waiting)
    tracer = provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("phase").end()


def counted(waiting: Batches) -> tuple[int, int, int]:
    return waiting.counts.sent, waiting.counts.failed, waiting.counts.dropped


def test_spans_are_sent_before_the_end() -> None:
    waiting = Batches(Receiver(), "http://collector/v1/traces")
    finish_spans(waiting, 700)
    waiting.shutdown()
    assert counted(waiting) == (700, 0, 0)


@pytest.mark.parametrize("raises", [True, False])
def test_an_outage_is_two_lines_in_the_log(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    receiver.works, receiver.raises = False, raises
    waiting = Batches(receiver, "http://collector/v1/traces")
    with caplog.at_level(logging.WARNING, batches.__name__):
        for _ in range(3):
            finish_spans(waiting, 2)
            waiting.force_flush()
        receiver.works, receiver.raises = True, False
        for _ in range(2):
            finish_spans(waiting, 2)
            waiting.force_flush()
    waiting.shutdown()
    assert counted(waiting) == (4, 6, 0)
    assert caplog.messages == [
        "spans cannot be sent to http://collector/v1/traces; they are lost until it takes them",
        "spans are sent to http://collector/v1/traces again; 6 were lost",
    ]


def test_a_slow_receiver_holds_up_no_request_and_costs_the_newest_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WAITING_SPANS", 10)
    receiver = Receiver()
    receiver.gate.clear()
    waiting = Batches(receiver, "http://collector/v1/traces")
    finish_spans(waiting, 1)
    assert receiver.entered.wait(30), "the first span is on its way, and stuck"
    finish_spans(waiting, 25)
    assert waiting.counts.dropped == 15
    receiver.gate.set()
    waiting.shutdown()
    assert counted(waiting) == (11, 0, 15)


def test_a_receiver_that_is_stuck_delays_the_end_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CLOSE_SECONDS", 0.05)
    receiver = Receiver()
    receiver.gate.clear()
    waiting = Batches(receiver, "http://collector/v1/traces")
    finish_spans(waiting, 1)
    begun = time.monotonic()
    waiting.shutdown()
    assert time.monotonic() - begun < 20
    receiver.gate.set()
