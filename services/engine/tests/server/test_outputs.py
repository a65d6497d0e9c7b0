"""vLLM's additions to a response: several answers, log-probabilities, token ids, shapes, continued chats."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from llm_contract import sse

PROMPT = "def fibonacci(n):"


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=30) as connected:
        yield connected


def complete(client: httpx2.Client, **fields: Any) -> Any:
    return ask(client, "/v1/completions", prompt=PROMPT, **fields)


def chat(client: httpx2.Client, **fields: Any) -> Any:
    return ask(client, "/v1/chat/completions", **{"messages": [{"role": "user", "content": "hi"}], **fields})


def ask(client: httpx2.Client, path: str, **fields: Any) -> Any:
    response = client.post(path, json={"temperature": 0, "max_tokens": 6, **fields})
    assert response.status_code == 200, response.text
    if not fields.get("stream"):
        return response.json()
    *data, last = sse.Decoder().feed(response.content)
    assert last == sse.DONE_DATA
    return [json.loads(item) for item in data]


def test_several_answers_share_the_prompts_tokens(client: httpx2.Client) -> None:
    one = complete(client, temperature=1, seed=5)
    three = complete(client, temperature=1, seed=5, n=3)
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["choices"][0]["text"] == one["choices"][0]["text"]
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert three["usage"]["completion_tokens"] == 18
    chunks = complete(client, temperature=1, seed=5, n=3, stream=True)
    for index in range(3):
        text = "".join(c["choices"][0]["text"] for c in chunks if c["choices"][0]["index"] == index)
        assert text == three["choices"][index]["text"]


def test_prompts_and_answers_are_numbered_prompt_by_prompt(client: httpx2.Client) -> None:
    answer = ask(client, "/v1/completions", prompt=[PROMPT, "import"], n=2, temperature=1, seed=5)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]


def test_logprobs_of_a_completion_whole_and_streamed(client: httpx2.Client) -> None:
    (choice,) = complete(client, logprobs=2)["choices"]
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"]
    assert told["text_offset"] == [len("".join(told["tokens"][:i])) for i in range(6)]
    assert all(len(top) == 2 for top in told["top_logprobs"])  # greedy: the chosen one is the likeliest
    streamed = [chunk["choices"][0]["logprobs"] for chunk in complete(client, logprobs=2, stream=True)]
    for name in ("tokens", "token_logprobs", "text_offset"):
        assert [item for part in streamed for item in part[name]] == pytest.approx(told[name]) or name == "tokens"


def test_an_echoed_prompt_comes_with_its_logprobs(client: httpx2.Client) -> None:
    (choice,) = complete(client, logprobs=0, echo=True, max_tokens=1)["choices"]
    assert choice["text"].startswith(PROMPT)
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]


def test_prompt_logprobs(client: httpx2.Client) -> None:
    (choice,) = complete(client, prompt_logprobs=1)["choices"]
    first, *others = choice["prompt_logprobs"]
    assert first is None
    for at in others:
        assert all(value["logprob"] <= 0 and value["rank"] >= 1 for value in at.values())
    told = chat(client, prompt_logprobs=0)["prompt_logprobs"]
    assert told[0] is None
    assert "".join(value["decoded_token"] for at in told[1:] for value in at.values()).endswith("assistant:")


def test_logprobs_of_a_chat(client: httpx2.Client) -> None:
    (choice,) = chat(client, logprobs=True, top_logprobs=2)["choices"]
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == choice["message"]["content"]
    for entry in content:
        assert entry["bytes"] == list(entry["token"].encode())
        assert [top["logprob"] for top in entry["top_logprobs"]] == sorted(
            (top["logprob"] for top in entry["top_logprobs"]), reverse=True
        )
    chunks = chat(client, logprobs=True, stream=True)
    streamed = [entry for chunk in chunks for entry in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in content]


def test_the_official_client_reads_them(server: Any) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as official:
        answer = official.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], logprobs=True, top_logprobs=3, max_tokens=2, n=2
        )
        assert len(answer.choices) == 2
        assert answer.choices[0].logprobs is not None
        assert answer.choices[0].logprobs.content is not None
        assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 3
        text = official.completions.create(model="tiny", prompt=PROMPT, logprobs=1, max_tokens=2, temperature=0)
        assert text.choices[0].logprobs is not None
        assert math.isfinite(text.choices[0].logprobs.token_logprobs[0])


def test_token_ids(client: httpx2.Client) -> None:
    prompt = client.post("/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    (choice,) = complete(client, return_token_ids=True)["choices"]
    assert choice["prompt_token_ids"] == prompt
    assert client.post("/detokenize", json={"tokens": choice["token_ids"]}).json()["prompt"] == choice["text"]
    first, *rest = [chunk["choices"][0] for chunk in complete(client, return_token_ids=True, stream=True)]
    assert first["prompt_token_ids"] == prompt
    assert [token for part in (first, *rest) for token in part["token_ids"]] == choice["token_ids"]
    talked = chat(client, return_token_ids=True)
    assert len(talked["choices"][0]["token_ids"]) == 6
    assert len(talked["prompt_token_ids"]) == talked["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    "fields",
    [
        {"structured_outputs": {"choice": ["red", "green"]}},
        {"structured_outputs": {"regex": "red|green"}},
        {"structured_outputs": {"grammar": 'start: "red" | "green"'}},
    ],
)
def test_shapes_of_text(client: httpx2.Client, fields: dict[str, Any]) -> None:
    assert complete(client, **fields)["choices"][0]["text"] in ("red", "green")
    assert chat(client, **fields)["choices"][0]["message"]["content"] in ("red", "green")


def test_json_schema_in_every_field_that_takes_one(client: httpx2.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["x", "y"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    formats: list[dict[str, Any]] = [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}},
        {"structured_outputs": {"json": schema}},
        {"structured_outputs": {"json": json.dumps(schema)}},
    ]
    for fields in formats:
        text = chat(client, max_tokens=90, **fields)["choices"][0]["message"]["content"]
        assert json.loads(text)["a"] in ("x", "y")


def test_penalties_bias_and_bans_change_the_answer(client: httpx2.Client) -> None:
    (choice,) = complete(client, return_token_ids=True)["choices"]
    token = choice["token_ids"][0]
    banned = complete(client, return_token_ids=True, logit_bias={str(token): -100})["choices"][0]
    assert banned["token_ids"][0] != token
    only = complete(client, return_token_ids=True, allowed_token_ids=[token])["choices"][0]
    assert only["token_ids"] == [token] * 6
    word = choice["text"].split()[0]
    assert word not in complete(client, bad_words=[word], max_tokens=20)["choices"][0]["text"].split()[:1]
    repeated = complete(client, return_token_ids=True, allowed_token_ids=[token, 70], frequency_penalty=2)["choices"][0]
    assert set(repeated["token_ids"]) == {token, 70} or len(set(repeated["token_ids"])) == 1


def test_the_stop_string_is_left_in_if_asked_for(client: httpx2.Client) -> None:
    text = complete(client, max_tokens=20)["choices"][0]["text"]
    stop = text[5:8]
    (choice,) = complete(client, max_tokens=20, stop=[stop], include_stop_str_in_output=True)["choices"]
    assert choice["text"] == text[: text.index(stop) + len(stop)]
    assert choice["stop_reason"] == stop


def test_a_chat_that_goes_on(client: httpx2.Client) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "def f("}]
    fields = {"messages": messages, "add_generation_prompt": False, "continue_final_message": True}
    going = chat(client, **fields, return_token_ids=True)
    prompt = client.post("/detokenize", json={"tokens": going["prompt_token_ids"]}).json()["prompt"]
    assert prompt.endswith("assistant: def f(")
    plain = chat(client, messages=messages, add_generation_prompt=False, return_token_ids=True)
    prompt = client.post("/detokenize", json={"tokens": plain["prompt_token_ids"]}).json()["prompt"]
    assert prompt.endswith("assistant: def f(\n")
    refused = client.post("/v1/chat/completions", json={"messages": messages, "continue_final_message": True})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "continue_final_message"
