"""The hot path: it counts, is bounded, and survives its database."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llm_gateway.metrics import GatewayMetrics
from llm_gateway.sla import store as sla_store
from llm_gateway.sla import tracker as sla_tracker
from llm_gateway.sla.settings import SlaSettings
from llm_gateway.sla.testing import NOW, record
from llm_gateway.sla.tracker import SlaTracker


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM requests").fetchone()[0])


@asynccontextmanager
async def tracking(path: str = "") -> AsyncIterator[tuple[SlaTracker, GatewayMetrics]]:
    metrics = GatewayMetrics()
    tracker = SlaTracker(SlaSettings(path=path), metrics, lambda: NOW)
    await tracker.start()
    try:
        yield tracker, metrics
    finally:
        await tracker.stop()


async def test_an_answer_holds_all_that_was_recorded_before_the_question() -> None:
    async with tracking() as (tracker, _):
        for expected in range(1, 20):
            tracker.record(record())
            assert await tracker.ask(count) == expected


async def test_a_full_batch_is_written_at_once_and_a_small_one_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sla_tracker, "FLUSH_SECONDS", 3600.0)
    written: list[int] = []
    flushed = asyncio.Event()

    async with tracking() as (tracker, _):
        loop, write = asyncio.get_running_loop(), tracker._store.write

        def watched(records: list[object]) -> None:
            write(records)  # type: ignore[arg-type]
            written.append(len(records))
            loop.call_soon_threadsafe(flushed.set)

        monkeypatch.setattr(tracker._store, "write", watched)
        for _ in range(sla_tracker.FLUSH_RECORDS):
            tracker.record(record())
        await asyncio.wait_for(flushed.wait(), 10)
        assert written == [sla_tracker.FLUSH_RECORDS]
    monkeypatch.setattr(sla_tracker, "FLUSH_SECONDS", 0.01)
    async with tracking() as (tracker, _):
        tracker.record(record())
        async with asyncio.timeout(30):
            while tracker._waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.002)


async def test_metrics_count_each_promise_and_each_way_it_was_broken() -> None:
    async with tracking() as (tracker, metrics):
        tracker.record(record())
        tracker.record(record(ttft=9.0, tpot=9.0))
        tracker.record(record(outcome="queue_full"))
        tracker.record(record(outcome="client_closed"))
        tracker.record(record(class_name="", outcome="internal"))

        def value(name: str, **labels: str) -> float:
            return metrics.value(name, labels)

        requests, violations = "gateway_sla_requests_total", "gateway_sla_violations_total"
        assert value(requests, **{"class": "interactive", "met": "yes"}) == 1
        assert value(requests, **{"class": "interactive", "met": "no"}) == 2
        assert value(requests, **{"class": "unclassified", "met": "no"}) == 1
        kinds = {kind: value(violations, **{"class": "interactive", "kind": kind}) for kind in sla_tracker.VIOLATIONS}
        assert kinds == {"ttft": 1, "tpot": 1, "deadline": 0, "failed": 0, "rejected": 1}


async def test_records_wait_for_a_locked_file_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sla_store, "BUSY_SECONDS", 0.01)
    async with tracking(str(tmp_path / "sla.db")) as (tracker, metrics):
        assert await tracker.ask(count) == 0
        other = sqlite3.connect(tmp_path / "sla.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            tracker.record(record())
            await tracker.flush()
        other.execute("ROLLBACK")
        assert await tracker.ask(count) == 3
        assert metrics.value("gateway_sla_dropped_total", {}) == 0
    levels = [entry.levelno for entry in caplog.records if entry.name == sla_tracker.__name__]
    assert levels == [logging.ERROR, logging.WARNING]


async def test_beyond_the_room_for_waiting_records_they_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sla_tracker, "WAITING_RECORDS", 10)
    async with tracking(str(tmp_path / "missing" / "sla.db")) as (tracker, metrics):
        for _ in range(4):
            for _ in range(6):
                tracker.record(record())
            await tracker.flush()
        assert len(tracker._waiting) == 10
        assert metrics.value("gateway_sla_dropped_total", {}) == 14
        (tmp_path / "missing").mkdir()
        assert await tracker.ask(count) == 10


async def test_a_batch_that_no_database_can_take_does_not_stop_the_ones_after_it() -> None:
    async with tracking() as (tracker, metrics):
        tracker.record(record(prompt_tokens=2**70))
        assert await tracker.ask(count) == 0
        assert metrics.value("gateway_sla_dropped_total", {}) == 1
        tracker.record(record())
        assert await tracker.ask(count) == 1


async def test_stop_writes_what_is_waiting_and_a_restart_finds_it(tmp_path: Path) -> None:
    path = str(tmp_path / "sla.db")
    for expected in (5, 10):
        async with tracking(path) as (tracker, _):
            for _ in range(5):
                tracker.record(record())
        async with tracking(path) as (tracker, _):
            assert await tracker.ask(count) == expected


async def test_a_question_that_is_given_up_loses_no_record() -> None:
    async with tracking() as (tracker, _):
        for _ in range(50):
            tracker.record(record())
            question = asyncio.create_task(tracker.ask(count))
            await asyncio.sleep(0)
            question.cancel()
        assert await tracker.ask(count) == 50
