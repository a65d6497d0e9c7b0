from dataclasses import replace
from typing import Any

import orjson
import pytest

from llm_bench.client.credentials import NO_CREDENTIALS, Credentials
from llm_bench.client.target import Target
from llm_bench.client.wire import encode_request
from llm_bench.workload.scenario import Api
from llm_bench.workload.schedule import PlannedRequest

PLANNED = PlannedRequest(index=0, scheduled_at=0.0, class_name="batch", prompt='say "é"', prompt_tokens=3, max_tokens=9)
TARGET = Target("http://host:8000/base", "host", 8000, False, "/base", "the-model")


TURN = replace(PLANNED, earlier=("question", "answer"), tenant="acme", session="s-1", model="adapter")


def split(
    api: Api, continuous_usage: bool = True, planned: PlannedRequest = PLANNED
) -> tuple[str, dict[str, str], dict[str, Any]]:
    head, body = encode_request(planned, TARGET, api, continuous_usage, credentials=NO_CREDENTIALS).split(
        b"\r\n\r\n", 1
    )
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers["content-length"]) == len(body)
    return first, headers, orjson.loads(body)


def test_a_completion_is_asked_to_stream_and_to_run_to_its_length() -> None:
    first, headers, body = split("completions")

    assert first == "POST /base/v1/completions HTTP/1.1"
    assert headers["host"] == "host:8000"
    assert headers["x-priority"] == "batch"
    assert body == {
        "model": "the-model",
        "prompt": 'say "é"',
        "max_tokens": 9,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }


@pytest.mark.parametrize("continuous_usage", [True, False])
def test_a_chat_has_one_message(continuous_usage: bool) -> None:
    first, _, body = split("chat", continuous_usage)

    assert first == "POST /base/v1/chat/completions HTTP/1.1"
    assert body["messages"] == [{"role": "user", "content": 'say "é"'}]
    assert "prompt" not in body
    assert ("continuous_usage_stats" in body["stream_options"]) is continuous_usage


def test_a_turn_says_all_that_was_said_and_who_asks() -> None:
    _, headers, body = split("chat", planned=TURN)

    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [message["content"] for message in body["messages"]] == ["question", "answer", 'say "é"']
    assert (headers["x-tenant"], headers["x-session-id"], body["model"]) == ("acme", "s-1", "adapter")
    assert split("completions", planned=TURN)[2]["prompt"] == 'questionanswersay "é"'


def test_headers_that_say_nothing_are_left_out() -> None:
    assert not {"x-tenant", "x-session-id", "authorization"} & set(split("completions")[1])


def test_a_key_goes_out_as_a_bearer_token_and_a_tenants_own_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "sk-ours")
    monkeypatch.setenv("ACME_KEY", "sk-acme")
    credentials = Credentials("OURS", {"acme": "ACME_KEY"})

    ours, acme = (encode_request(planned, TARGET, "chat", True, credentials=credentials) for planned in (PLANNED, TURN))

    assert b"\r\nauthorization: Bearer sk-ours\r\n" in ours
    assert b"\r\nauthorization: Bearer sk-acme\r\n" in acme
