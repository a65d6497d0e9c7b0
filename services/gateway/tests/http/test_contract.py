"""The gateway's HTTP contract as a table of requests and answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from llm_contract.testing import Script, ScriptedEngine
from llm_gateway.testing import RunningGateway

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]
LIMIT = 4096


@dataclass(frozen=True)
class Case:
    name: str
    json: dict[str, Any] | None = None
    data: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    path: str = COMPLETIONS
    method: str = "POST"
    status: int = 400
    code: str | None = "invalid_request"
    says: str = ""
    outcome: tuple[str, str] | None = ("standard", "engine_rejected")
    """Class and outcome that gateway_requests_total counts it under."""


UNCLASSIFIED = ("unclassified", "invalid_request")

CASES = [
    Case(
        "unknown model",
        {"model": "gpt-9", "prompt": "x"},
        status=404,
        code="model_not_found",
        says="`gpt-9`",
        outcome=("standard", "model_not_found"),
    ),
    Case(
        "unknown model, streamed",
        {"model": "gpt-9", "prompt": "x", "stream": True},
        status=404,
        code="model_not_found",
        outcome=("standard", "model_not_found"),
    ),
    Case(
        "unknown model in the list",
        path="/v1/models/a/b",
        method="GET",
        status=404,
        code="model_not_found",
        outcome=None,
    ),
    Case("empty prompt", {"prompt": ""}, says="empty"),
    Case("empty messages", {"messages": []}, path=CHAT, says="messages"),
    Case("no prompt", {}, says="prompt"),
    Case("prompt over the context", {"prompt": "x" * 60}, code="context_length_exceeded", says="maximum context"),
    Case("negative max_tokens", {"prompt": "x", "max_tokens": -1}, says="max_tokens"),
    Case("temperature out of range", {"prompt": "x", "temperature": 3}, says="temperature"),
    Case("malformed JSON", data=b'{"prompt": ', says="not valid JSON", outcome=UNCLASSIFIED),
    Case("no body", data=b"", says="not valid JSON", outcome=UNCLASSIFIED),
    Case("not an object", data=b"[1]", says="JSON object", outcome=UNCLASSIFIED),
    Case("not UTF-8", data=b'{"prompt": "\xff"}', says="not valid JSON", outcome=UNCLASSIFIED),
    Case("unknown class", {"prompt": "x"}, headers={"x-priority": "vip"}, says="batch", outcome=UNCLASSIFIED),
    Case("priority as a word", {"prompt": "x", "priority": "high"}, says="integer", outcome=UNCLASSIFIED),
    Case(
        "body over the limit",
        data=b"x" * (LIMIT + 1),
        status=413,
        code="body_too_large",
        says=str(LIMIT),
        outcome=("unclassified", "body_too_large"),
    ),
    Case("unknown field", {"prompt": "x", "flavour": "mint"}, status=200, outcome=("standard", "ok")),
    Case("unknown path", path="/v1/nothing", status=404, code="not_found", says="/v1/nothing", outcome=None),
    Case("wrong method", path=COMPLETIONS, method="GET", status=405, code="method_not_allowed", outcome=None),
    Case(
        "wrong method on health", path="/health", method="DELETE", status=405, code="method_not_allowed", outcome=None
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_each_case_and_the_gateway_goes_on_serving(case: Case, client: aiohttp.ClientSession) -> None:
    script = Script(max_model_len=60)
    async with ScriptedEngine(script) as engine, RunningGateway(engine.url, max_body_bytes=LIMIT) as gateway:
        url = gateway.url + case.path
        async with client.request(case.method, url, json=case.json, data=case.data, headers=case.headers) as response:
            body = await response.json()
            assert response.status == case.status
            assert response.headers["x-request-id"]
        if case.status >= 400:
            error = body["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["code"] == case.code
            assert case.says in error["message"]
        if case.outcome is not None:
            labels = dict(zip(("class", "outcome"), case.outcome, strict=True))
            assert gateway.sample("gateway_requests_total", **labels) == 1
        async with client.post(gateway.url + COMPLETIONS, json={"prompt": "x", "max_tokens": 1}) as response:
            assert response.status == 200
        assert gateway.in_flight == 0


async def test_a_10_mb_body_is_refused_at_the_default_limit_sent_whole_or_in_chunks(
    client: aiohttp.ClientSession,
) -> None:
    async def chunks() -> Any:
        for _ in range(11):
            yield b"x" * 1024 * 1024

    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        for data in (b"x" * (10 * 1024 * 1024 + 1), chunks()):
            async with client.post(gateway.url + COMPLETIONS, data=data, expect100=True) as response:
                assert response.status == 413
                assert (await response.json())["error"]["code"] == "body_too_large"
        assert engine.received == []


async def test_the_answer_goes_through_byte_for_byte(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        for path, prompt in ((COMPLETIONS, {"prompt": "hi"}), (CHAT, {"messages": MESSAGES})):
            for stream in (False, True):
                body = {**prompt, "stream": stream, "stream_options": {"include_usage": True}}
                async with client.post(engine.url + path, json=body) as direct:
                    expected = await direct.read()
                async with client.post(gateway.url + path, json=body) as response:
                    assert await response.read() == expected
                    assert response.headers["content-type"] == direct.headers["content-type"]
                    assert response.headers["x-engine"] == gateway.parts.pool.engines[0].name
                    assert float(response.headers["x-queue-wait-ms"]) >= 0


async def test_chunks_go_through_one_by_one(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.chunk_gate.close()
        asked = client.post(gateway.url + COMPLETIONS, json={"prompt": "x", "max_tokens": 3, "stream": True})
        for number in range(3):
            engine.chunk_gate.release()
            if number == 0:
                response = await asked
            assert f"w{number} ".encode() in await response.content.readuntil(b"\n\n")
        assert await response.read() == b"data: [DONE]\n\n"


async def test_the_engine_sees_the_callers_headers_and_body(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        raw = b'{ "prompt":"x",  "temperature": 0.50 }'
        headers = {"x-request-id": "r-1", "x-tenant": "blue", "authorization": "Bearer k", "cookie": "no=1"}
        async with client.post(gateway.url + COMPLETIONS, data=raw, headers=headers) as response:
            assert response.headers["x-request-id"] == "r-1"
        seen = engine.received[0]
        assert seen.raw == raw
        assert {name: seen.headers.get(name) for name in headers} == {**headers, "cookie": None}


@pytest.mark.parametrize(("takes_priority", "expected"), [(True, {"priority": 2}), (False, {})])
async def test_priority_reaches_only_engines_that_take_it(
    client: aiohttp.ClientSession, takes_priority: bool, expected: dict[str, int]
) -> None:
    async with ScriptedEngine() as engine:
        settings = {"url": engine.url, "takes_priority": takes_priority}
        async with RunningGateway(settings) as gateway:
            for body, headers in (({"prompt": "x", "priority": 7}, {}), ({"prompt": "x"}, {"x-priority": "batch"})):
                async with client.post(gateway.url + COMPLETIONS, json=body, headers=headers) as response:
                    assert response.status == 200
        assert [request.body for request in engine.received] == [{"prompt": "x", **expected}] * 2


async def test_what_needs_no_slot_is_passed_on_past_the_queue(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway({"url": engine.url, "max_in_flight": 1}) as gateway:
        engine.headers_gate.close()
        blocking = client.post(gateway.url + COMPLETIONS, json={"prompt": "x"})
        answer = asyncio.create_task(_status(blocking))
        await gateway.until(lambda one: one.in_flight == 1)
        async with client.get(gateway.url + "/v1/models") as response:
            assert (await response.json())["data"][0]["id"] == "scripted"
        async with client.post(gateway.url + "/tokenize", json={"prompt": "hi"}) as response:
            tokens = (await response.json())["tokens"]
        async with client.post(gateway.url + "/detokenize", json={"tokens": tokens}) as response:
            assert await response.json() == {"prompt": "hi"}
        engine.headers_gate.open()
        assert await answer == 200


async def test_health_ready_and_metrics(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url, "http://127.0.0.1:9") as gateway:
        async with client.get(gateway.url + "/health") as response:
            assert (response.status, await response.json()) == (200, {"status": "alive"})
        async with client.get(gateway.url + "/ready") as response:
            engines = (await response.json())["engines"]
            assert list(engines.values()) == ["up", "down: /health: connection refused"]
        async with client.post(gateway.url + COMPLETIONS, json={"prompt": "x"}) as response:
            assert response.status == 200
        async with client.get(gateway.url + "/metrics", headers={"accept": "application/openmetrics-text"}) as response:
            assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            lines = (await response.text()).splitlines()
        assert 'gateway_requests_total{class="standard",outcome="ok"} 1.0' in lines
        assert 'gateway_time_to_first_byte_seconds_count{class="standard"} 1.0' in lines
        assert 'gateway_queue_depth{class="batch"} 0.0' in lines
        assert 'gateway_engine_up{engine="127.0.0.1:9"} 0.0' in lines


async def _status(asked: Any) -> int:
    async with asked as response:
        return int(response.status)


async def test_a_path_cannot_write_a_line_of_the_log(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect() -> None:
        raise RuntimeError("a defect")

    async with RunningGateway("http://127.0.0.1:9") as gateway:
        monkeypatch.setattr(gateway.parts.models, "cards", defect)
        async with client.get(gateway.url + "/v1/models/x%0dERROR%20root%1b%5b31m") as response:
            assert response.status == 500
            assert "a defect" not in await response.text()
    (message,) = [record.getMessage() for record in caplog.records if record.exc_info]
    assert message == "GET '/v1/models/x\\rERROR root\\x1b[31m' failed"
