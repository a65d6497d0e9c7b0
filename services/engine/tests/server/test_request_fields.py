"""Every field of a request is honoured, refused by name, or ignored because it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from llm_engine.server.app import build_app
from llm_engine.server.reading.request_fields import IGNORED, REFUSED
from llm_engine.server.reading.requests import EngineChatRequest, EngineCompletionRequest, TokenizeChatRequest
from llm_engine.settings import ServerConfig

END = "<|endoftext|>"
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "def f("}]
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}
PATHS = ("/v1/completions", "/v1/chat/completions")


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=30) as connected:
        yield connected


def ask(client: httpx2.Client, path: str = PATHS[0], **fields: Any) -> httpx2.Response:
    subject = {"prompt": "def f("} if path == PATHS[0] else {"messages": TALK[:1]}
    return client.post(path, json={"temperature": 0, "max_tokens": 4, **subject, **fields})


def complete(client: httpx2.Client, **fields: Any) -> Any:
    response = ask(client, **fields)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]


def chat(client: httpx2.Client, **fields: Any) -> Any:
    response = ask(client, PATHS[1], **fields)
    assert response.status_code == 200, response.text
    return response.json()


def test_no_field_has_two_fates() -> None:
    models = (EngineCompletionRequest, EngineChatRequest, TokenizeChatRequest)
    supported = {field for model in models for field in model.model_fields}
    assert supported & (REFUSED.keys() | IGNORED.keys()) == set()
    assert REFUSED.keys() & IGNORED.keys() == set()


@pytest.mark.parametrize("path", PATHS)
def test_what_is_refused_is_named(client: httpx2.Client, path: str) -> None:
    for name, harmless in REFUSED.items():
        error = ask(client, path, **{name: ["something"]}).json()["error"]
        assert (error["param"], name in error["message"]) == (name, True)
        for value in (*harmless, None):
            assert ask(client, path, **{name: value}).status_code == 200, (name, value)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_ignored_changes_nothing(client: httpx2.Client, path: str) -> None:
    def answer(response: httpx2.Response) -> Any:
        return response.json()["choices"]

    ignored = dict.fromkeys(IGNORED, "x") | {"nobody_knows_this": {"a": 1}, "user": "u"}
    assert answer(ask(client, path, **ignored)) == answer(ask(client, path))


@pytest.mark.parametrize("path", PATHS)
def test_a_null_is_a_field_left_out(client: httpx2.Client, path: str) -> None:
    model = EngineCompletionRequest if path == PATHS[0] else EngineChatRequest
    nulls = dict.fromkeys(model.model_fields.keys() - {"prompt", "messages", "max_tokens", "temperature"})
    assert ask(client, path, **nulls).json()["choices"] == ask(client, path).json()["choices"]


@pytest.mark.parametrize(
    ("path", "change", "param"),
    [
        (PATHS[1], {"messages": [{"role": "user", "content": "é " * 2000}]}, "messages"),
        (PATHS[1], {"max_completion_tokens": 9999}, "max_completion_tokens"),
        (PATHS[1], {"max_completion_tokens": 0}, "max_completion_tokens"),
        (PATHS[1], {"max_tokens": 9999}, "max_tokens"),
        (PATHS[1], {"logprobs": True, "top_logprobs": 99}, "top_logprobs"),
        (PATHS[1], {"top_logprobs": 2}, "top_logprobs"),
        (PATHS[1], {"response_format": {"type": "json_schema"}}, "response_format"),
        (PATHS[1], {"structured_outputs": {"regex": "("}}, "structured_outputs"),
        (PATHS[1], {"chat_template": "{{ 1 }}"}, "chat_template"),
        (PATHS[1], {"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        (PATHS[1], {"tools": []}, "tools"),
        (PATHS[1], {"tools": [{"type": "function"}]}, "tools"),
        (PATHS[1], {"tools": [TOOL]}, "tools"),
        (PATHS[1], {"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
        (PATHS[1], {"tool_choice": "required"}, "tool_choice"),
        (PATHS[1], {"reasoning_effort": "huge"}, "reasoning_effort"),
        (PATHS[1], {"continue_final_message": True}, "continue_final_message"),
        (PATHS[0], {"max_tokens": 0}, "max_tokens"),
        (PATHS[0], {"logprobs": 99}, "logprobs"),
        (PATHS[0], {"logprobs": 99, "echo": True}, "logprobs"),
        (PATHS[0], {"prompt_logprobs": 99}, "prompt_logprobs"),
        (PATHS[0], {"stream_options": {"include_usage": True}}, "stream_options"),
        (PATHS[0], {"truncation_side": "top"}, "truncation_side"),
    ],
)
def test_errors_name_the_field_that_was_sent(
    client: httpx2.Client, path: str, change: dict[str, Any], param: str
) -> None:
    response = ask(client, path, **change)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_context_that_is_too_short_is_said_in_openais_words(client: httpx2.Client) -> None:
    for change in ({"prompt": [5] * 3000}, {"prompt": [5] * 2048}, {"max_tokens": 2049}):
        error = ask(client, **change).json()["error"]
        assert error["message"].startswith("This model's maximum context length is 2048 tokens. However, ")
        assert error["code"] == "context_length_exceeded"


def test_output_ends_where_the_context_ends(client: httpx2.Client) -> None:
    response = ask(client, prompt=[5] * 2040, max_tokens=100, ignore_eos=True).json()
    assert (response["usage"]["total_tokens"], response["choices"][0]["finish_reason"]) == (2048, "length")


def test_a_prompt_is_truncated(client: httpx2.Client) -> None:
    def prompt(**fields: Any) -> list[int]:
        ids: list[int] = complete(client, return_token_ids=True, max_tokens=1, **fields)["prompt_token_ids"]
        return ids

    assert prompt(prompt=[1, 2, 3, 4], truncate_prompt_tokens=2) == [3, 4]
    assert prompt(prompt=[1, 2, 3, 4], truncate_prompt_tokens=2, truncation_side="right") == [1, 2]
    assert prompt(prompt=[1, 2], truncate_prompt_tokens=5) == [1, 2]
    assert prompt(prompt=[7] * 3000, truncate_prompt_tokens=-1) == [7] * 2047
    assert complete(client, prompt="abc def", truncate_prompt_tokens=1, echo=True)["text"].startswith(" def")
    assert chat(client, truncate_prompt_tokens=3)["usage"]["prompt_tokens"] == 3


def test_special_tokens_are_shown_if_asked_for(client: httpx2.Client) -> None:
    fields: dict[str, Any] = {"allowed_token_ids": [0], "ignore_eos": True, "max_tokens": 2}
    assert complete(client, **fields)["text"] == ""
    assert complete(client, **fields, skip_special_tokens=False)["text"] == END * 2


def test_a_prompt_is_scored_without_an_answer(client: httpx2.Client) -> None:
    for stream in (False, True):
        response = ask(client, echo=True, logprobs=1, max_tokens=0, stream=stream, return_token_ids=True)
        assert response.status_code == 200
        if stream:
            assert '"text":"def f("' in response.text.replace(": ", ":")
            continue
        (choice,) = response.json()["choices"]
        assert (choice["text"], choice["token_ids"], choice["finish_reason"]) == ("def f(", [], "length")
        assert "".join(choice["logprobs"]["tokens"]) == "def f("
        assert choice["logprobs"]["token_logprobs"][0] is None
        assert all(logprob <= 0 for logprob in choice["logprobs"]["token_logprobs"][1:])


def test_the_request_id_of_the_body_and_of_the_header(client: httpx2.Client) -> None:
    assert ask(client, request_id="mine").json()["id"] == "cmpl-mine"
    given = client.post(PATHS[0], json={"prompt": "a", "request_id": "mine"}, headers={"x-request-id": "header"})
    assert given.json()["id"] == "cmpl-header"


def test_a_chat_that_repeats_its_last_message(client: httpx2.Client) -> None:
    going: dict[str, Any] = {"messages": TALK, "add_generation_prompt": False, "continue_final_message": True}
    text = chat(client, **going)["choices"][0]["message"]["content"]
    assert chat(client, **going, echo=True)["choices"][0]["message"]["content"] == "def f(" + text
    assert chat(client, echo=True)["choices"] == chat(client)["choices"]
    assert chat(client, echo=True)["prompt_logprobs"][0] is None
    streamed = ask(client, PATHS[1], **going, echo=True, stream=True).text
    assert streamed.index('"role":"assistant"') < streamed.index('"content":"def f("')


def test_what_a_chat_was_rendered_to(client: httpx2.Client) -> None:
    assert chat(client)["prompt_text"] is None
    assert chat(client, return_prompt_text=True)["prompt_text"] == "user: hi\nassistant:"
    assert '"prompt_text":"user: hi\\nassistant:"' in ask(client, PATHS[1], return_prompt_text=True, stream=True).text


SHOW = "{{ tools | length if tools else 0 }} {{ documents | length if documents else 0 }} {{ x }} {{ enable_thinking }}"


def test_what_a_template_gets_from_the_request(start_server: Callable[..., Any]) -> None:
    server = start_server(num_gpu_blocks_override=128)
    server.engine.tokenizer.chat_templates._sources = {"default": SHOW, "other": "other"}
    with httpx2.Client(base_url=server.url, timeout=30) as client:

        def text(**fields: Any) -> str:
            shown: str = chat(client, return_prompt_text=True, max_tokens=1, **fields)["prompt_text"]
            return shown

        assert text() == "0 0  "
        assert text(chat_template_kwargs={"x": 7}) == "0 0 7 "
        assert text(tools=[TOOL], tool_choice="none", documents=[{"title": "t", "text": "d"}]) == "1 1  "
        assert text(reasoning_effort="low") == "0 0  True"
        assert text(reasoning_effort="none") == "0 0  False"
        assert text(reasoning_effort="low", chat_template_kwargs={"enable_thinking": 5}) == "0 0  5"
        ids = client.post("/tokenize", json={"messages": TALK, "chat_template_kwargs": {"x": 7}}).json()
        assert client.post("/detokenize", json={"tokens": ids["tokens"]}).json()["prompt"] == "0 0 7 "
        assert ask(client, PATHS[1], chat_template="other").status_code == 400


def test_a_trusting_server_takes_the_requests_template(make_engine: Callable[..., Any]) -> None:
    from fastapi.testclient import TestClient

    from llm_engine.metrics import EngineMetrics

    options = ServerConfig(trust_request_chat_template=True, enable_tokenizer_info_endpoint=True)
    with TestClient(build_app(make_engine(), EngineMetrics("tiny"), "tiny", options)) as client:
        body = {"messages": TALK, "chat_template": "[{{ messages[0].content }}]", "return_prompt_text": True}
        assert client.post(PATHS[1], json={**body, "max_tokens": 1}).json()["prompt_text"] == "[hi]"
        info = client.get("/tokenizer_info").json()
        assert (info["tokenizer_class"], info["eos_token"]) == ("PreTrainedTokenizerFast", END)


def test_tokenizing_a_chat_and_naming_tokens(client: httpx2.Client) -> None:
    chatted = client.post("/tokenize", json={"messages": TALK[:1], "return_token_strs": True}).json()
    assert chatted["tokens"] == chat(client, return_token_ids=True)["prompt_token_ids"]
    plain = client.post("/tokenize", json={"prompt": "a é", "return_token_strs": True}).json()
    assert plain["token_strs"] == ["a", "Ġ", "Ã", "©"]
    assert client.post("/tokenize", json={"prompt": "a"}).json()["token_strs"] is None
    assert client.post("/tokenize", json={"messages": []}).json()["error"]["param"] == "messages"
    assert client.get("/tokenizer_info").status_code == 404


def test_one_model_by_its_name(client: httpx2.Client) -> None:
    card = client.get("/v1/models/tiny").json()
    assert (card["id"], card["object"], card["parent"]) == ("tiny", "model", None)
    for name in ("other", "owner/name"):
        response = client.get(f"/v1/models/{name}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
