"""Server-sent events as the OpenAI API uses them: `data: <json>` events, closed by `data: [DONE]`.

Source of the grammar: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
Comments, `id` and `retry` are read and dropped.

How a stream of the OpenAI API ends, for everything here that has to know:

    stream   = event*, then one of
    complete = the first event whose data is [DONE], its final blank line present or not
    failed   = the first event before it that is named `error`, or whose JSON is not an object, or has a non-null
               `error`, or whose `object` is "error" (older vLLM); a [DONE] behind it does not make it complete
    cut off  = the end of the bytes before either

Comments and blank lines may follow anywhere, and data behind [DONE] is ignored. `StreamState` applies this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

DONE = b"data: [DONE]\n\n"
DONE_DATA = b"[DONE]"
CONTENT_TYPE = "text/event-stream; charset=utf-8"
EVENT_END = re.compile(rb"\n\n|\n\r\n?|\r\r\n?")
"""The blank line that ends an event, with the end of the line before it, in every mixture of LF, CRLF and CR."""


def encode(payload: Any) -> bytes:
    """Encode `payload` as JSON in one event. JSON contains no bare newline, so one `data` line is enough."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


class Event(NamedTuple):
    """One server-sent event."""

    data: bytes
    name: bytes = b""
    """Its `event` field; empty if it has none."""


class Decoder:
    """Bytes in, as the network cuts them; whole events out.

    Lines may end in LF, CRLF or CR, and a chunk may end anywhere, inside a UTF-8 character or between CR and LF.
    An event that the stream's end cuts short is not reported, as the specification says, unless it is [DONE].
    """

    def __init__(self) -> None:
        self._tail = b""
        self._data: list[bytes] = []
        self._name = b""
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Return the data of each event that `chunk` completes, in order; several data lines are joined by LF."""
        return (event.data for event in self.events(chunk))

    def events(self, chunk: bytes) -> Iterator[Event]:
        """Return the events that `chunk` completes, in order; those without data are dropped."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        buffer = self._tail + chunk
        self._after_cr = buffer.endswith(b"\r")
        lines = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._tail = lines.pop()
        for line in lines:
            if line:
                self._field(line)
            else:
                event = Event(b"\n".join(self._data), self._name) if self._data else None
                self._data, self._name = [], b""
                if event is not None:
                    yield event

    def end(self) -> Iterator[Event]:
        """Return a final [DONE] whose line ends are missing, if there is one."""
        self._after_cr = False
        cut = list(self.events(b"\n\n"))
        return (event for event in cut if event.data.strip() == DONE_DATA)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value


class Ending(StrEnum):
    """How far a stream has come, by the grammar above."""

    OPEN = "open"
    COMPLETE = "complete"
    FAILED = "failed"


class StreamState:
    """Follows a stream's events until it is complete or has failed; later events change nothing."""

    __slots__ = ("ending", "error")

    def __init__(self) -> None:
        self.ending = Ending.OPEN
        self.error: str | None = None
        """The message of the failure, None without one."""

    def note(self, event: Event) -> Any:
        """Return the event's parsed JSON object if it is part of the answer, else None."""
        if self.ending is not Ending.OPEN:
            return None
        if event.data.strip() == DONE_DATA:
            self.ending = Ending.COMPLETE
            return None
        payload, self.error = read_payload(event)
        if self.error is not None:
            self.ending = Ending.FAILED
        return payload

    def note_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.note(event)


def read_payload(event: Event) -> tuple[dict[str, Any] | None, str | None]:
    """Return (JSON object, None) for an event that is part of an answer, else (None, error message)."""
    try:
        payload = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        named = "an error event" if event.name == b"error" else "an event is not JSON"
        return None, f"{named}: {event.data[:200].decode('utf-8', 'replace')}"
    if not isinstance(payload, dict):
        return None, f"an event is not a JSON object: {event.data[:200].decode('utf-8', 'replace')}"
    error = error_of(payload, event.name)
    if error is None:
        return payload, None
    message = error.get("message") if isinstance(error, dict) else None
    return None, str(message or error)


def error_of(payload: dict[str, Any], event_name: bytes = b"") -> Any:
    """Return the error that an object of the API is or holds, None if it is part of an answer."""
    error = payload.get("error")
    if error is None and (event_name == b"error" or payload.get("object") == "error"):
        return payload
    return error
