"""The client's view of an engine's stream: whole events, one [DONE], and no usage that it did not ask for.

Nearly every chunk of an answer is one or more plain events, `data: {…}` in LF lines. A few searches for bytes recognise
them, and they pass unparsed. All else (comments, other line ends, cut events, usage, errors, the end) is taken apart
event by event and follows the grammar in `llm_contract.sse`. Cut events wait for their rest, so an engine that dies in
the middle of one never leaves half of it with the client, and what comes next stands by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from llm_contract import sse
from llm_contract.sse import Ending, StreamState
from llm_gateway.upstream.token_counts import TokenCounts, stated

MAX_HELD_BYTES = 16 * 1024 * 1024
"""A stream with a larger event fails."""
_SAYS_USAGE = re.compile(rb'"usage"\s*:\s*\{')

Rewrite = Callable[[dict[str, Any]], bool]
"""Changes an event in place. Returns False if the client must not get it."""


class StreamFilter:
    """Follows one engine's stream to its end. `rewrite` sees every event before the client does.

    Streams of other APIs than OpenAI's completions and chat (`ends_with_done` is False) are complete at the end of the
    engine's HTTP answer. Their events pass unread, but for one that is named `error`.
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
        """Nothing is held, and events may pass as they are."""
        self._said_usage: bytes | dict[str, Any] = b""
        self.state = StreamState()
        self.is_open = True
        """Neither complete nor failed."""
        self.events = 0
        """Parts of the answer that were passed on: about one per token."""
        self.error: Any = None
        """The engine's error object, None if it sent none …"""
        self.error_event = b""
        """… and the event that holds it, which the client has not got."""

    @property
    def is_complete(self) -> bool:
        return self.state.ending is Ending.COMPLETE

    def feed(self, chunk: bytes) -> bytes:
        """Return what the client gets now. Never raises."""
        if self._between_events and chunk.startswith(b"data: {") and chunk.endswith(b"}\n\n"):
            one = chunk.find(b"\n") == len(chunk) - 2
            plain = (one or _are_plain(chunk)) and b"error" not in chunk and b"\r" not in chunk
            if plain and (b'"usage"' not in chunk or self._may_pass(chunk)):
                self.events += 1 if one else chunk.count(b"\n\n")
                return chunk
        return self._taken_apart(chunk)

    def end(self, *, broken_off: bool = False) -> bytes:
        """Return what the end of the bytes completes: a [DONE] without its blank line."""
        if not self.is_open:
            return b""
        held, self._held = self._held, b""
        if not self._ends_with_done:
            self.state.ending = Ending.OPEN if broken_off else Ending.COMPLETE
            self.is_open = broken_off
            return b""
        decoder = sse.Decoder()
        self.state.note_all([*decoder.events(held), *decoder.end()])
        return self._ended()

    def usage(self) -> TokenCounts | None:
        """Return what the engine counted, as the client was meant to see it; None if it did not say."""
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
        """Return what the client gets of the bytes of one event, or of comments and blank lines."""
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
    """Whether a chunk that begins and ends like a plain event is nothing but plain events."""
    events = chunk.count(b"}\n\n")
    return chunk.count(b"\n") == 2 * events and chunk.count(b"\n\ndata: {") == events - 1


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
