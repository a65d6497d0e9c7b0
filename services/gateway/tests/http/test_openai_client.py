"""The official client against the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
async def api(engine: ScriptedEngine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        RunningGateway(engine.url) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


async def test_models(api: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in api.models.list()] == ["scripted"]


async def test_completion(api: openai.AsyncOpenAI) -> None:
    answer = await api.completions.create(model="scripted", prompt="hello", max_tokens=3)
    assert answer.choices[0].text == "w0 w1 w2 "
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 3)


async def test_streamed_completion(api: openai.AsyncOpenAI) -> None:
    chunks = await api.completions.create(model="scripted", prompt="hello", max_tokens=3, stream=True)
    assert [chunk.choices[0].text async for chunk in chunks] == ["w0 ", "w1 ", "w2 "]


async def test_chat(api: openai.AsyncOpenAI) -> None:
    answer = await api.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "hi"}], max_tokens=2, extra_body={"priority": 2}
    )
    assert answer.choices[0].message.content == "w0 w1 "


async def test_streamed_chat_with_usage(api: openai.AsyncOpenAI) -> None:
    chunks = await api.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=2,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"x-priority": "interactive"},
    )
    received = [chunk async for chunk in chunks]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in received if chunk.choices)
    assert text == "w0 w1 "
    assert received[-1].usage is not None
    assert received[-1].usage.total_tokens == 4


async def test_errors_are_the_clients_own_exceptions(api: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await api.completions.create(model="gpt-9", prompt="x")
    with pytest.raises(openai.BadRequestError, match="the classes are"):
        await api.completions.create(model="scripted", prompt="x", extra_headers={"x-priority": "vip"})
    engine.die_after_chunks = 1
    with pytest.raises(openai.APIError, match="engine failed in mid-stream"):
        async for _ in await api.completions.create(model="scripted", prompt="x", stream=True):
            pass
