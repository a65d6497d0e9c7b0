"""The client's view of an engine's stream: whole events, one [DONE], and no usage that the client did not request.

Nearly every chunk of an answer is one or more plain events, `data: {…}` in LF lines. A few byte searches recognise
them, and they pass unparsed. All other chunks (comments, other line ends, cut events, usage, errors, the end) are split
into events by the grammar in `llm_contract.sse`. A cut event is held until its rest arrives. So the client never gets
half an event from an engine that dies, and the next event stands on its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from llm_contract import sse
from llm_contract.sse import Ending, StreamState
from llm_proxy.stream.token_counts import TokenCounts, stated

MAX_HELD_BYTES = 16 * 1024 * 1024
"""Limit of one event. A stream with a larger event fails."""
_SAYS_USAGE = re.compile(rb'"usage"\s*:\s*\{')

Rewrite = Callable[[dict[str, Any]], bool]
"""Changes an event in place and returns whether the client gets it."""


class StreamFilter:
    """The filter of one engine's stream. `rewrite` gets every event before the client does.

    With `ends_with_done` False, for APIs other than OpenAI's completions and chat, a stream is complete when the
    engine's HTTP answer ends. Its events pass unread, except for an event named `error`.
    """

    __slots__ = (
        "_between_events",
        "_drops_usage",
        "_ends_with_done",
        "_held",
        "_rewrite",
        "_said_usage",
        "error",
        "error_event",
        "events",
        "is_open",
        "state",
    )

    def __init__(
        self, *, drops_usage: bool = False, rewrite: Rewrite | None = None, ends_with_done: bool = True
    ) -> None:
        self._ends_with_done = ends_with_done
        self._drops_usage = drops_usage
        self._rewrite = rewrite
        self._held = b""
        self._between_events = rewrite is None
        """No part of an event is held, and events can pass unparsed."""
        self._said_usage: bytes | dict[str, Any] = b""
        self.state = StreamState()
        self.is_open = True
        """The stream is neither complete nor failed."""
        self.events = 0
        """Number of events passed on: about one per token."""
        self.error: Any = None
        """The engine's error object, None if it sent none."""
        self.error_event = b""
        """The event with the error object. The client has not received it."""

    @property
    def is_complete(self) -> bool:
        return self.state.ending is Ending.COMPLETE

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk from the engine and return the bytes for the client. Never raise."""
        if self._between_events and chunk.startswith(b"data: {") and chunk.endswith(b"}\n\n"):
            one = chunk.find(b"\n") == len(chunk) - 2
            plain = (one or _are_plain(chunk)) and b"error" not in chunk and b"\r" not in chunk
            if plain and (b'"usage"' not in chunk or self._may_pass(chunk)):
                self.events += 1 if one else chunk.count(b"\n\n")
                return chunk
        return self._taken_apart(chunk)

    def end(self, *, disconnected: bool = False) -> bytes:
        """Take the end of the engine's bytes. Return a [DONE] if it completes one that lacked its blank line."""
        if not self.is_open:
            return b""
        held, self._held = self._held, b""
        if not self._ends_with_done:
            self.state.ending = Ending.OPEN if disconnected else Ending.COMPLETE
            self.is_open = disconnected
            return b""
        decoder = sse.Decoder()
        self.state.note_all([*decoder.events(held), *decoder.end()])
        return self._ended()

    def usage(self) -> TokenCounts | None:
        """Return the token counts that the engine stated, after `rewrite`; None if it stated none."""
        if isinstance(self._said_usage, dict):
            return stated(self._said_usage)
        found = None
        for data in sse.Decoder().feed(self._said_usage):
            found = stated(_json(data)) or found
        return found

    def _may_pass(self, chunk: bytes) -> bool:
        if not _SAYS_USAGE.search(chunk):
            return True
        self._said_usage = chunk
        return not self._drops_usage

    def _taken_apart(self, chunk: bytes) -> bytes:
        if not self.is_open:
            return b""
        searched, buffer = max(0, len(self._held) - 2), self._held + chunk
        parts, start = [], 0
        for found in sse.EVENT_END.finditer(buffer, searched):
            parts.append(self._passed(buffer[start : found.end()]))
            start = found.end()
        self._held = buffer[start:] if self.is_open else b""
        self._between_events = not self._held and self.is_open and self._rewrite is None
        if len(self._held) > MAX_HELD_BYTES:
            self._fail(f"an event is larger than {MAX_HELD_BYTES} bytes")
        return b"".join(parts)

    def _passed(self, raw: bytes) -> bytes:
        """Return the part for the client of one event's bytes, or of comments and blank lines."""
        if not self.is_open:
            return b""
        event = next(sse.Decoder().events(raw), None)
        if event is None:
            return raw
        if not self._ends_with_done and event.name != b"error":
            self.events += 1
            return raw
        payload = self.state.note(event)
        if payload is None:
            if self.state.ending is Ending.FAILED:
                self._keep_error(event, raw)
            return self._ended()
        return self._part(payload, raw)

    def _part(self, payload: dict[str, Any], raw: bytes) -> bytes:
        if self._rewrite is not None:
            if not self._rewrite(payload):
                return b""
            raw = sse.encode(payload)
        if isinstance(payload.get("usage"), dict):
            self._said_usage = payload
            if self._drops_usage and not payload.get("choices"):
                return b""
        self.events += 1
        return raw

    def _keep_error(self, event: sse.Event, raw: bytes) -> None:
        payload = _json(event.data)
        self.error = sse.error_of(payload, event.name) if isinstance(payload, dict) else None
        if self.error is not None or event.name == b"error":
            self.error_event = raw

    def _ended(self) -> bytes:
        self.is_open = self.state.ending is Ending.OPEN
        return sse.DONE if self.state.ending is Ending.COMPLETE else b""

    def _fail(self, reason: str) -> None:
        self.state.ending, self.state.error = Ending.FAILED, reason
        self._held = b""
        self.is_open = self._between_events = False


def _are_plain(chunk: bytes) -> bool:
    """Return whether a chunk that begins and ends like a plain event holds plain events only."""
    events = chunk.count(b"}\n\n")
    return chunk.count(b"\n") == 2 * events and chunk.count(b"\n\ndata: {") == events - 1


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
