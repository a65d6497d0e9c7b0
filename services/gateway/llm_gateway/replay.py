"""Token replay: a stream whose engine died goes on at another one, which is given the prompt and the text so far.

Sound only where the rest of the answer depends on nothing but the text before it. That holds for one greedy or unseeded
sample; it does not for seeds (their random numbers would start anew), penalties (they count generated tokens, which
become prompt), logprobs, `echo`, several choices, tools and structured output (their automata would start anew).
`is_resumable` allows the fields that are known to be sound, and no others. The text is tokenised again at the seam, so
a greedy answer may differ there from what the dead engine would have said; the client gets each character once.

A chat is continued with `continue_final_message`, vLLM's own extension; an engine without it answers 400, and the
stream ends with an error event as it would have without replay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from llm_contract import sse

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MAX_TRANSCRIPT_BYTES = 1024 * 1024
"""A stream longer than this is not kept, and so not resumed."""

SOUND = {
    *("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "priority"),
    *("temperature", "top_p", "top_k", "min_p", "stop", "stop_token_ids", "ignore_eos", "user", "request_id"),
}
"""Fields with any value."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "suffix": ("",),
}
"""Fields with a value, beside null, that changes nothing."""


def is_resumable(path: str, body: Mapping[str, Any]) -> bool:
    """Whether the rest of this answer depends on the text before it only."""
    if not body.get("stream") or path not in (CHAT, COMPLETIONS):
        return False
    if not isinstance(body.get("prompt"), str) if path == COMPLETIONS else not isinstance(body.get("messages"), list):
        return False
    greedy = body.get("temperature") == 0
    return all(
        name in SOUND or value is None or _is_neutral(name, value) or (name == "seed" and greedy)
        for name, value in body.items()
    )


def _is_neutral(name: str, value: Any) -> bool:
    """`logprobs: 0` asks for something, though 0 == False."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in NEUTRAL.get(name, ()))


@dataclass(slots=True)
class Progress:
    """What the client has had of a stream."""

    id: str = ""
    created: int = 0
    text: str = ""
    finished: bool = False
    """A `finish_reason` was among it: nothing is left to generate."""


class Transcript:
    """The bytes that were passed on, kept unread; looked into only when an engine has died."""

    __slots__ = ("_chunks", "_size")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, whole_events: bytes) -> None:
        self._size += len(whole_events)
        if self._size <= MAX_TRANSCRIPT_BYTES:
            self._chunks.append(whole_events)
        else:
            self._chunks.clear()

    def progress(self) -> Progress | None:
        """None if the stream was too long to keep, or holds what is not an OpenAI event."""
        if self._size > MAX_TRANSCRIPT_BYTES:
            return None
        found, texts = Progress(), []
        try:
            for event in _events(b"".join(self._chunks)):
                found.id = found.id or event["id"]
                found.created = found.created or event["created"]
                for choice in event["choices"]:
                    texts.append(_text(choice))
                    found.finished = found.finished or choice.get("finish_reason") is not None
        except (KeyError, TypeError, ValueError):
            return None
        found.text = "".join(texts)
        return found


def continuation(path: str, body: Mapping[str, Any], text: str, tokens: int) -> dict[str, Any]:
    """The request that goes on after `text`, which is `tokens` tokens long."""
    asked = dict(body)
    for name in ("max_tokens", "max_completion_tokens"):
        if asked.get(name) is not None:
            asked[name] = max(1, asked[name] - tokens)
    if path == COMPLETIONS:
        return {**asked, "prompt": asked["prompt"] + text}
    messages = [*asked["messages"], {"role": "assistant", "content": text}]
    return {**asked, "messages": messages, "add_generation_prompt": False, "continue_final_message": True}


@dataclass(slots=True)
class Splice:
    """Makes the second engine's events look like the rest of the first one's stream."""

    progress: Progress
    tokens: int
    _decoder: sse.Decoder = field(default_factory=sse.Decoder)

    def rewrite(self, whole_events: bytes) -> bytes:
        """Raises ValueError for what is not an OpenAI event."""
        return b"".join(self._rewritten(data) for data in self._decoder.feed(whole_events))

    def _rewritten(self, data: bytes) -> bytes:
        if data == sse.DONE_DATA:
            return sse.DONE
        event = orjson.loads(data)
        if not isinstance(event, dict):
            raise ValueError("an event is not a JSON object")
        if "error" in event:
            return sse.encode(event)
        event["id"], event["created"] = self.progress.id, self.progress.created
        if (usage := event.get("usage")) is not None:
            usage["prompt_tokens"] -= self.tokens
            usage["completion_tokens"] += self.tokens
        return b"" if _opens_a_chat(event) else sse.encode(event)


def _opens_a_chat(event: dict[str, Any]) -> bool:
    """The event that only names the role; the client has had one."""
    choices = event.get("choices") or ()
    return any("role" in choice.get("delta", ()) for choice in choices) and not any(map(_text, choices))


def _text(choice: Mapping[str, Any]) -> str:
    delta = choice.get("delta")
    return (delta.get("content") if delta is not None else choice.get("text")) or ""


def _events(raw: bytes) -> Iterator[dict[str, Any]]:
    for data in sse.Decoder().feed(raw):
        if data != sse.DONE_DATA:
            yield orjson.loads(data)
