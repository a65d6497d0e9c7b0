"""Access to names of tenants and addresses of engines, on every page, header and error."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.operations.monitoring import Monitoring
from llm_gateway.settings import GatewaySettings
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.testing import RunningGateway

KEYS = {"tenant": "k-tenant", "monitoring": "k-monitoring", "admin": "k-admin"}
TENANT = {"name": "secret-project", "keys": [key_hash(KEYS["tenant"])]}
CLOSED: dict[str, Any] = {
    "tenants": [TENANT],
    "monitoring": {"open": False, "key": key_hash(KEYS["monitoring"])},
    "admin": {"key": key_hash(KEYS["admin"])},
}
UNUSED = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("settings", "closed"),
    [
        ({}, False),
        ({"host": "::1"}, False),
        ({"require_keys": True}, True),
        ({"host": "0.0.0.0"}, True),
        ({"host": "0.0.0.0", "require_keys": False}, True),
        ({"host": "0.0.0.0", "monitoring": {"open": True}}, False),
        ({"monitoring": {"open": False}}, True),
        ({"require_keys": True, "monitoring": {"open": True}}, False),
    ],
)
def test_it_is_closed_where_others_can_reach_the_gateway(settings: dict[str, Any], closed: bool) -> None:
    found = GatewaySettings(engines=[UNUSED], tenants=[TENANT], **settings)
    required = found.require_keys is True or (found.require_keys == "auto" and found.host == "0.0.0.0")
    assert Monitoring(found, keys_required=required).closed is closed


@pytest.mark.parametrize("path", ["/metrics", "/sla", "/sla/report"])
@pytest.mark.parametrize(
    ("key", "status"), [(None, 401), ("wrong", 401), ("tenant", 401), ("monitoring", 200), ("admin", 200)]
)
async def test_a_page_that_names_tenants_needs_a_key_where_it_is_closed(
    client: aiohttp.ClientSession, path: str, key: str | None, status: int
) -> None:
    given = {} if key is None else {"authorization": f"Bearer {KEYS.get(key, key)}"}
    async with (
        RunningGateway(UNUSED, **CLOSED) as gateway,
        client.get(gateway.url + path, headers=given) as response,
    ):
        assert response.status == status
        assert "secret-project" not in await response.text() or status == 200


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("key", [None, "tenant", "monitoring", "admin"])
async def test_ready_says_more_to_those_with_a_key(client: aiohttp.ClientSession, key: str | None, up: bool) -> None:
    given = {} if key is None else {"authorization": f"Bearer {KEYS[key]}"}
    async with ScriptedEngine() as engine:
        name = f"127.0.0.1:{engine.port}" if up else "127.0.0.1:9"
        async with (
            RunningGateway(engine.url if up else UNUSED, **CLOSED) as gateway,
            client.get(f"{gateway.url}/ready", headers=given) as response,
        ):
            text = await response.text()
            assert response.status == (200 if up else 503)
    in_detail = key in ("monitoring", "admin")
    assert ((name if up else "engine-1") in text) is in_detail


async def test_a_closed_gateway_names_no_address_to_its_clients(client: aiohttp.ClientSession) -> None:
    """Check the body and headers of every answer, however the request ends."""
    seen: list[str] = []

    async def ask(path: str, method: str = "POST", **body: Any) -> None:
        async with client.request(method, gateway.url + path, json=body) as response:
            seen.append(f"{response.status} {response.headers} {await response.text()}")

    generate = "/v1/completions"
    async with (
        ScriptedEngine() as engine,
        RunningGateway(engine.url, UNUSED, monitoring={"open": False}, max_attempts=1) as gateway,
    ):
        await gateway.until(lambda running: running.parts.pool.any_up())
        await ask(generate, prompt="x")
        await ask(generate, prompt="x", stream=True)
        await ask("/tokenize", prompt="x")
        await ask("/nowhere")
        await ask("/ready", "GET")
        engine.chunk_gate.close()
        engine.chunk_gate.release(1)
        broken = asyncio.create_task(ask(generate, prompt="x", stream=True, seed=1))
        await engine.until(lambda: engine.chunk_gate.parked == 1)
        await engine.stop()
        await broken
        await ask(generate, prompt="x")
        await gateway.until(lambda running: not running.parts.pool.any_up())
        await ask(generate, prompt="x")
        await ask("/tokenize", prompt="x")
        await ask("/v1/models", "GET")
    assert {one[:3] for one in seen} >= {"200", "404", "503"}
    everything = "\n".join(seen).replace(gateway.url.removeprefix("http://"), "")
    assert "127.0.0.1" not in everything
    assert "engine-1" in everything


@pytest.mark.parametrize(("settings", "shown"), [({}, "address"), ({"monitoring": {"open": False}}, "engine-1")])
async def test_x_engine_is_a_name(client: aiohttp.ClientSession, settings: dict[str, Any], shown: str) -> None:
    async with ScriptedEngine() as engine:
        for given, name in (
            (engine.url, shown.replace("address", f"127.0.0.1:{engine.port}")),
            ({"url": engine.url, "name": "big"}, "big"),
        ):
            async with (
                RunningGateway(given, **settings) as gateway,
                client.post(f"{gateway.url}/v1/completions", json={"prompt": "x"}) as response,
            ):
                assert response.headers["x-engine"] == name
