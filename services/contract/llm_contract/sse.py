"""Server-sent events as the OpenAI API uses them: `data: <json>` events, closed by `data: [DONE]`.

Source of the grammar: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
Only the `data` field carries meaning here; comments, `event`, `id` and `retry` are read and dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
DONE_DATA = b"[DONE]"
CONTENT_TYPE = "text/event-stream; charset=utf-8"


def encode(payload: Any) -> bytes:
    """One event whose data is `payload` as JSON. JSON holds no bare newline, so one `data` line is enough."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


class Decoder:
    """Bytes in, as the network cuts them; the data of whole events out.

    Lines may end in LF, CRLF or CR, and a chunk may end anywhere, inside a UTF-8 character or between CR and LF.
    An event that the stream's end cuts short is not reported, as the specification says.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._data: list[bytes] = []
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The data of each event that `chunk` completes, in order; a multi-line datum is joined by LF."""
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
            elif self._data:
                data, self._data = b"\n".join(self._data), []
                yield data

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
