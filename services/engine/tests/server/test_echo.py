"""The tokens of an answer with log-probabilities join to its text, and each offset points to its token.

Whatever the prompt is, however the answer ends, whole or streamed: `text[offset : offset + len(token)] == token`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_contract import sse

END = "<|endoftext|>"
PROMPTS = (
    st.lists(
        st.sampled_from(["def f(", "é", "日本", "😀", END, "\n", "  ", "\u0301", "\ufffd"]), min_size=1, max_size=6
    )
    .map("".join)
    .filter(bool)
)
TOKENS = st.lists(st.integers(0, 500) | st.just(0), min_size=1, max_size=12)
ENDS: Any = st.fixed_dictionaries(
    {},
    optional={
        "stop": st.sampled_from([["\n"], ["e"], ["re", "se"], [" "]]),
        "include_stop_str_in_output": st.booleans(),
        "ignore_eos": st.booleans(),
        "n": st.integers(1, 2),
        "allowed_token_ids": st.sampled_from([[0, 163, 246, 99], [246, 65, 0], [65, 66, 10]]),
    },
)


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=30) as connected:
        yield connected


def ask(client: httpx2.Client, **fields: Any) -> dict[int, tuple[str, dict[str, list[Any]]]]:
    """Return choice -> text and log-probabilities, with a stream's parts joined."""
    body = {"logprobs": 2, "max_tokens": 6, "seed": 3, **fields}
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    if not fields.get("stream"):
        return {choice["index"]: (choice["text"], choice["logprobs"]) for choice in response.json()["choices"]}
    found: dict[int, tuple[str, dict[str, list[Any]]]] = {}
    for data in sse.Decoder().feed(response.content):
        for choice in json.loads(data)["choices"] if data != sse.DONE_DATA else ():
            text, told = found.get(choice["index"], ("", {}))
            joined = {name: told.get(name, []) + part for name, part in choice["logprobs"].items()}
            found[choice["index"]] = text + choice["text"], joined
    return found


def check(text: str, told: dict[str, list[Any]]) -> None:
    assert "".join(told["tokens"]) == text
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert text[offset : offset + len(token)] == token
    for token, logprob, top in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
        assert top is None or top[token] == logprob


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=PROMPTS | TOKENS, echo=st.booleans(), end=ENDS, stream=st.booleans())
def test_tokens_join_to_the_text(
    client: httpx2.Client, prompt: str | list[int], echo: bool, end: dict[str, Any], stream: bool
) -> None:
    answers = ask(client, prompt=prompt, echo=echo, stream=stream, **end)
    assert len(answers) == end.get("n", 1)
    for text, told in answers.values():
        check(text, told)
        if echo and isinstance(prompt, str):
            assert text.startswith(prompt)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", [f"{END}hé", "日本", f"a{END}", "\ufffd", " a "])
def test_a_text_comes_back_as_it_was_sent(client: httpx2.Client, prompt: str, stream: bool) -> None:
    ((text, told),) = ask(client, prompt=prompt, echo=True, max_tokens=1, stream=stream).values()
    assert text.startswith(prompt)
    check(text, told)


def test_special_tokens_of_a_prompt_of_tokens_are_shown(client: httpx2.Client) -> None:
    ((text, told),) = ask(client, prompt=[0, 65, 0], echo=True, max_tokens=1).values()
    assert text.startswith(f"{END}a{END}")
    assert told["tokens"][:3] == [END, "a", END]
    assert told["text_offset"][:3] == [0, len(END), len(END) + 1]


def test_a_stop_string_cuts_the_tokens_with_the_text(client: httpx2.Client) -> None:
    fields: dict[str, Any] = {"prompt": "def f(", "temperature": 0, "max_tokens": 20}
    ((whole, _),) = ask(client, **fields).values()
    stop = whole[3:6]
    for stream in (False, True):
        ((text, told),) = ask(client, **fields, stop=stop, stream=stream).values()
        assert text == whole[: whole.index(stop)]
        check(text, told)


def test_the_bytes_of_a_chats_tokens_are_their_own(client: httpx2.Client, server: Any) -> None:
    ids = server.engine.tokenizer.encode("日")
    fields = {"messages": [{"role": "user", "content": "hi"}], "logprobs": True, "top_logprobs": 1}
    body = {**fields, "structured_outputs": {"choice": ["日"]}, "max_tokens": len(ids)}
    (choice,) = client.post("/v1/chat/completions", json=body).json()["choices"]
    content = choice["logprobs"]["content"]
    assert choice["message"]["content"] == "日"
    assert [entry["token"] for entry in content] == ["", "", "日"]
    assert bytes(byte for entry in content for byte in entry["bytes"]) == "日".encode()


def test_tokens_by_their_ids(client: httpx2.Client) -> None:
    fields: dict[str, Any] = {"prompt": [65, 66], "echo": True, "max_tokens": 1, "return_tokens_as_token_ids": True}
    ((_, told),) = ask(client, **fields).values()
    assert told["tokens"][:2] == ["token_id:65", "token_id:66"]
    assert told["text_offset"] == [0, 1, 2]
    assert all(name.startswith("token_id:") for top in told["top_logprobs"][1:] for name in top)
    body = {"messages": [{"role": "user", "content": "hi"}], "logprobs": True, "return_tokens_as_token_ids": True}
    (choice,) = client.post("/v1/chat/completions", json={**body, "max_tokens": 1}).json()["choices"]
    assert choice["logprobs"]["content"][0]["token"].startswith("token_id:")


def test_a_stop_token_is_shown_if_the_request_wants_to_see_it(client: httpx2.Client) -> None:
    fields: dict[str, Any] = {"prompt": "a", "allowed_token_ids": [65], "stop_token_ids": [65]}
    ((text, told),) = ask(client, **fields).values()
    assert (text, told["tokens"]) == ("", [""])
    ((text, told),) = ask(client, **fields, include_stop_str_in_output=True).values()
    assert (text, told["tokens"]) == ("a", ["a"])
