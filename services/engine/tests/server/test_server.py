"""The HTTP API on a real socket: shapes, events, bad input. Every refusal is followed by a request that succeeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from llm_contract import openai, sse

PROMPT = "def fibonacci(n):"


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=30) as connected:
        yield connected


def complete(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    return client.post("/v1/completions", json={"model": "tiny", "prompt": PROMPT, "temperature": 0, **fields})


def events(response: httpx2.Response) -> list[Any]:
    """The JSON of each event; the stream must end in [DONE]."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == sse.CONTENT_TYPE
    data = list(sse.Decoder().feed(response.content))
    assert data.pop() == sse.DONE_DATA
    return [json.loads(item) for item in data]


def test_a_completion(client: httpx2.Client, server: Any) -> None:
    answer = openai.Completion.model_validate(complete(client, max_tokens=7).json())
    assert answer.model == "tiny"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(server.engine.tokenizer.encode(PROMPT))
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (7, answer.usage.prompt_tokens + 7)


def test_a_stream_says_what_the_whole_says(client: httpx2.Client) -> None:
    whole = complete(client, max_tokens=20).json()
    chunks = events(complete(client, max_tokens=20, stream=True))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    for chunk in chunks:
        openai.Completion.model_validate(chunk)
    assert all(chunk["choices"][0]["text"] for chunk in chunks[:-1]), "every chunk carries new text"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_usage_comes_last_and_only_if_asked_for(client: httpx2.Client) -> None:
    *chunks, last = events(complete(client, max_tokens=5, stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5
    assert all("usage" not in chunk for chunk in chunks)
    options = {"include_usage": True, "continuous_usage_stats": True}
    running = events(complete(client, max_tokens=5, stream=True, stream_options=options))
    assert running[-1]["usage"]["completion_tokens"] == 5


def test_a_repeated_prompt_reports_cached_tokens(client: httpx2.Client) -> None:
    prompt = "import collections\n" * 20
    usages = [complete(client, prompt=prompt, max_tokens=1).json()["usage"] for _ in range(2)]
    assert usages[0]["prompt_tokens_details"]["cached_tokens"] == 0
    assert usages[1]["prompt_tokens_details"]["cached_tokens"] >= usages[1]["prompt_tokens"] - 16


def test_prompts_as_tokens_and_as_lists(client: httpx2.Client) -> None:
    ids = client.post("/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    text = complete(client).json()["choices"][0]["text"]
    assert complete(client, prompt=ids).json()["choices"][0]["text"] == text
    for many in ([PROMPT, "import"], [ids, [5]]):
        answer = complete(client, prompt=many).json()
        assert [choice["index"] for choice in answer["choices"]] == [0, 1]
        assert answer["choices"][0]["text"] == text
    chunks = events(complete(client, prompt=[PROMPT, "import"], stream=True))
    assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"][0]["index"] == 0) == text


def test_stop_strings(client: httpx2.Client) -> None:
    text = complete(client, max_tokens=20).json()["choices"][0]["text"]
    stop = text[5:8]
    answer = complete(client, max_tokens=20, stop=[stop]).json()
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (text[: text.index(stop)], "stop", stop)


def test_a_seed_repeats_the_answer(client: httpx2.Client) -> None:
    answers = [
        complete(client, temperature=1, seed=seed, max_tokens=16).json()["choices"][0]["text"] for seed in (1, 1, 2)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_a_chat(client: httpx2.Client) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 6, "temperature": 0}
    answer = openai.ChatCompletion.model_validate(client.post("/v1/chat/completions", json=body).json())
    assert answer.choices[0].message.role == "assistant"
    first, *chunks = events(client.post("/v1/chat/completions", json={**body, "stream": True}))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    for chunk in chunks:
        openai.ChatCompletionChunk.model_validate(chunk)
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == answer.choices[0].message.content
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_a_chat_without_max_tokens_goes_up_to_the_context(start_server: Callable[..., Any]) -> None:
    server = start_server(num_gpu_blocks_override=64, max_model_len=64)
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "ignore_eos": True}
    usage = httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=30).json()["usage"]
    assert usage["total_tokens"] == 64


def test_tokens_there_and_back(client: httpx2.Client) -> None:
    tokenized = client.post("/tokenize", json={"prompt": PROMPT}).json()
    assert tokenized["count"] == len(tokenized["tokens"])
    assert tokenized["max_model_len"] == 2048
    assert client.post("/detokenize", json={"tokens": tokenized["tokens"]}).json() == {"prompt": PROMPT}


def test_models_health_ready_and_version(client: httpx2.Client) -> None:
    assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["tiny"]
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200
    assert client.get("/version").json()["version"]


def test_the_request_id_is_the_clients_or_a_new_one(client: httpx2.Client) -> None:
    given = client.post("/v1/completions", json={"prompt": "a"}, headers={"x-request-id": "abc"})
    assert given.headers["x-request-id"] == "abc"
    assert given.json()["id"] == "cmpl-abc"
    new = [client.get(path).headers["x-request-id"] for path in ("/health", "/nowhere")]
    assert len(set(new)) == 2


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": "gpt-9"}, 404, "model_not_found", "model"),
        ({"prompt": ""}, 400, "invalid_request", "prompt"),
        ({"prompt": []}, 400, "invalid_request", "prompt"),
        ({"prompt": ["a", ""]}, 400, "invalid_request", "prompt"),
        ({"prompt": [10**7]}, 400, "invalid_request", "prompt"),
        ({"prompt": None}, 400, "invalid_request", "prompt"),
        ({"prompt": [5] * 2048}, 400, "context_length_exceeded", "prompt"),
        ({"logprobs": 21, "echo": True}, 400, "invalid_request", "logprobs"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            400,
            "invalid_request",
            "response_format",
        ),
        ({"stream_options": {"include_usage": True}}, 400, "invalid_request", "stream_options"),
        ({"seed": 2**63}, 400, "invalid_request", "seed"),
        ({"truncate_prompt_tokens": 2049}, 400, "invalid_request", "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": 0}, 400, "invalid_request", "prompt"),
        ({"max_tokens": 5000}, 400, "context_length_exceeded", "max_tokens"),
        ({"max_tokens": -1}, 400, "invalid_request", "max_tokens"),
        ({"max_tokens": 0}, 400, "invalid_request", "max_tokens"),
        ({"max_tokens": "many"}, 400, "invalid_request", "max_tokens"),
        ({"temperature": 2.5}, 400, "invalid_request", "temperature"),
        ({"temperature": -1}, 400, "invalid_request", "temperature"),
        ({"top_p": 0}, 400, "invalid_request", "top_p"),
        ({"min_tokens": 20, "max_tokens": 3}, 400, "invalid_request", "min_tokens"),
        ({"stop": [""]}, 400, "invalid_request", "stop"),
        ({"n": 0}, 400, "invalid_request", "n"),
        ({"n": 129}, 400, "invalid_request", "n"),
        ({"best_of": 2}, 400, "invalid_request", "best_of"),
        ({"suffix": "x"}, 400, "invalid_request", "suffix"),
        ({"logprobs": 21}, 400, "invalid_request", "logprobs"),
        ({"logprobs": True}, 400, "invalid_request", "logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, 400, "invalid_request", "prompt_logprobs"),
        ({"prompt_logprobs": -1}, 400, "invalid_request", "prompt_logprobs"),
        ({"presence_penalty": 2.5}, 400, "invalid_request", "presence_penalty"),
        ({"repetition_penalty": 0}, 400, "invalid_request", "repetition_penalty"),
        ({"logit_bias": {"5000000": 1}}, 400, "invalid_request", "logit_bias"),
        ({"logit_bias": {"five": 1}}, 400, "invalid_request", "logit_bias"),
        ({"allowed_token_ids": []}, 400, "invalid_request", "allowed_token_ids"),
        ({"structured_outputs": {"regex": "(a"}}, 400, "invalid_request", "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, 400, "invalid_request", "structured_outputs"),
        ({"structured_outputs": {"choice": []}}, 400, "invalid_request", "structured_outputs"),
        ({"response_format": {"type": "json_schema"}}, 400, "invalid_request", "response_format"),
        ({"response_format": {"type": "yaml"}}, 400, "invalid_request", "response_format"),
    ],
)
def test_bad_requests_get_the_error_object(
    client: httpx2.Client, change: dict[str, Any], status: int, code: str, param: str
) -> None:
    response = complete(client, **change)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["message"]
    assert complete(client, max_tokens=1).status_code == 200


