"""The events of a stream that the client has received. They are parsed only if the engine dies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from llm_contract import sse
from llm_proxy.stream.token_counts import stated

MAX_TRANSCRIPT_BYTES = 1024 * 1024
"""Limit of a transcript. A longer stream is not kept and cannot be resumed."""
NOTHING: tuple[Any, ...] = (None, "", [], {})
"""Values of a field that add nothing to an answer."""
UNDERSTOOD = {"index", "text", "delta", "finish_reason", "stop_reason"}
"""Fields of a choice that are understood. A value in any other, such as logprobs, rules resumption out."""
IDENTITY = ("id", "created", "model")


@dataclass(slots=True)
class Progress:
    """The content of the events that the client has received."""

    identity: dict[str, Any] = field(default_factory=dict)
    """Fields that all events of the stream share."""
    texts: list[str] = field(default_factory=list)
    """The text of each event that has one: there are at least as many tokens."""
    tokens: int | None = None
    """The engine's count up to the last event, if it states usage continuously."""
    opened: bool = False
    """The client has received an event."""
    finished: bool = False
    """An event had a `finish_reason`: nothing is left to generate."""

    @property
    def text(self) -> str:
        return "".join(self.texts)


class Unclear(Exception):
    """An event holds more than text, so text alone cannot continue the answer."""


class Transcript:
    """The events that a client has received, as bytes."""

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
        """Parse the events. Return None if the stream was too long to keep or holds anything but text."""
        if self._size > MAX_TRANSCRIPT_BYTES:
            return None
        found = Progress()
        try:
            for data in sse.Decoder().feed(b"".join(self._chunks)):
                _take_in(found, data)
        except (Unclear, orjson.JSONDecodeError):
            return None
        return found


def _take_in(found: Progress, data: bytes) -> None:
    """Add what an event says to `found`. Raise Unclear if it holds more than text."""
    event = orjson.loads(data)
    choices = event.get("choices") if isinstance(event, dict) else None
    if not isinstance(choices, list) or len(choices) > 1:
        raise Unclear
    found.opened = True
    for name in IDENTITY:
        if name in event:
            found.identity.setdefault(name, event[name])
    counts = stated(event)
    if counts is not None:
        found.tokens = counts.output
    if not choices:
        return
    text = _text(choices[0])
    found.finished = found.finished or choices[0].get("finish_reason") is not None
    if text:
        found.texts.append(text)
        found.tokens = found.tokens if counts is not None else None


def _text(choice: Any) -> str:
    if not isinstance(choice, dict) or choice.get("index", 0) != 0:
        raise Unclear
    delta = choice.get("delta")
    if any(value not in NOTHING for name, value in choice.items() if name not in UNDERSTOOD):
        raise Unclear
    if delta is None:
        return _string(choice.get("text"))
    if not isinstance(delta, dict) or choice.get("text") not in NOTHING:
        raise Unclear
    if any(value not in NOTHING for name, value in delta.items() if name not in ("role", "content")):
        raise Unclear
    return _string(delta.get("content"))


def _string(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise Unclear
    return value or ""
