"""Engines that are down, die, or misbehave: the client's view, and the recovery of the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from llm_contract import sse
from llm_contract.testing import Script, ScriptedEngine, full_backlog
from llm_gateway.testing import RunningGateway


async def post(client: aiohttp.ClientSession, gateway: RunningGateway, **body: Any) -> tuple[int, dict[str, Any]]:
    async with client.post(gateway.url + "/v1/completions", json={"prompt": "x", **body}) as response:
        return response.status, {**await response.json(), "headers": response.headers}


async def stream(client: aiohttp.ClientSession, gateway: RunningGateway, **body: Any) -> list[Any]:
    """Return the data of every event of a stream, which must be well formed to its end."""
    async with client.post(gateway.url + "/v1/completions", json={"prompt": "x", "stream": True, **body}) as response:
        assert response.status == 200
        raw = await response.read()
    assert raw.endswith(b"\n\n")
    return [data if data == sse.DONE_DATA else orjson.loads(data) for data in sse.Decoder().feed(raw)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_back_end_down_is_503_with_a_reason_and_then_it_recovers(
    client: aiohttp.ClientSession, streamed: bool
) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        assert (await post(client, gateway))[0] == 200
        await engine.stop()
        status, body = await post(client, gateway, stream=streamed)
        assert status == 503
        assert body["error"]["code"] == "engine_unavailable"
        assert f"{engine.host}:{engine.port}: connection refused" in body["error"]["message"]
        assert int(body["headers"]["retry-after"]) >= 1
        async with client.get(gateway.url + "/ready") as response:
            assert response.status == 503
        await engine.start()
        await gateway.until(lambda one: one.parts.pool.any_up())
        assert (await post(client, gateway))[0] == 200
        async with client.get(gateway.url + "/ready") as response:
            assert response.status == 200


async def test_a_gateway_that_starts_before_its_engine(client: aiohttp.ClientSession) -> None:
    engine = ScriptedEngine()
    await engine.start()
    await engine.stop()
    async with RunningGateway(engine.url) as gateway:
        assert (await post(client, gateway))[0] == 503
        await engine.start()
        await gateway.until(lambda one: one.parts.pool.any_up())
        assert (await post(client, gateway))[0] == 200
        await engine.stop()


async def test_one_of_two_engines_down_costs_no_request(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as other,
        RunningGateway(one.url, other.url, probe_interval=60.0) as gateway,
    ):
        await one.stop()
        answers = await asyncio.gather(*(post(client, gateway) for _ in range(10)))
        assert [status for status, _ in answers] == [200] * 10
        assert gateway.sample("gateway_engine_up", engine=f"127.0.0.1:{one.port}") == 0
        assert gateway.sample("gateway_engine_failures_total", engine=f"127.0.0.1:{one.port}", phase="connect") >= 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_engine_that_dies_before_the_first_byte_is_retried_elsewhere(
    client: aiohttp.ClientSession, streamed: bool
) -> None:
    async with (
        ScriptedEngine() as bad,
        ScriptedEngine() as good,
        RunningGateway(bad.url, good.url, max_attempts=2) as gateway,
    ):
        bad.die_after_chunks = 0
        assert await asyncio.gather(*(ask(client, gateway, streamed) for _ in range(6))) == [200] * 6
        assert len(good.received) == 6
        assert bad.received
        assert gateway.in_flight == 0
        retries = gateway.sample("gateway_reattempts_total", **{"class": "standard", "reason": "retry"})
        assert retries == len(bad.received)


async def ask(client: aiohttp.ClientSession, gateway: RunningGateway, streamed: bool) -> int:
    async with client.post(gateway.url + "/v1/completions", json={"prompt": "x", "stream": streamed}) as response:
        await response.read()
        return response.status


async def test_an_engine_that_always_dies_is_502_after_the_allowed_attempts(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, max_attempts=2) as gateway:
        engine.die_after_chunks = 0
        status, body = await post(client, gateway)
        assert (status, body["error"]["code"]) == (502, "engine_failed")
        assert body["error"]["message"].count("the engine disconnected") == 2
        assert len(engine.received) == 2
        engine.die_after_chunks = None
        assert (await post(client, gateway))[0] == 200


async def test_dying_in_mid_stream_is_an_error_event_and_no_hang(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, resume=False) as gateway:
        engine.die_after_chunks = 2
        events = await asyncio.wait_for(stream(client, gateway), 5.0)
        assert [event["choices"][0]["text"] for event in events[:2]] == ["w0 ", "w1 "]
        assert len(events) == 3
        error = events[2]["error"]
        assert (error["code"], error["type"]) == ("engine_failed", "server_error")
        assert "the engine disconnected" in error["message"]
        assert gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": "engine_failed"}) == 1
        assert gateway.in_flight == 0
        engine.die_after_chunks = None
        assert (await stream(client, gateway))[-1] == sse.DONE_DATA


async def test_stopping_the_engine_in_mid_stream_is_the_same(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.chunk_gate.close()
        engine.chunk_gate.release(1)
        task = asyncio.create_task(stream(client, gateway))
        await engine.until(lambda: engine.chunk_gate.parked == 1)
        await engine.stop()
        events = await asyncio.wait_for(task, 30.0)
        assert events[-1]["error"]["code"] == "engine_failed"
        assert gateway.in_flight == 0


async def test_a_stream_that_ends_without_done_is_an_error_event(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.omit_done = True
        events = await stream(client, gateway)
        assert "ended before it was complete" in events[-1]["error"]["message"]


async def test_a_silent_engine_is_given_up(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, engine_silence_timeout=0.05) as gateway:
        engine.headers_gate.close()
        status, body = await post(client, gateway)
        assert (status, body["error"]["code"]) == (502, "engine_failed")
        assert "no answer in time" in body["error"]["message"]
        await engine.until(lambda: len(engine.aborted) == 1)
        assert len(engine.received) == 1, "a second try would double the load of an engine that is merely slow"


async def test_an_engine_that_does_not_speak_http_is_502(client: aiohttp.ClientSession) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" if b"/health" in head else b"SSH-2.0-x\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, RunningGateway(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as gateway:
        status, body = await post(client, gateway)
        assert (status, body["error"]["code"]) == (502, "engine_failed")
        assert "not a valid HTTP response" in body["error"]["message"]


async def test_an_engines_own_error_goes_through(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.answer = (500, {"error": {"message": "boom", "type": "server_error", "param": None, "code": "x"}})
        status, body = await post(client, gateway)
        assert (status, body["error"]["message"]) == (500, "boom")
        assert gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": "engine_failed"}) == 1


async def test_an_engine_too_busy_to_accept_connections_stays_up(client: aiohttp.ClientSession) -> None:
    """Its queue of connections is full, and open connections still get their tokens."""
    slow = {"probe_interval": 60.0, "signals_interval": 60.0, "connect_timeout": 0.5, "max_attempts": 1}
    async with ScriptedEngine(Script(gaps=(0.01,))) as engine, RunningGateway(engine.url, **slow) as gateway:
        running = asyncio.create_task(stream(client, gateway, max_tokens=300))
        await engine.until(lambda: len(engine.running) == 1)
        with full_backlog() as accepting:
            answers = await asyncio.gather(*(post(client, gateway, max_tokens=1) for _ in range(8)))
            assert sum("no connection within 0.5 s" in str(body) for _, body in answers) >= 5
            assert gateway.parts.pool.any_up()
            accepting.set()
            assert (await post(client, gateway, max_tokens=1))[0] == 200
        assert (await running)[-1] == sse.DONE_DATA


async def test_requests_that_wait_when_the_last_engine_dies_are_told(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway({"url": engine.url, "max_in_flight": 1}) as gateway:
        engine.headers_gate.close()
        tasks = [asyncio.create_task(post(client, gateway)) for _ in range(5)]
        await gateway.until(lambda one: one.waiting == 4)
        await engine.stop()
        answers = await asyncio.wait_for(asyncio.gather(*tasks), 5.0)
        assert {status for status, _ in answers} == {503}
        assert gateway.waiting == gateway.in_flight == 0
