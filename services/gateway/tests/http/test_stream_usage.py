"""Streams are counted whether or not the client requests usage, and the client sees usage only if it requested it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from llm_contract import sse
from llm_contract.testing import Received, ScriptedEngine
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.testing import RawAnswer, RunningGateway, raw_post

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
PROMPT = "word " * 100
OPTIONS: list[dict[str, Any]] = [
    {},
    {"stream_options": None},
    {"stream_options": {}},
    {"stream_options": {"include_usage": False}},
    {"stream_options": {"include_usage": False, "of_next_year": 1}},
    {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    {"stream_options": {"continuous_usage_stats": True}},
]


class Silent(ScriptedEngine):
    """An engine that never states usage."""

    async def _stream(self, request: web.Request, record: Received, job: Any, start: float) -> web.StreamResponse:
        return await super()._stream(request, record, replace(job, include_usage=False, continuous_usage=False), start)


class Refusing(ScriptedEngine):
    """An engine that refuses `stream_options`."""

    async def _respond(self, request: web.Request, record: Received) -> web.StreamResponse:
        if b"stream_options" in record.raw:
            error = {"message": "unknown field `stream_options`", "type": "invalid_request_error"}
            return web.json_response({"error": error}, status=400)
        return await super()._respond(request, record)


def asked(path: str, **more: Any) -> dict[str, Any]:
    prompt = {"messages": [{"role": "user", "content": PROMPT}]} if path == CHAT else {"prompt": PROMPT}
    return {"stream": True, "max_tokens": 4, **prompt, **more}


@pytest.mark.parametrize("path", [COMPLETION, CHAT])
@pytest.mark.parametrize("options", OPTIONS)
async def test_the_client_sees_what_the_engine_alone_would_have_sent(path: str, options: dict[str, Any]) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        direct = await raw_post(engine.url, path, asked(path, **options))
        through = await raw_post(gateway.url, path, asked(path, **options))
        assert (through.status, through.body) == (200, direct.body)
        assert through.body.endswith(sse.DONE)
        used = gateway.parts.usage.of("anonymous")
        assert used.output_tokens >= 4
        assert used.prompt_tokens > 50
        if options.get("stream_options", {}) and "continuous_usage_stats" in options["stream_options"]:
            assert engine.received[-1].raw == engine.received[0].raw
        else:
            assert (used.prompt_tokens, used.output_tokens) == (500, 4)


@pytest.mark.parametrize("odd", [[], "x", 1, True, {"include_usage": "maybe"}, {"include_usage": [1]}])
async def test_a_malformed_option_goes_to_the_engine_as_it_is(odd: Any) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        answer = await raw_post(gateway.url, COMPLETION, asked(COMPLETION, stream_options=odd))
        assert answer.status == 400
        assert engine.received[0].raw.endswith(b'"stream_options":' + _json(odd) + b"}")
        assert gateway.parts.usage.of("anonymous").prompt_tokens == 0


def _json(value: Any) -> bytes:
    return sse.encode(value)[6:-2]


@pytest.mark.parametrize("kind", [Silent, Refusing])
async def test_without_usage_the_estimate_counts(kind: type[ScriptedEngine]) -> None:
    async with kind() as engine, RunningGateway(engine.url) as gateway:
        for _ in range(3):
            answer = await raw_post(gateway.url, COMPLETION, asked(COMPLETION))
            assert (answer.status, answer.body.count(b"data: {")) == (200, 4)
            assert answer.body.endswith(sse.DONE)
        used = gateway.parts.usage.of("anonymous")
        assert used.output_tokens == 3 * 4
        assert used.prompt_tokens == pytest.approx(3 * 140, abs=60)
        assert gateway.parts.pool.engines[0].reports_usage is (kind is Silent)
        assert len(engine.received) == (3 if kind is Silent else 4), "a refusal costs one more request, once"
        assert gateway.sample("gateway_requests_total", **{"class": "standard", "outcome": "ok"}) == 3


LIMITED = {"name": "anonymous-limited", "keys": [key_hash("sk-x")], "tpm": 2000}
KINDS: list[type[ScriptedEngine]] = [ScriptedEngine, Silent, Refusing]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_token_limit_binds_on_streams(kind: type[ScriptedEngine], *, hangs_up: bool) -> None:
    """Send 30 prompts of about 1,000 tokens: a limit of 2,000 per minute admits about two, without usage requests."""
    body = {"prompt": "word " * 1000, "stream": True, "max_tokens": 4}
    async with kind() as engine, RunningGateway(engine.url, tenants=[LIMITED], clock=lambda: 1000.0) as gateway:
        engine.script = engine.script.__class__(max_model_len=10**6)
        statuses = []
        async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-x"}) as client:
            for _ in range(30):
                async with client.post(gateway.url + COMPLETION, json=body) as response:
                    statuses.append(response.status)
                    if not hangs_up:
                        await response.read()
                await gateway.until(lambda it: it.in_flight == 0 and not it.parts.proxy._ledger._settling)
        assert 1 <= statuses.count(200) <= 2, statuses
        assert statuses.count(429) == 30 - statuses.count(200)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_before_the_first_byte_has_used_its_prompt(*, stream: bool) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.headers_gate.close()
        body = {"prompt": PROMPT, "stream": stream}
        async with aiohttp.ClientSession() as client:
            task = asyncio.create_task(client.post(gateway.url + COMPLETION, json=body))
            await engine.until(lambda: len(engine.received) == 1)
            task.cancel()
            await gateway.until(lambda it: it.in_flight == 0)
        used = gateway.parts.usage.of("anonymous")
        await gateway.until(lambda _: used.prompt_tokens > 0)
        assert used.prompt_tokens == pytest.approx(135, abs=30)
        assert used.output_tokens == 0


@pytest.mark.parametrize("usage", [None, "missing", {}, {"prompt_tokens": "5", "completion_tokens": 2}, 2**63, True])
async def test_a_whole_answer_without_sensible_usage_is_estimated(usage: Any) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        body: dict[str, Any] = {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}], "usage": usage}
        if usage == "missing":
            del body["usage"]
        engine.answer = (200, body)
        answer: RawAnswer = await raw_post(gateway.url, COMPLETION, {"prompt": PROMPT, "max_tokens": 4})
        assert answer.status == 200
        used = gateway.parts.usage.of("anonymous")
        assert used.output_tokens == 4
        assert used.prompt_tokens == pytest.approx(135, abs=30)


async def test_estimates_teach_the_estimator_nothing() -> None:
    async with Silent() as engine, RunningGateway(engine.url) as gateway:
        prompts = gateway.parts.proxy._ledger._prompts
        before = prompts.predict(10_000)
        for _ in range(5):
            await raw_post(gateway.url, COMPLETION, asked(COMPLETION))
        assert prompts.predict(10_000) == before
