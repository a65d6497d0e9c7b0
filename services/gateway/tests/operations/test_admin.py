from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from llm_contract.testing import ScriptedEngine
from llm_gateway.operations.admin import Admin
from llm_gateway.operations.reload import Reload
from llm_gateway.settings import AdminSettings
from llm_gateway.tenancy.keys import digest_of, key_hash
from llm_gateway.testing import RunningGateway
from llm_proxy.edge.connections import EdgeRunner, EdgeSettings

TENANTS = [{"name": "blue", "keys": [key_hash("k-blue")], "weight": 2, "rpm": 60, "most_urgent": "standard"}]

KEY = "k-admin"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}


@dataclass
class Api:
    """The admin API of a running gateway."""

    url: str
    client: aiohttp.ClientSession
    drained: list[bool] = field(default_factory=list)

    async def ask(self, method: str, path: str, *, headers: Any = AUTHORIZED, **options: Any) -> tuple[int, Any]:
        options["headers"] = headers
        async with self.client.request(method, f"{self.url}/admin/{path}", **options) as response:
            return response.status, await response.json()


@asynccontextmanager
async def admin_of(
    gateway: RunningGateway,
    client: aiohttp.ClientSession,
    *,
    hosts: tuple[str, ...] = (),
    reload: Reload | None = None,
    drain_timeout: float = 10.0,
) -> AsyncIterator[Api]:
    async def reloaded() -> Reload:
        return reload or Reload("unchanged")

    api = Api("", client)
    parts = gateway.parts
    admin = Admin(
        AdminSettings(port=0, hosts=hosts),
        digest_of(KEY),
        parts.pool,
        queue=parts.queue,
        classes=parts.classes,
        tenants=parts.tenants,
        usage=parts.usage,
        reload=reloaded,
        drain=lambda: api.drained.append(True),
        drain_timeout=drain_timeout,
    )
    runner = EdgeRunner(admin.app(), EdgeSettings(), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()


async def test_engines_are_listed_added_and_removed(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as two,
        RunningGateway({"url": one.url, "name": "a"}) as gateway,
    ):
        async with admin_of(gateway, client) as api:
            assert await api.ask("POST", "engines", json={"url": two.url, "name": "b", "max_in_flight": 3}) == (
                201,
                {"added": "b"},
            )
            await gateway.until(lambda _: all(engine.up for engine in gateway.parts.pool.engines))
            status, body = await api.ask("GET", "engines")
            assert (status, [engine["name"] for engine in body["engines"]]) == (200, ["a", "b"])
            assert body["engines"][1] == {
                "name": "b",
                "draining": False,
                "up": True,
                "reason": "",
                "in_flight": 0,
                "max_in_flight": 3,
            }
            assert await api.ask("DELETE", "engines/a") == (200, {"removed": "a"})
        async with client.post(f"{gateway.url}/v1/completions", json={"prompt": "x"}) as response:
            assert (response.status, response.headers["x-engine"]) == (200, "b")


async def test_an_engine_leaves_when_its_last_request_has_ended(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as one, ScriptedEngine() as two:
        engines = ({"url": one.url, "name": "a"}, {"url": two.url, "name": "b"})
        async with RunningGateway(*engines) as gateway, admin_of(gateway, client, drain_timeout=0.01) as api:
            one.headers_gate.close()
            two.headers_gate.close()
            asked = [asyncio.create_task(_status(client, gateway.url)) for _ in range(2)]
            await gateway.until(lambda one: one.in_flight == 2)
            assert await api.ask("DELETE", "engines/a") == (202, {"draining": "a"})
            _, body = await api.ask("GET", "engines")
            assert {engine["name"]: engine["draining"] for engine in body["engines"]} == {"b": False, "a": True}
            one.headers_gate.open()
            two.headers_gate.open()
            assert await asyncio.gather(*asked) == [200, 200]
            await gateway.until(lambda one: not one.parts.pool.draining)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "says"),
    [
        ("POST", "engines", {"url": "nowhere"}, 400, "invalid_request", "not a base URL"),
        ("POST", "engines", {}, 400, "invalid_request", "url: Field required"),
        ("POST", "engines", {"url": "http://x", "colour": 1}, 400, "invalid_request", "colour"),
        (
            "POST",
            "engines",
            {"url": "http://x", "api_key": "sk-secret"},
            400,
            "invalid_request",
            "only the configuration file",
        ),
        ("POST", "engines", {"url": "http://x", "api_key": "env:PATH"}, 400, "invalid_request", "api_key"),
        ("POST", "engines", {"url": "http://x", "api_key": "file:/etc/hostname"}, 400, "invalid_request", "api_key"),
        ("POST", "engines", {"url": "https://x", "ca_file": "/etc/passwd"}, 400, "invalid_request", "ca_file"),
        ("POST", "engines", {"url": "http://x", "api_key": None}, 400, "invalid_request", "api_key"),
        ("POST", "engines", {"url": "http://u:sk-secret@x"}, 400, "invalid_request", "a user or a password"),
        ("POST", "engines", {"url": "http://x\r\ny"}, 400, "invalid_request", "control characters"),
        ("POST", "engines", {"url": "http://x..y"}, 400, "invalid_request", "empty label"),
        ("POST", "engines", {"url": "http://x", "name": "a\nb"}, 400, "invalid_request", "name"),
        ("POST", "engines", {"url": 7}, 400, "invalid_request", "url"),
        ("POST", "engines", [], 400, "invalid_request", "must be a JSON object"),
        (
            "POST",
            "engines",
            {"url": "http://127.0.0.1:9", "name": "a"},
            409,
            "conflict",
            "an engine named a exists already",
        ),
        ("DELETE", "engines/zzz", None, 404, "not_found", "the engines are a"),
        ("DELETE", "engines/a", None, 409, "conflict", "the only engine"),
        ("GET", "nothing", None, 404, "not_found", "GET /admin/nothing"),
        ("PUT", "engines", None, 404, "not_found", "PUT /admin/engines"),
    ],
)
async def test_what_is_refused(
    client: aiohttp.ClientSession, method: str, path: str, body: Any, status: int, code: str, says: str
) -> None:
    async with RunningGateway({"url": "http://127.0.0.1:9", "name": "a"}) as gateway:
        async with admin_of(gateway, client) as api:
            found, answer = await api.ask(method, path, json=body)
        assert (found, answer["error"]["code"]) == (status, code)
        assert says in answer["error"]["message"]
        assert "sk-secret" not in answer["error"]["message"]
        assert [engine.name for engine in gateway.parts.pool.engines] == ["a"]


