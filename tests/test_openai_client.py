"""The official `openai` client, against an engine and against the gateway in front of it."""

from __future__ import annotations

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from support import Stack


@pytest.fixture(params=["engine", "gateway"])
def client(request: pytest.FixtureRequest, shared_stack: Stack) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{shared_stack.url(request.param)}/v1", api_key="none", max_retries=0)


def test_whole_and_streamed_answers_agree(client: openai.OpenAI) -> None:
    prompt = "def main():"
    whole = client.completions.create(model="main", prompt=prompt, max_tokens=24, temperature=0)
    stream = client.completions.create(
        model="main",
        prompt=prompt,
        max_tokens=24,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text != ""
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 24
    assert whole.choices[0].finish_reason == "length"

    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Write a loop."}]
    chat = client.chat.completions.create(model="main", messages=messages, max_tokens=16, temperature=0)
    deltas = client.chat.completions.create(model="main", messages=messages, max_tokens=16, temperature=0, stream=True)
    text = "".join(choice.delta.content or "" for chunk in deltas for choice in chunk.choices)
    assert text == chat.choices[0].message.content != ""

    assert [model.id for model in client.models.list()] == ["main"]


def test_errors_arrive_as_the_clients_own_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody") as missing:
        client.completions.create(model="nobody", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as too_long:
        client.completions.create(model="main", prompt=[5] * 5000, max_tokens=1)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="main", prompt="x", temperature=3)
    assert client.completions.create(model="main", prompt="x", max_tokens=1).choices  # and it goes on serving