def test_a_token_out_of_vocabulary_is_named_with_the_vocabulary_s_size(client: httpx2.Client) -> None:
    """As vLLM's own tests ask, which run in tests/vllm_entrypoints."""
    for change in ({"logit_bias": {"4097": 1}}, {"allowed_token_ids": [4097]}, {"stop_token_ids": [4097]}):
        message = complete(client, **change).json()["error"]["message"]
        assert "4097" in message
        assert "4096" in message


def test_a_long_prompt_is_told_both_numbers(client: httpx2.Client) -> None:
    message = complete(client, prompt=[5] * 3000).json()["error"]["message"]
    assert "2048" in message
    assert "3000" in message


@pytest.mark.parametrize(
    "change",
    [
        {"logprobs": None, "echo": False, "best_of": 1, "n": 1, "presence_penalty": 0.0, "logit_bias": {}},
        {"response_format": {"type": "text"}},
        {"nobody_knows_this": {"a": 1}, "user": "u"},
        {"top_k": -1, "top_p": None, "temperature": None, "max_tokens": None, "prompt": [5] * 2040},
    ],
)
def test_harmless_and_unknown_fields_are_accepted(client: httpx2.Client, change: dict[str, Any]) -> None:
    assert complete(client, **change).status_code == 200


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"null", b'{"prompt": "\xff"}'])
def test_malformed_json(client: httpx2.Client, body: bytes) -> None:
    for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
        response = client.post(path, content=body)
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_body_of_ten_megabytes(client: httpx2.Client) -> None:
    response = complete(client, prompt="a" * 10_000_000)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"
    assert complete(client).status_code == 200


