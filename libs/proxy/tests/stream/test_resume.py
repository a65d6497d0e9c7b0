from __future__ import annotations

from typing import Any

import orjson
import pytest

from llm_contract import sse
from llm_proxy.request.endpoints import CHAT, COMPLETIONS
from llm_proxy.stream.filter import StreamFilter
from llm_proxy.stream.resume import continuation, is_resumable, tokens_allowed
from llm_proxy.stream.transcript import MAX_TRANSCRIPT_BYTES, Progress, Transcript

STREAM = {"model": "m", "prompt": "a", "stream": True}
CHAT_STREAM = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
ODD: list[Any] = [0, 1.5, "x", True, [1], [[]], {"a": 1}]
"""A value of each kind that JSON has, but null and what is empty."""


def completion(text: Any, finish: Any = None, **more: Any) -> bytes:
    choices = [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]
    return sse.encode({"id": "cmpl-1", "created": 7, "choices": choices, **more})


def chat(**delta: Any) -> bytes:
    return sse.encode({"id": "chat-1", "created": 7, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def progress_of(*events: bytes) -> Progress | None:
    transcript = Transcript()
    for event in events:
        transcript.add(event)
    return transcript.progress()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 0, "seed": 3},
        {"stop": ["\n"], "stream_options": {"x": 1}},
        {"n": 1, "logprobs": None, "presence_penalty": 0.0},
        {"max_tokens": 7},
        {"max_tokens": None},
    ],
)
def test_is_resumable(more: dict[str, Any]) -> None:
    assert is_resumable(COMPLETIONS, {**STREAM, **more})


@pytest.mark.parametrize(
    "more",
    [
        *({"stream": one} for one in (False, 1, "true", None)),
        {"prompt": None},
        {"prompt": [1, 2]},
        {"prompt": ["a", "b"]},
        {"seed": 3},
        {"seed": 3, "temperature": 0.5},
        {"n": 2},
        {"echo": True},
        {"logprobs": 1},
        {"logprobs": 0},
        {"presence_penalty": 0.1},
        {"response_format": {"type": "json_object"}},
        {"tools": [{}]},
        {"a_field_of_next_year": 1},
        *({"max_tokens": one} for one in (*ODD, -1, 2**40, "10")),
        *({"max_completion_tokens": one} for one in ODD),
    ],
)
def test_is_not_resumable(more: dict[str, Any]) -> None:
    assert not is_resumable(COMPLETIONS, {**STREAM, **more})


@pytest.mark.parametrize(
    ("path", "more", "tokens"),
    [
        (COMPLETIONS, {}, 16),
        (COMPLETIONS, {"max_tokens": None}, None),
        (COMPLETIONS, {"max_tokens": 3, "max_completion_tokens": 9}, 3),
        (CHAT, {}, None),
        (CHAT, {"max_tokens": 3}, 3),
        (CHAT, {"max_tokens": 3, "max_completion_tokens": 9}, 9),
    ],
)
def test_tokens_allowed(path: str, more: dict[str, Any], tokens: int | None) -> None:
    assert tokens_allowed(path, more) == tokens


def test_progress_is_what_the_client_has_had() -> None:
    progress = progress_of(completion("Hel") + completion("lo"), completion(" é"), b": ping\n\n")
    assert progress is not None
    assert (progress.identity, progress.text) == ({"id": "cmpl-1", "created": 7}, "Hello é")
    assert (progress.finished, len(progress.texts), progress.tokens) == (False, 3, None)


def test_progress_knows_the_end_and_continuous_usage() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    progress = progress_of(completion("x"), completion("yz", finish="length", usage=usage, stop_reason=7))
    assert progress is not None
    assert (progress.finished, progress.tokens) == (True, 5)
    progress = progress_of(completion("yz", usage=usage), completion("x"))
    assert progress is not None
    assert progress.tokens is None, "the count is older than the text"


@pytest.mark.parametrize("event", [b"data: nonsense\n\n", b"data: [1]\n\n", b"data: {}\n\n"])
def test_what_is_no_openai_event_is_not_resumed(event: bytes) -> None:
    assert progress_of(completion("a"), event) is None


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize(
    "field", ["reasoning_content", "reasoning", "tool_calls", "refusal", "audio", "function_call", "of_next_year"]
)
def test_a_delta_with_more_than_text_is_not_resumed(field: str, value: Any) -> None:
    assert progress_of(chat(role="assistant"), chat(content="a"), chat(content="b", **{field: value})) is None
    for nothing in (None, "", [], {}):
        assert progress_of(chat(content="b", **{field: nothing})) is not None


