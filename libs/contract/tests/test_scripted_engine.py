"""The scripted engine's capacity, its answers to continued prompts and its ways to fail, each seen from a client."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from llm_contract import sse
from llm_contract.testing import Script, ScriptedEngine
from llm_contract.testing.script import tokenize

WITH_USAGE = {"include_usage": True, "continuous_usage_stats": True}


async def ask(client: aiohttp.ClientSession, engine: ScriptedEngine, **body: Any) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    async with client.post(f"{engine.url}/v1/completions", json={"prompt": "hi", **body}) as response:
        return response.status, response.headers.get("content-type", ""), await response.read()


async def metric(client: aiohttp.ClientSession, engine: ScriptedEngine, name: str) -> float:
    async with client.get(f"{engine.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    (line,) = (line for line in lines if line.startswith(f"vllm:{name}{{"))
    return float(line.rsplit(" ", 1)[1])


CONTINUED = "xw0 w1 w2 "
CHAT = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "w0 w1 w2 "}]
GO_ON = {"add_generation_prompt": False, "continue_final_message": True}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", {"prompt": CONTINUED}),
        ("completions", {"prompt": tokenize(CONTINUED)}),
        ("completions", {"prompt": [CONTINUED]}),
        ("chat/completions", {"messages": CHAT, **GO_ON}),
    ],
)
async def test_an_answer_goes_on_after_the_words_at_the_prompts_end(
    path: str, body: dict[str, Any], stream: bool
) -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        asked = {"max_tokens": 2, "stream": stream, "stream_options": {"include_usage": True}, **body}
        async with client.post(f"{engine.url}/v1/{path}", json=asked) as response:
            raw = await response.read()
        async with client.post(f"{engine.url}/tokenize", json={"prompt": CONTINUED}) as response:
            count = (await response.json())["count"]
    events = [orjson.loads(data) for data in list(sse.Decoder().feed(raw))[:-1]] if stream else [orjson.loads(raw)]
    choices = [choice for event in events for choice in event["choices"]]
    texts = [choice.get("text") or choice.get("delta", choice.get("message", {})).get("content") for choice in choices]
    assert "".join(text or "" for text in texts) == "w3 w4 "
    assert events[-1]["usage"] == {"prompt_tokens": count, "completion_tokens": 2, "total_tokens": count + 2}
    assert count == 4


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", {"prompt": "w0 w1"}),
        ("completions", {"prompt": "w0 w1 and"}),
        ("completions", {"prompt": [97, 98]}),
        ("chat/completions", {"messages": CHAT}),
        ("chat/completions", {"messages": [*CHAT, {"role": "user", "content": "on"}]}),
    ],
)
async def test_every_other_answer_begins_at_the_first_word(path: str, body: dict[str, Any]) -> None:
    async with (
        ScriptedEngine() as engine,
        aiohttp.ClientSession() as client,
        client.post(f"{engine.url}/v1/{path}", json={"max_tokens": 2, **body}) as response,
    ):
        assert b'"w0 w1 "' in await response.read()


async def test_a_chat_cannot_both_continue_and_begin_a_message() -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        asked = {"messages": CHAT, "continue_final_message": True}
        async with client.post(f"{engine.url}/v1/chat/completions", json=asked) as response:
            assert (response.status, (await response.json())["error"]["param"]) == (400, "continue_final_message")


async def test_the_prefix_cache_finds_whole_blocks_of_earlier_prompts() -> None:
    async with ScriptedEngine(Script(prefix_blocks=4)) as engine, aiohttp.ClientSession() as client:
        for prompt, hits in (("a" * 32, 0), ("a" * 32, 16), ("a" * 33, 48), ("b" + "a" * 32, 48), ("c" * 64, 48)):
            await ask(client, engine, prompt=prompt, max_tokens=1)
            assert await metric(client, engine, "prefix_cache_hits_total") == hits
        await ask(client, engine, prompt="a" * 33, max_tokens=1)
        assert await metric(client, engine, "prefix_cache_hits_total") == 48, "the four blocks of c's replaced a's"
        assert await metric(client, engine, "prefix_cache_queries_total") == 32 + 32 + 33 + 33 + 64 + 33


async def test_requests_wait_for_kv_and_the_metrics_say_so() -> None:
    async with ScriptedEngine(Script(kv_tokens=32)) as engine, aiohttp.ClientSession() as client:
        engine.headers_gate.close()
        tasks = [asyncio.create_task(ask(client, engine, max_tokens=14)) for _ in range(3)]
        await engine.until(lambda: len(engine.received) == 3 and len(engine.started) == 2)
        assert await metric(client, engine, "num_requests_running") == 2
        assert await metric(client, engine, "num_requests_waiting") == 1
        assert await metric(client, engine, "kv_cache_usage_perc") == 1.0
        async with client.get(f"{engine.url}/metrics") as response:
            assert 'block_size="16",num_gpu_blocks="2"' in await response.text()
        engine.headers_gate.release(1)
        await engine.until(lambda: len(engine.started) == 3)
        engine.headers_gate.open()
        assert [status for status, _, _ in await asyncio.gather(*tasks)] == [200] * 3
        assert await metric(client, engine, "kv_cache_usage_perc") == 0.0
        assert await metric(client, engine, "generation_tokens_total") == 42
        assert (await ask(client, engine, max_tokens=31))[0] == 400


async def test_priority_scheduling_takes_the_smallest_number_first() -> None:
    script = Script(max_running=1, scheduling="priority")
    async with ScriptedEngine(script) as engine, aiohttp.ClientSession() as client:
        engine.headers_gate.close()
        tasks = []
        for number, priority in enumerate((0, 5, 1, 1, -3)):
            tasks.append(asyncio.create_task(ask(client, engine, priority=priority, user=str(number))))
            await engine.until(lambda number=number: len(engine.received) == number + 1)  # type: ignore[misc]
        engine.headers_gate.open()
        await asyncio.gather(*tasks)
        assert [request.body["user"] for request in engine.started] == ["0", "4", "2", "3", "1"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stalled_answer_stops_until_it_is_let_go(stream: bool) -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        engine.stall_after_chunks = 2 if stream else 0
        task = asyncio.create_task(ask(client, engine, stream=stream, max_tokens=4))
        await engine.until(lambda: engine.stall_gate.parked == 1)
        assert await metric(client, engine, "generation_tokens_total") == (2 if stream else 0)
        async with client.get(f"{engine.url}/health") as response:
            assert response.status == 200
        engine.stall_gate.open()
        assert b"w3 " in (await task)[2]


async def test_continuous_usage_is_in_every_chunk() -> None:
    async with ScriptedEngine(Script(tokens_per_chunk=(2,))) as engine, aiohttp.ClientSession() as client:
        _, _, raw = await ask(client, engine, stream=True, max_tokens=3, stream_options=WITH_USAGE)
    *events, done = sse.Decoder().feed(raw)
    assert [orjson.loads(event)["usage"]["completion_tokens"] for event in events] == [2, 3, 3]
    assert done == sse.DONE_DATA


async def test_answers_for_one_request_each_then_the_script() -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        engine.answers += [(503, {"error": "busy"}), (429, {"error": "slow down"})]
        assert [(await ask(client, engine))[0] for _ in range(3)] == [503, 429, 200]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_wrong_content_type(stream: bool) -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        engine.content_type = "text/html"
        status, content_type, raw = await ask(client, engine, stream=stream)
    assert (status, content_type) == (200, "text/html")
    assert b"w0 " in raw


async def test_raw_bytes_come_piece_by_piece_slow_headers_then_malformed_events() -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        engine.raw_answer = (b"HTTP/1.1 200 OK\r\ncontent-", b"type: text/event-stream\r\n\r\n", b"data: {\n\ndata")
        engine.chunk_gate.close()
        task = asyncio.create_task(ask(client, engine, stream=True))
        await engine.until(lambda: engine.chunk_gate.parked == 1)
        engine.chunk_gate.release(2)
        await engine.until(lambda: engine.chunk_gate.parked == 1)
        assert not task.done()
        engine.chunk_gate.open()
        assert await task == (200, "text/event-stream", b"data: {\n\ndata")


async def test_what_is_no_http() -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        engine.raw_answer = (b"SSH-2.0-OpenSSH_9.2\r\n",)
        with pytest.raises(aiohttp.ClientError):
            await ask(client, engine)


@pytest.mark.parametrize(
    ("path", "body"),
    [("tokenize", b"{}"), ("tokenize", b"{"), ("detokenize", b'{"tokens":[255]}'), ("detokenize", b"[]")],
)
async def test_tokenising_refuses_what_it_cannot_read(path: str, body: bytes) -> None:
    async with (
        ScriptedEngine() as engine,
        aiohttp.ClientSession() as client,
        client.post(f"{engine.url}/{path}", data=body) as response,
    ):
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "invalid_request"