@pytest.mark.parametrize(
    ("messages", "code"),
    [([], "invalid_request"), ([{"content": "no role"}], "invalid_request"), ("hi", "invalid_request")],
)
def test_bad_messages(client: httpx2.Client, messages: Any, code: str) -> None:
    response = client.post("/v1/chat/completions", json={"messages": messages})
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


def test_images_are_refused(client: httpx2.Client) -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:"}}]
    response = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
    assert response.status_code == 400
    assert "image_url" in response.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405)])
def test_unknown_paths_and_methods(client: httpx2.Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_tokens_nobody_has(client: httpx2.Client) -> None:
    for tokens in ([-1], [10**9]):
        assert client.post("/detokenize", json={"tokens": tokens}).status_code == 400


def test_a_draining_server_refuses_new_work(start_server: Callable[..., Any]) -> None:
    server = start_server(num_gpu_blocks_override=256)
    server.app.state.draining = True
    response = httpx2.post(f"{server.url}/v1/completions", json={"prompt": "a"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
    assert response.headers["retry-after"] == "1"
    assert httpx2.get(f"{server.url}/ready").status_code == 503
    assert httpx2.get(f"{server.url}/health").status_code == 200


def test_an_engine_that_dies_ends_the_stream_with_an_error_event(start_server: Callable[..., Any]) -> None:
    server = start_server(num_gpu_blocks_override=256)
    real, steps = server.engine.step, iter(range(100))

    def fail_at_the_fifth() -> Any:
        if next(steps) == 4:
            raise ZeroDivisionError("boom")
        return real()

    server.engine.step = fail_at_the_fifth
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        *_, last = events(complete(client, stream=True, max_tokens=100))
        assert last["error"]["code"] == "engine_failed"
        assert client.get("/health").status_code == 503
        response = complete(client)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
