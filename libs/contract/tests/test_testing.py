"""The scripted engine itself: services' tests rely on its timing and its failures."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import aiohttp
import orjson
import pytest

from llm_contract import sse
from llm_contract.testing import Gate, Script, ScriptedEngine


async def complete(client: aiohttp.ClientSession, engine: ScriptedEngine, **body: Any) -> Any:
    async with client.post(f"{engine.url}/v1/completions", json={"prompt": "hi", **body}) as response:
        raw = await response.read()
        if response.content_type != "text/event-stream":
            return response.status, orjson.loads(raw)
        return [data if data == sse.DONE_DATA else orjson.loads(data) for data in sse.Decoder().feed(raw)]


@pytest.mark.parametrize(
    ("script", "tokens", "chunks"),
    [
        (Script(), 2, [(0.0, "w0 ", 1), (0.0, "w1 ", 1)]),
        (
            Script(ttft=0.25, gaps=(0.5, 0.125), tokens_per_chunk=(1, 3)),
            6,
            [(0.25, "w0 ", 1), (0.75, "w1 w2 w3 ", 3), (0.875, "w4 ", 1), (1.375, "w5 ", 1)],
        ),
    ],
)
def test_a_scripts_chunks(script: Script, tokens: int, chunks: list[tuple[float, str, int]]) -> None:
    assert list(script.chunks(tokens)) == chunks
    assert script.duration(tokens) == chunks[-1][0]


@pytest.mark.parametrize(
    "wrong", [{"ttft": -1.0}, {"prefill": -1.0}, {"gaps": ()}, {"gaps": (-0.1,)}, {"tokens_per_chunk": (0,)}]
)
def test_a_script_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Script(**wrong)


async def test_a_gate_parks_and_releases_in_order() -> None:
    gate, passed = Gate(), []

    async def walk(name: str) -> None:
        await gate.wait()
        passed.append(name)

    gate.close()
    tasks = [asyncio.create_task(walk(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert gate.parked == 3
    gate.release()
    await tasks[0]
    assert passed == ["a"]
    gate.open()
    await asyncio.gather(*tasks)
    assert passed == ["a", "b", "c"]


async def test_a_pass_left_over_is_kept_for_the_next() -> None:
    gate = Gate()
    gate.close()
    gate.release(1)
    await asyncio.wait_for(gate.wait(), 1)
    blocked = asyncio.create_task(gate.wait())
    await asyncio.sleep(0)
    assert gate.parked == 1
    blocked.cancel()


async def test_streamed_and_whole_answers_agree_and_are_counted() -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        status, whole = await complete(client, engine, max_tokens=3)
        events = await complete(client, engine, max_tokens=3, stream=True, stream_options={"include_usage": True})
        async with client.get(f"{engine.url}/metrics") as response:
            metrics = await response.text()
    assert (status, whole["choices"][0]["text"]) == (200, "w0 w1 w2 ")
    assert "".join(event["choices"][0]["text"] for event in events[:3]) == "w0 w1 w2 "
    assert events[3]["usage"] == whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert events[4] == sse.DONE_DATA
    assert 'vllm:generation_tokens_total{model_name="scripted",engine="0"} 6' in metrics


async def test_slots_are_taken_first_come_first_served() -> None:
    async with ScriptedEngine(Script(max_running=1)) as engine, aiohttp.ClientSession() as client:
        engine.headers_gate.close()
        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(complete(client, engine, user=str(number))))
            await engine.until(lambda number=number: len(engine.received) == number + 1)  # type: ignore[misc]
        assert len(engine.started) == len(engine.running) == 1
        engine.headers_gate.open()
        await asyncio.gather(*tasks)
        assert [request.body["user"] for request in engine.started] == ["0", "1", "2"]
        assert engine.running == []


async def test_a_client_that_hangs_up_is_recorded_and_frees_its_slot() -> None:
    async with ScriptedEngine(Script(max_running=1)) as engine, aiohttp.ClientSession() as client:
        engine.headers_gate.close()
        task = asyncio.create_task(complete(client, engine))
        await engine.until(lambda: engine.headers_gate.parked == 1)
        task.cancel()
        await engine.until(lambda: len(engine.aborted) == 1)
        engine.headers_gate.open()
        assert (await complete(client, engine))[0] == 200


async def test_dying_in_mid_stream_resets_the_connection() -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        engine.die_after_chunks = 1
        async with client.post(f"{engine.url}/v1/completions", json={"prompt": "hi", "stream": True}) as response:
            assert b"w0 " in await response.content.readuntil(b"\n\n")
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        assert engine.received[0].chunks_sent == 1


async def test_down_and_up_again_on_the_same_port() -> None:
    async with ScriptedEngine() as engine, aiohttp.ClientSession() as client:
        url = engine.url
        await engine.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await complete(client, engine)
        await engine.start()
        assert engine.url == url
        assert (await complete(client, engine))[0] == 200


async def test_a_scripted_answer_and_the_checks_of_a_real_engine() -> None:
    async with ScriptedEngine(Script(max_model_len=20)) as engine, aiohttp.ClientSession() as client:
        refused: list[tuple[dict[str, Any], tuple[int, str]]] = [
            ({"model": "other"}, (404, "model_not_found")),
            ({"prompt": ""}, (400, "invalid_request")),
            ({"prompt": "x" * 20}, (400, "context_length_exceeded")),
            ({"max_tokens": -1}, (400, "invalid_request")),
        ]
        for body, expected in refused:
            status, answer = await complete(client, engine, **body)
            assert (status, answer["error"]["code"]) == expected
        engine.answer = (418, {"error": "teapot"})
        assert await complete(client, engine) == (418, {"error": "teapot"})


async def test_as_a_process_it_prints_its_url_and_keeps_its_time() -> None:
    command = [sys.executable, "-m", "llm_contract.testing", "--ttft", "0.05", "--gaps", "0.1,0.02"]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=paths)
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        clock = asyncio.get_running_loop().time
        start = clock()
        async with aiohttp.ClientSession() as client:
            body = {"prompt": "hi", "max_tokens": 3, "stream": True}
            async with client.post(f"{url}/v1/completions", json=body) as response:
                at = []
                while await response.content.readuntil(b"\n\n") != sse.DONE:
                    at.append(clock() - start)
    finally:
        process.terminate()
        assert await process.wait() == 0
    assert len(at) == 3
    # Never early; how late depends on the machine's load.
    assert all(moment >= due - 0.001 for moment, due in zip(at, (0.05, 0.15, 0.17), strict=True))
