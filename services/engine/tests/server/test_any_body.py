"""Any body gets a 200 or an error that names a field of the body, never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_contract.openai import DetokenizeRequest, TokenizeRequest
from llm_engine.server.reading.request_fields import REFUSED
from llm_engine.server.reading.requests import EngineChatRequest, EngineCompletionRequest, TokenizeChatRequest

DEEP: Any = json.loads("[" * 200 + "]" * 200)
DEEP_SCHEMA: Any = json.loads('{"properties":{"a":' * 100 + "{}" + "}}" * 100)
NUMBERS: list[Any] = [0, 1, -1, 2, 5, 2**31, 2**53, 2**63, -(2**63), 1e30, 1.5, -0.5, 1e-9, 1e308]
WORDS = ["", "a", "é\0\ufffd😀", "auto", "none", "json_object", "json_schema", "left", "5", "a" * 3000]
SCALARS = st.sampled_from([None, True, False, *NUMBERS, *WORDS])
VALUES: Any = st.recursive(
    SCALARS | st.just(DEEP),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "json", "regex", "choice", "grammar", "function", "name", "5", "role"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
PART = st.fixed_dictionaries({}, optional={"type": st.just("text") | VALUES, "text": VALUES, "refusal": VALUES})
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", "developer", "x", 7, None])},
    optional={
        "content": st.lists(PART | VALUES, max_size=3) | VALUES,
        "tool_calls": st.lists(st.fixed_dictionaries({}, optional={"function": VALUES, "type": VALUES})) | VALUES,
        **dict.fromkeys(["name", "tool_call_id", "reasoning", "reasoning_content", "tools"], VALUES),
    },
)
SHAPED: dict[str, Any] = {
    "messages": st.lists(MESSAGE, max_size=3),
    "response_format": st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "json_object", "json_schema", 7])},
        optional={"json_schema": st.fixed_dictionaries({"schema": VALUES | st.just(DEEP_SCHEMA)}) | VALUES},
    ),
    "structured_outputs": st.dictionaries(st.sampled_from(["json", "regex", "choice", "grammar"]), VALUES, max_size=2),
    "stream_options": st.dictionaries(st.sampled_from(["include_usage", "continuous_usage_stats", "x"]), VALUES),
    "logit_bias": st.dictionaries(st.sampled_from(["5", "-1", "five", "1e3", "99999999999"]), VALUES, max_size=2),
    "tools": st.lists(st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": VALUES})}), max_size=2),
}
LIMITED = ("max_tokens", "max_completion_tokens", "n")
"""Fields with small values, so that answers are quick."""
GOOD: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "def f("},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/tokenize": {"prompt": "def f("},
    "/detokenize": {"tokens": [65]},
}
MODELS: dict[str, tuple[Any, ...]] = {
    "/v1/completions": (EngineCompletionRequest,),
    "/v1/chat/completions": (EngineChatRequest,),
    "/tokenize": (TokenizeRequest, TokenizeChatRequest),
    "/detokenize": (DetokenizeRequest,),
}


def bodies(path: str) -> Any:
    names = {name for model in MODELS[path] for name in model.model_fields} | {*list(REFUSED)[:5], "unknown"}
    fields = {name: SHAPED.get(name, VALUES) | VALUES for name in sorted(names - {"model", *LIMITED})}
    chosen = st.sets(st.sampled_from(sorted(fields)), min_size=1, max_size=3).flatmap(
        lambda some: st.fixed_dictionaries({name: fields[name] for name in some})
    )
    limits = {"max_tokens": 2} if path.startswith("/v1") else {}
    return chosen.map(lambda drawn: {**GOOD[path], **limits, **drawn})


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as connected:
        yield connected


@pytest.mark.parametrize("path", GOOD)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_body_is_answered_with_a_500(client: httpx2.Client, path: str, data: st.DataObject) -> None:
    body = data.draw(bodies(path))
    response = client.post(path, content=json.dumps(body))
    if response.status_code == 200:
        assert '"error"' not in response.text or body.get("stream") or "error" not in response.json()
        return
    assert response.status_code == 400, response.text[:500]
    error = response.json()["error"]
    assert error["message"]
    assert error["param"] in body.keys() | {"messages", "prompt"}


@pytest.mark.parametrize("value", [None, 7, "text", [], [1], True])
@pytest.mark.parametrize("path", GOOD)
def test_a_body_that_is_no_object(client: httpx2.Client, path: str, value: Any) -> None:
    error = client.post(path, content=json.dumps(value)).json()["error"]
    assert (error["message"], error["param"]) == ("the request body must be a JSON object", None)


WRONG: dict[str, list[tuple[dict[str, Any], str]]] = {
    "/v1/completions": [
        ({"prompt": {"a": 1}}, "prompt: "),
        ({"prompt": [1, "a"]}, "prompt[1]: "),
        ({"prompt": [["a"]]}, "prompt[0][0]: "),
        ({"stop": [7]}, "stop[0]: "),
        ({"stop": {}}, "stop: "),
        ({"logit_bias": {"five": 1}}, "logit_bias has keys"),
        ({"logit_bias": {"5": None}}, "logit_bias.5: "),
        ({"stream_options": []}, "stream_options: "),
        ({"stream": True, "stream_options": {"include_usage": "perhaps"}}, "stream_options.include_usage: "),
        ({"n": "two"}, "n: "),
        ({"n": 1.5}, "n: "),
        ({"user": 7}, "user: "),
        ({"stop_token_ids": ["a"]}, "stop_token_ids[0]: "),
        ({"response_format": {"type": "yaml"}}, "response_format.type: "),
        ({"response_format": {}}, "response_format.type: "),
    ],
    "/v1/chat/completions": [
        ({"messages": 7}, "messages: "),
        ({"messages": [7]}, "messages[0]: "),
        ({"messages": [{"content": "a"}]}, "messages[0].role: "),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content: "),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0]: "),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]}, "messages[0].content[0].text "),
        ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "messages[0].tool_calls "),
        ({"documents": ["a"]}, "documents[0]: "),
        ({"chat_template_kwargs": []}, "chat_template_kwargs: "),
    ],
}


@pytest.mark.parametrize(("path", "change", "words"), [(path, *row) for path, rows in WRONG.items() for row in rows])
def test_an_error_says_where_the_wrong_type_is(
    client: httpx2.Client, path: str, change: dict[str, Any], words: str
) -> None:
    response = client.post(path, json={**GOOD[path], "max_tokens": 1, **change})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"].startswith(words)
    assert response.json()["error"]["param"] in change


def test_a_text_part_without_text_is_left_out(client: httpx2.Client) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": None}]}
    assert client.post("/v1/chat/completions", json={"messages": [message], "max_tokens": 1}).status_code == 200


@pytest.mark.parametrize("depth", [300, 510, 5000])
@pytest.mark.parametrize(
    "field",
    [
        '"structured_outputs": {"json": %s}',
        '"response_format": {"type": "json_schema", "json_schema": {"schema": %s}}',
        '"messages": [{"role": "user", "content": [%s]}]',
        '"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": %s}}]}]',
        '"tool_choice": "none", "tools": [{"function": {"name": "f", "parameters": %s}}]',
        '"chat_template_kwargs": {"x": %s}',
        '"unknown": %s',
    ],
)
def test_a_body_that_nests_too_deeply(client: httpx2.Client, field: str, depth: int) -> None:
    deep = '{"a":' * depth + "{}" + "}" * depth
    talk = "" if "messages" in field else '"messages": [{"role": "user", "content": "a"}],'
    response = client.post("/v1/chat/completions", content="{" + talk + '"max_tokens": 1, ' + field % deep + "}")
    assert response.status_code in (200, 400), response.text[:300]
