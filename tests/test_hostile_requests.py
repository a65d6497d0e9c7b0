"""Hostile requests against an engine, and against a gateway in front of it, while a well-behaved stream runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hostile import drive
from support import READY_TIMEOUT, any_port

from llm_lab import service
from llm_lab.service import Running

REQUESTS = 400


@pytest.fixture(params=["engine", "gateway"])
def url(
    request: pytest.FixtureRequest, start_engine: Callable[..., Running], start_gateway: Callable[..., Running]
) -> str:
    engine = start_engine("engine-0", any_port(), *drive.ENGINE_FLAGS)
    running = [engine]
    if request.param == "gateway":
        running.append(start_gateway(engine.url, probe_interval=0.2, max_in_flight=16))
    service.wait_until_ready(running, READY_TIMEOUT)
    return running[-1].url


def test_no_request_harms_the_server_or_another_stream(url: str) -> None:
    report = asyncio.run(drive.drive(url, drive.grammar_requests(REQUESTS, seed=1)))
    assert report.faults == []
    assert report.steady_streams > 0
    assert report.statuses[200] > REQUESTS // 10
    assert report.statuses[400] > REQUESTS // 10