async def test_the_queue_by_class(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as engine,
        RunningGateway({"url": engine.url, "max_in_flight": 1}) as gateway,
        admin_of(gateway, client) as api,
    ):
        engine.headers_gate.close()
        asked = [asyncio.create_task(_status(client, gateway.url, "batch")) for _ in range(3)]
        await gateway.until(lambda one: one.waiting == 2)
        expected = {"waiting": 2, "by_class": {"interactive": 0, "standard": 0, "batch": 2}}
        assert await api.ask("GET", "queue") == (200, expected)
        engine.headers_gate.open()
        assert await asyncio.gather(*asked) == [200] * 3


async def test_tenants_without_their_keys(client: aiohttp.ClientSession) -> None:
    async with RunningGateway("http://127.0.0.1:9", tenants=TENANTS) as gateway, admin_of(gateway, client) as api:
        gateway.parts.usage.of("blue").prompt_tokens = 5
        gateway.parts.usage.of("other").requests = 1
        status, body = await api.ask("GET", "tenants")
    assert status == 200
    blue, other = body["tenants"]
    assert blue == {
        "name": "blue",
        "weight": 2.0,
        "rpm": 60,
        "tpm": None,
        "default_class": None,
        "most_urgent": "standard",
        "requests": 0,
        "prompt_tokens": 5,
        "output_tokens": 0,
        "limited_by_requests": 0,
        "limited_by_tokens": 0,
    }
    assert (other["name"], other["requests"]) == ("other", 1)
    assert "sha256" not in str(body)


@pytest.mark.parametrize(
    ("authorization", "status"), [(None, 401), ("Bearer wrong", 401), ("Bearer k-blue", 401), ("Bearer k-admin", 200)]
)
async def test_its_own_key(client: aiohttp.ClientSession, authorization: str | None, status: int) -> None:
    given = {"authorization": authorization} if authorization else {}
    async with (
        RunningGateway("http://127.0.0.1:9", tenants=TENANTS) as gateway,
        admin_of(gateway, client) as api,
    ):
        assert (await api.ask("GET", "queue", headers=given))[0] == status
        assert (await api.ask("GET", "nothing", headers=given))[0] == (404 if status == 200 else 401)


async def test_a_page_in_a_browser_is_refused(client: aiohttp.ClientSession) -> None:
    async with RunningGateway("http://127.0.0.1:9") as gateway, admin_of(gateway, client) as api:
        status, body = await api.ask("POST", "drain", headers={**AUTHORIZED, "origin": "http://evil.example"})
        assert (status, body["error"]["code"]) == (403, "forbidden")
        assert api.drained == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("[::1]", 200),
        ("LOCALHOST:1", 200),
        ("localhost", 200),
        ("10.0.0.7:8081", 200),
        ("gateway.internal:8081", 200),
        ("evil.example:8081", 403),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8081", 403),
        ("", 403),
    ],
)
async def test_a_host_that_is_not_ours_is_refused(client: aiohttp.ClientSession, host: str, status: int) -> None:
    async with (
        RunningGateway("http://127.0.0.1:9") as gateway,
        admin_of(gateway, client, hosts=("Gateway.internal",)) as api,
    ):
        found, _ = await api.ask("GET", "queue", headers={**AUTHORIZED, "host": host})
        assert found == status


async def test_drain_and_reload(client: aiohttp.ClientSession) -> None:
    applied = Reload("applied", ("tenants",))
    async with RunningGateway("http://127.0.0.1:9") as gateway, admin_of(gateway, client, reload=applied) as api:
        assert await api.ask("POST", "drain") == (202, {"draining": True})
        assert api.drained == [True]
        assert await api.ask("POST", "reload") == (200, {"result": "applied", "changed": ["tenants"]})


async def test_a_reload_that_is_refused_says_why(client: aiohttp.ClientSession) -> None:
    refused = Reload("refused", ("port",), "port: needs a restart to change")
    async with RunningGateway("http://127.0.0.1:9") as gateway, admin_of(gateway, client, reload=refused) as api:
        status, body = await api.ask("POST", "reload")
        assert (status, body["error"]["code"]) == (400, "invalid_request")
        assert "port: needs a restart" in body["error"]["message"]


async def _status(client: aiohttp.ClientSession, url: str, cls: str = "standard") -> int:
    async with client.post(f"{url}/v1/completions", json={"prompt": "x"}, headers={"x-priority": cls}) as response:
        return response.status
