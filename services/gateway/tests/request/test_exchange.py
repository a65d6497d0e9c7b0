from __future__ import annotations

import pytest
from multidict import CIMultiDict

from llm_gateway.engines import EnginePool
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.request.exchange import Exchange
from llm_gateway.tenancy.tenants import Tenant


def test_an_engine_gets_the_headers_that_concern_it_and_no_others() -> None:
    ours = {"Authorization": "Bearer ours", "X-Tenant": "t", "X-Priority": "interactive"}
    received = CIMultiDict({**ours, "Cookie": "c", "Host": "h", "traceparent": "p"})
    engine = EnginePool([EngineSettings(url="http://e")]).engines[0]
    exchange = Exchange(request_id="id", arrived=0.0, tenant=Tenant("decided", "decided"), class_name="batch")
    assert exchange.engine_headers(received, engine) == {
        "x-tenant": "decided",
        "x-priority": "batch",
        "traceparent": "p",
        "x-request-id": "id",
        "content-type": "application/json",
    }


def test_an_engine_gets_its_own_key_or_else_what_the_client_sent_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "theirs")
    plain, guarded = EnginePool(
        [EngineSettings(url="http://e"), EngineSettings(url="http://g", api_key="env:ENGINE_KEY")]
    ).engines
    exchange = Exchange(request_id="id", arrived=0.0, authorization="Bearer clients")
    assert exchange.engine_headers({}, plain)["authorization"] == "Bearer clients"
    assert exchange.engine_headers({}, guarded)["authorization"] == "Bearer theirs"


def test_the_response_tells_the_wait_in_milliseconds() -> None:
    exchange = Exchange(request_id="id", arrived=0.0, queue_wait=0.0123, shown_engine="e0")
    assert exchange.response_headers() == {"x-request-id": "id", "x-queue-wait-ms": "12.3", "x-engine": "e0"}
    assert Exchange(request_id="id", arrived=0.0).response_headers() == {"x-request-id": "id"}
