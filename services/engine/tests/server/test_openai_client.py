"""The official client works with this engine as it does with vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


MESSAGES: Any = [{"role": "system", "content": "You write Python."}, {"role": "user", "content": "def f(x):"}]


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_completion(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="tiny", prompt="def f(x):", max_tokens=12, temperature=0)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 12
    stream = client.completions.create(model="tiny", prompt="def f(x):", max_tokens=12, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_chat(client: openai.OpenAI) -> None:
    settings: Any = {"model": "tiny", "messages": MESSAGES, "max_completion_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(**settings)
    assert whole.choices[0].finish_reason == "length"
    stream = client.chat.completions.create(**settings, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage or chunks[-1].usage.completion_tokens == 12


def test_vllm_extras(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="tiny", prompt="a", max_tokens=5, extra_body={"top_k": 1, "ignore_eos": True, "priority": -3}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "other"}, openai.NotFoundError),
        ({"prompt": ""}, openai.BadRequestError),
        ({"n": 1000}, openai.BadRequestError),
    ],
)
def test_errors_are_the_clients_own(client: openai.OpenAI, change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        client.completions.create(**{"model": "tiny", "prompt": "a", **change})
    assert isinstance(caught.value, openai.APIStatusError)
    assert caught.value.body["message"]  # type: ignore[index]


async def test_the_async_client(server: Any) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=5, stream=True)
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "length"
