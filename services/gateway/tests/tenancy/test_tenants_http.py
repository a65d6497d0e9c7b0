"""Keys, limits and class caps over HTTP."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.testing import RunningGateway

KEY = "sk-blue-secret"
BLUE = {"name": "blue", "keys": [key_hash(KEY)], "rpm": 2, "most_urgent": "standard"}
AUTHORIZED = {"authorization": f"Bearer {KEY}"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def ask(client: aiohttp.ClientSession, url: str, **headers: str) -> tuple[aiohttp.ClientResponse, Any]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(f"{url}/v1/completions", json={"prompt": "x"}, headers=sent) as response:
        return response, await response.json()


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Basic x"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/completions"), ("GET", "/v1/models"), ("POST", "/tokenize")]
)
async def test_without_a_key_nothing_reaches_an_engine(
    client: aiohttp.ClientSession, authorization: str, method: str, path: str
) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, tenants=[BLUE], require_keys=True) as gateway:
        headers = {"authorization": authorization, "x-tenant": "blue"}
        async with client.request(method, gateway.url + path, json={"prompt": "x"}, headers=headers) as response:
            assert response.status == 401
            assert (await response.json())["error"]["code"] == "invalid_api_key"
        assert engine.received == []
        for path in ("/health", "/ready"):
            async with client.get(gateway.url + path) as response:
                assert response.status == 200


async def test_a_limit_is_told_kept_and_over_after_the_time_it_tells(client: aiohttp.ClientSession) -> None:
    clock = Clock()
    async with (
        ScriptedEngine() as engine,
        RunningGateway(engine.url, tenants=[BLUE], require_keys=True, clock=clock) as gateway,
    ):
        for left in ("1", "0"):
            response, _ = await ask(client, gateway.url, **AUTHORIZED)
            assert (response.status, response.headers["x-ratelimit-remaining-requests"]) == (200, left)
        response, body = await ask(client, gateway.url, **AUTHORIZED)
        assert (response.status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert response.headers["retry-after"] == "30"
        assert response.headers["x-ratelimit-limit-requests"] == "2"
        assert gateway.sample("gateway_tenant_limited_total", tenant="blue", limit="requests") == 1
        clock.now += 30
        assert (await ask(client, gateway.url, **AUTHORIZED))[0].status == 200
        assert gateway.sample("gateway_tenant_requests_total", tenant="blue") == 3


async def test_a_cap_is_told_by_the_class_that_it_became(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, tenants=[BLUE]) as gateway:
        response, _ = await ask(client, gateway.url, x_priority="interactive", **AUTHORIZED)
        assert response.headers["x-priority"] == "standard"


async def test_a_key_goes_no_further(
    client: aiohttp.ClientSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "key"
    file.write_text("engine-secret\n")
    async with ScriptedEngine() as plain, ScriptedEngine() as keyed:
        engines = (plain.url, {"url": keyed.url, "api_key": f"file:{file}"})
        async with RunningGateway(*engines, tenants=[{**BLUE, "rpm": None}], balancing="least_loaded") as gateway:
            for _ in range(4):
                assert (await ask(client, gateway.url, **AUTHORIZED))[0].status == 200
            async with client.get(f"{gateway.url}/metrics") as response:
                assert KEY not in await response.text()
        assert {request.headers.get("authorization") for request in plain.received} == {None}
        assert {request.headers.get("authorization") for request in keyed.received} == {"Bearer engine-secret"}
    assert KEY not in caplog.text
    assert "engine-secret" not in caplog.text