@pytest.mark.parametrize("value", ODD)
def test_odd_fields_are_not_resumed(value: Any) -> None:
    odd = [{"choices": value}, {"choices": [value]}]
    odd += [{"choices": [{name: value}]} for name in ("delta", "logprobs", "of_next_year")]
    odd += [{"choices": [{"index": value, "text": "a"}]}] if value != 0 else []
    odd += [{"choices": [{"text": value}]}, {"choices": [{"delta": {"content": value}}]}] if value != "x" else []
    for event in odd:
        assert progress_of(sse.encode(event)) is None, event
    for usage in (value, {"prompt_tokens": value, "completion_tokens": value}, {"completion_tokens": value}):
        found = progress_of(completion("a", usage=usage))
        assert found is not None
        assert found.tokens in (None, 0)


def test_several_choices_are_not_resumed() -> None:
    assert progress_of(sse.encode({"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}]})) is None
    assert progress_of(sse.encode({"choices": [{"index": 1, "text": "b"}]})) is None


def test_a_long_stream_is_not_kept() -> None:
    transcript = Transcript()
    for _ in range(3):
        transcript.add(b"x" * (MAX_TRANSCRIPT_BYTES // 2))
    assert transcript.progress() is None
    assert transcript._chunks == []


def test_a_completion_goes_on_after_its_text() -> None:
    asked = continuation(COMPLETIONS, {**STREAM, "max_tokens": 10}, Progress(texts=[" then"]), 4).body
    assert asked == {"model": "m", "prompt": "a then", "stream": True, "max_tokens": 6}
    assert continuation(COMPLETIONS, STREAM, Progress(texts=["b"]), 4).body["max_tokens"] == 12
    assert (
        continuation(COMPLETIONS, {**STREAM, "max_tokens": None}, Progress(texts=["b"]), 4).body["max_tokens"] is None
    )


def test_a_chat_goes_on_in_its_last_message() -> None:
    body = {**CHAT_STREAM, "max_completion_tokens": 10}
    asked = continuation(CHAT, body, Progress(texts=["He"]), 9).body
    assert asked["messages"] == [*CHAT_STREAM["messages"], {"role": "assistant", "content": "He"}]
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert (asked["max_tokens"], "max_completion_tokens" in asked) == (1, False)
    assert CHAT_STREAM["messages"] == [{"role": "user", "content": "hi"}]


def test_an_answer_without_text_so_far_is_asked_for_as_it_was() -> None:
    assert continuation(CHAT, CHAT_STREAM, Progress(opened=True), 0).body == CHAT_STREAM
    assert continuation(COMPLETIONS, STREAM, Progress(), 0).body == {**STREAM, "max_tokens": 16}


def spliced(had: bytes, events: bytes, tokens: int = 2) -> list[Any]:
    progress = progress_of(had)
    assert progress is not None
    rest = StreamFilter(rewrite=continuation(CHAT, CHAT_STREAM, progress, tokens).rewrite).feed(events)
    return [data if data == sse.DONE_DATA else orjson.loads(data) for data in sse.Decoder().feed(rest)]


def test_the_rest_carries_the_first_streams_identity_and_the_whole_usage() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    rest = completion("c", id="cmpl-2", created=9) + completion("", usage=usage) + sse.DONE
    first, last, done = spliced(completion("a b"), rest)
    assert (first["id"], first["created"], first["choices"][0]["text"]) == ("cmpl-1", 7, "c")
    assert last["usage"] == {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
    assert done == sse.DONE_DATA


@pytest.mark.parametrize("value", [None, *ODD, 2**64 - 1, -5, []])
def test_nothing_in_the_rest_raises(value: Any) -> None:
    events: list[dict[str, Any]] = [{name: value} for name in ("id", "created", "choices", "usage", "model")]
    events += [{"choices": [value]}, {"choices": [{"delta": value}]}, {"choices": [{"delta": {"role": value}}]}]
    events += [{"usage": {"prompt_tokens": value, "completion_tokens": value}, "choices": []}]
    for event in events:
        assert len(spliced(completion("a"), sse.encode(event) + sse.DONE)) >= 1, event


def test_a_chat_is_opened_once() -> None:
    events = spliced(chat(role="assistant") + chat(content="a"), chat(role="assistant", content="") + chat(content="b"))
    assert [event["choices"][0]["delta"] for event in events] == [{"content": "b"}]
    (opening,) = spliced(b": ping\n\n", chat(role="assistant", content=""))
    assert opening["choices"][0]["delta"]["role"] == "assistant"
