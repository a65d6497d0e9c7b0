"""Flags of the server: its key, its path behind a proxy, and defaults of every request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from llm_contract import sse
from llm_engine import Engine, EngineConfig
from llm_engine.metrics import EngineMetrics
from llm_engine.server.app import build_app
from llm_engine.settings import ServerConfig

KEY = "a key with ü"
ASKED = {"prompt": "def f(", "max_tokens": 3, "temperature": 0}
TALK = {"messages": [{"role": "user", "content": "add"}], "max_tokens": 3, "temperature": 0}


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[TestClient]:
    options = ServerConfig(
        api_key=KEY, root_path="/llm", enable_force_include_usage=True, return_tokens_as_token_ids=True
    )
    engine = Engine(EngineConfig(str(models / "zoo" / "llama"), num_gpu_blocks_override=256))
    with TestClient(build_app(engine, EngineMetrics("tiny"), "tiny", options)) as connected:
        yield connected


def headers(key: str = KEY, scheme: str = "Bearer") -> dict[str, bytes]:
    return {"authorization": f"{scheme} {key}".encode()}


@pytest.mark.parametrize(
    ("method", "path", "given", "status"),
    [
        ("POST", "/v1/completions", headers(), 200),
        ("POST", "/v1/completions", headers(scheme="bearer"), 200),
        ("POST", "/llm/v1/completions", headers(), 200),
        ("POST", "/v1/completions", {}, 401),
        ("POST", "/llm/v1/completions", {}, 401),
        ("POST", "/v1/completions", headers("another"), 401),
        ("POST", "/v1/completions", headers(""), 401),
        ("POST", "/v1/completions", headers(scheme="Basic"), 401),
        ("POST", "/v1/completions", {"authorization": KEY.encode()}, 401),
        ("GET", "/v1/models", {}, 401),
        ("GET", "/v1/nothing", {}, 401),
        ("GET", "/health", {}, 200),
        ("GET", "/llm/health", {}, 200),
        ("GET", "/metrics", {}, 200),
        ("POST", "/tokenize", {}, 200),
    ],
)
def test_what_is_below_v1_needs_the_key(
    client: TestClient, method: str, path: str, given: dict[str, bytes], status: int
) -> None:
    answer = client.request(method, path, json=ASKED if method == "POST" else None, headers=given)
    assert answer.status_code == status, answer.text
    if status == 401:
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["x-request-id"]


def events(client: TestClient, path: str, body: dict[str, Any]) -> list[Any]:
    response = client.post(path, json=body | {"stream": True}, headers=headers())
    *data, last = sse.Decoder().feed(response.content)
    assert last == sse.DONE_DATA
    return [json.loads(item) for item in data]


@pytest.mark.parametrize("options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}])
def test_every_event_of_a_stream_has_the_usage(client: TestClient, options: dict[str, Any]) -> None:
    *chunks, last = events(client, "/v1/completions", ASKED | options)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == chunks[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(("asked", "as_ids"), [(None, True), (True, True), (False, False)])
def test_log_probabilities_name_ids_unless_a_request_says_otherwise(
    client: TestClient, asked: bool | None, as_ids: bool
) -> None:
    body = ASKED | {"logprobs": 1, "return_tokens_as_token_ids": asked}
    answer = client.post("/v1/completions", json=body, headers=headers()).json()
    names = answer["choices"][0]["logprobs"]["tokens"]
    assert [name.startswith("token_id:") for name in names] == [as_ids] * 3


def test_running_usage_counts_the_tokens_so_far(client: TestClient) -> None:
    """Check that the event with the role has none of the answer's tokens."""
    first, *chunks, last = events(client, "/v1/chat/completions", TALK)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["usage"]["completion_tokens"] == 0
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == last["usage"]["completion_tokens"] == 3
