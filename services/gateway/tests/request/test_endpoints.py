"""Endpoints beyond chat and completions: through the queue, to the engines with the model, and back unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from llm_contract.testing import Gate, ScriptedEngine
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.testing import RunningGateway
from llm_proxy.request.endpoints import QUEUED, UNDERSTOOD

OTHERS = [path for path in QUEUED if path not in UNDERSTOOD]
JSON_PATHS = [path for path in OTHERS if not QUEUED[path].is_form]
FORM_PATHS = [path for path in OTHERS if QUEUED[path].is_form]
RESPONSES_EVENTS = (
    b'event: response.created\ndata: {"type":"response.created"}\n\n',
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n',
    b'event: response.completed\ndata: {"type":"response.completed","response":'
    b'{"usage":{"input_tokens":5,"output_tokens":2,"total_tokens":7}}}\n\n',
)


@dataclass
class Engine:
    """An engine that answers every path with one body and records its requests."""

    model: str = "m"
    answer: dict[str, Any] = field(default_factory=lambda: {"object": "list", "data": []})
    events: tuple[bytes, ...] = ()
    gate: Gate = field(default_factory=Gate)
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": self.model}]})
        if request.method != "POST":
            return web.Response(status=200 if request.path == "/health" else 404)
        raw = await request.read()
        self.received.append((request.path, {name.lower(): value for name, value in request.headers.items()}, raw))
        await self.gate.wait()
        if not self.events:
            return web.json_response(self.answer)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in self.events:
            await response.write(event)
        return response


@asynccontextmanager
async def serving(engine: Engine) -> AsyncIterator[Engine]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield engine
    finally:
        await runner.cleanup()


def speech(model: str | None, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", b"RIFF\x00\xff" * 100, filename="a.wav", content_type="audio/wav")
    for name, value in ({"model": model} if model else {}).items() | fields.items():
        form.add_field(name, value)
    return form


@pytest.mark.parametrize("path", JSON_PATHS)
async def test_a_json_body_and_its_answer_go_through_as_they_are(client: aiohttp.ClientSession, path: str) -> None:
    raw = b'{"model": "m", "input": ["a"], "dimensions": 9007199254740993, "documents": [], "max_tokens": 3}'
    async with serving(Engine()) as engine, RunningGateway(engine.url) as gateway:
        async with client.post(gateway.url + path, data=raw, headers={"x-priority": "batch"}) as response:
            assert (response.status, await response.json()) == (200, engine.answer)
            assert response.headers["x-priority"] == "batch"
            assert "x-queue-wait-ms" in response.headers
        ((received_at, headers, body),) = engine.received
        assert (received_at, body, headers["content-type"]) == (path, raw, "application/json")
        assert gateway.sample("gateway_requests_total", **{"class": "batch", "outcome": "ok"}) == 1
        assert gateway.in_flight == 0


@pytest.mark.parametrize("path", FORM_PATHS)
@pytest.mark.parametrize(("asked", "sent"), [("whisper", "whisper"), ("alias", "whisper"), (None, None)])
async def test_a_form_goes_to_an_engine_with_its_model(
    client: aiohttp.ClientSession, path: str, asked: str | None, sent: str | None
) -> None:
    async with (
        serving(Engine("whisper")) as engine,
        ScriptedEngine() as other,
        RunningGateway(
            engine.url, other.url, aliases={"alias": "whisper"}, balancing="least_loaded", max_attempts=2
        ) as gateway,
    ):
        if asked is None:
            await other.stop()
            await gateway.until(lambda running: not running.parts.pool.engines[1].up)
        async with client.post(gateway.url + path, data=speech(asked, language="de")) as response:
            assert (response.status, await response.json()) == (200, engine.answer)
        ((_, headers, body),) = engine.received
        assert headers["content-type"].startswith("multipart/form-data; boundary=")
        assert body.count(b"RIFF\x00\xff") == 100
        assert (b"\r\n\r\nwhisper\r\n" in body) is (sent is not None)
        assert int(headers["content-length"]) == len(body)


@pytest.mark.parametrize("path", FORM_PATHS)
async def test_a_form_for_an_engine_with_priorities_is_not_touched(client: aiohttp.ClientSession, path: str) -> None:
    async with (
        serving(Engine()) as engine,
        RunningGateway({"url": engine.url, "takes_priority": True}) as gateway,
        client.post(gateway.url + path, data=speech(None)) as response,
    ):
        assert response.status == 200
        assert engine.received[0][2].count(b"RIFF\x00\xff") == 100


@pytest.mark.parametrize("path", OTHERS)
async def test_they_wait_in_the_queue(client: aiohttp.ClientSession, path: str) -> None:
    def sent() -> dict[str, Any]:
        return {"data": speech("m")} if QUEUED[path].is_form else {"json": {"model": "m", "input": "x"}}

    async def ask() -> int:
        async with client.post(gateway.url + path, **sent()) as response:
            return response.status

    async with serving(Engine()) as engine, RunningGateway({"url": engine.url, "max_in_flight": 1}) as gateway:
        engine.gate.close()
        tasks = [asyncio.create_task(ask()) for _ in range(2)]
        await gateway.until(lambda running: running.waiting == 1 and len(engine.received) == 1)
        engine.gate.open()
        assert await asyncio.gather(*tasks) == [200, 200]


@pytest.mark.parametrize("path", OTHERS)
async def test_an_engine_without_the_endpoint_says_so_itself(client: aiohttp.ClientSession, path: str) -> None:
    body = {"data": speech(None)} if QUEUED[path].is_form else {"json": {"input": "x"}}
    async with (
        ScriptedEngine() as engine,
        RunningGateway(engine.url) as gateway,
        client.post(gateway.url + path, **body) as response,  # type: ignore[arg-type]
    ):
        assert response.status == 404
        assert (await response.json())["error"]["message"] == f"there is no {path}"


async def test_embeddings_teach_the_estimator_nothing_about_lengths(client: aiohttp.ClientSession) -> None:
    answer = {"data": [], "usage": {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}}
    async with serving(Engine(answer=answer)) as engine, RunningGateway(engine.url) as gateway:
        for _ in range(20):
            async with client.post(gateway.url + "/v1/embeddings", json={"input": "x"}) as response:
                assert response.status == 200
        outputs = gateway.parts.proxy._admission._outputs
        assert outputs.predict("standard", "", 100).mean == 100


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_a_stream_of_another_api_ends_where_its_answer_ends(client: aiohttp.ClientSession, path: str) -> None:
    body = {"model": "m", "input": "x", "stream": True}
    async with (
        serving(Engine(events=RESPONSES_EVENTS)) as engine,
        RunningGateway(engine.url) as gateway,
    ):
        async with client.post(gateway.url + path, json=body) as response:
            assert await response.read() == b"".join(RESPONSES_EVENTS)
        assert orjson.loads(engine.received[0][2]) == body
        assert gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": "ok"}) == 1


async def test_a_key_of_anthropics_clients_is_a_key(client: aiohttp.ClientSession) -> None:
    tenants = [{"name": "blue", "keys": [key_hash("k-blue")]}]
    async with serving(Engine()) as engine, RunningGateway(engine.url, tenants=tenants, require_keys=True) as gateway:
        for key, status in (("k-blue", 200), ("wrong", 401)):
            async with client.post(gateway.url + "/v1/messages", json={}, headers={"x-api-key": key}) as response:
                assert response.status == status
        assert "x-api-key" not in engine.received[0][1]
