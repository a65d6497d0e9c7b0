from __future__ import annotations

from typing import Any

import orjson
import pytest

from llm_contract import sse
from llm_gateway.replay import CHAT, COMPLETIONS, MAX_TRANSCRIPT_BYTES, Splice, Transcript, continuation, is_resumable

STREAM = {"model": "m", "prompt": "a", "stream": True}


def completion(text: str, finish: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]
    return sse.encode({"id": "cmpl-1", "created": 7, "choices": choices, **more})


def chat(**delta: str) -> bytes:
    return sse.encode({"id": "chat-1", "created": 7, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 0, "seed": 3},
        {"stop": ["\n"], "stream_options": {"x": 1}},
        {"n": 1, "logprobs": None, "presence_penalty": 0.0},
    ],
)
def test_is_resumable(more: dict[str, Any]) -> None:
    assert is_resumable(COMPLETIONS, {**STREAM, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"stream": False},
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
    ],
)
def test_is_not_resumable(more: dict[str, Any]) -> None:
    assert not is_resumable(COMPLETIONS, {**STREAM, **more})


def test_progress_is_what_the_client_has_had() -> None:
    transcript = Transcript()
    transcript.add(completion("Hel") + completion("lo"))
    transcript.add(completion(" é"))
    progress = transcript.progress()
    assert progress is not None
    assert (progress.id, progress.created, progress.text, progress.finished) == ("cmpl-1", 7, "Hello é", False)


def test_progress_knows_the_end() -> None:
    transcript = Transcript()
    transcript.add(completion("x", finish="length"))
    progress = transcript.progress()
    assert progress is not None
    assert progress.finished


@pytest.mark.parametrize("event", [b"data: nonsense\n\n", b"data: [1]\n\n", b'data: {"choices":[{}]}\n\n'])
def test_what_is_no_openai_event_is_not_resumed(event: bytes) -> None:
    transcript = Transcript()
    transcript.add(event)
    assert transcript.progress() is None


def test_a_long_stream_is_not_kept() -> None:
    transcript = Transcript()
    for _ in range(3):
        transcript.add(b"x" * (MAX_TRANSCRIPT_BYTES // 2))
    assert transcript.progress() is None
    assert transcript._chunks == []


def test_a_completion_goes_on_after_its_text() -> None:
    asked = continuation(COMPLETIONS, {**STREAM, "max_tokens": 10}, " then", 4)
    assert asked == {"model": "m", "prompt": "a then", "stream": True, "max_tokens": 6}


def test_a_chat_goes_on_in_its_last_message() -> None:
    messages = [{"role": "user", "content": "hi"}]
    asked = continuation(CHAT, {"messages": messages, "stream": True, "max_completion_tokens": 3}, "He", 9)
    assert asked["messages"] == [*messages, {"role": "assistant", "content": "He"}]
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert asked["max_completion_tokens"] == 1
    assert messages == [{"role": "user", "content": "hi"}]


def spliced(transcript: bytes, events: bytes, tokens: int = 2) -> list[Any]:
    kept = Transcript()
    kept.add(transcript)
    progress = kept.progress()
    assert progress is not None
    rewritten = Splice(progress, tokens).rewrite(events)
    return [data if data == sse.DONE_DATA else orjson.loads(data) for data in sse.Decoder().feed(rewritten)]


def test_the_rest_carries_the_first_streams_identity_and_the_whole_usage() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    rest = completion("c", id="cmpl-2", created=9) + completion("", usage=usage) + sse.DONE
    first, last, done = spliced(completion("a b"), rest)
    assert (first["id"], first["created"], first["choices"][0]["text"]) == ("cmpl-1", 7, "c")
    assert last["usage"] == {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
    assert done == sse.DONE_DATA


def test_a_chat_is_opened_once() -> None:
    events = spliced(chat(role="assistant") + chat(content="a"), chat(role="assistant", content="") + chat(content="b"))
    assert [event["choices"][0]["delta"] for event in events] == [{"content": "b"}]


def test_an_error_event_goes_through() -> None:
    assert spliced(completion("a"), sse.encode({"error": {"message": "no"}})) == [{"error": {"message": "no"}}]
