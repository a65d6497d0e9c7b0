"""Time-stamped bytes of a response to tokens with arrival times. Runs after the response ended, off the hot path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from llm_contract.sse import DONE_DATA, Decoder


@dataclass(slots=True)
class StreamReading:
    chunk_times: list[float] = field(default_factory=list)
    """When each network chunk that held tokens arrived, on the clock of the input."""
    chunk_tokens: list[int] = field(default_factory=list)
    """How many tokens it held: exact where the server counts along, else its number of events with text."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """As the server counted them; None if it never said."""
    error: str | None = None
    """Message of an error event."""
    finished: bool = False
    """`[DONE]` was seen."""


def read_stream(chunks: Iterable[tuple[float, bytes]]) -> StreamReading:
    """Reads a completions or a chat stream; (arrival, bytes) as the network cut them.

    Events that one read brought count as one chunk: they arrived together, whatever the server meant.
    """
    reading = StreamReading()
    decoder: Decoder | None = None
    counted = 0
    for arrived_at, data in chunks:
        events: Iterable[bytes] | None = _split_whole(data) if decoder is None else None
        if events is None:
            decoder = decoder or Decoder()
            events = decoder.feed(data)
        for event in events:
            if event == DONE_DATA:
                reading.finished = True
            else:
                counted = _read_event(reading, event, arrived_at, counted)
    return reading


def _split_whole(data: bytes) -> list[bytes] | None:
    """The events of a chunk as most servers write it: whole events of one `data: ` line each.

    None for anything else, which takes the whole grammar, from there to the end of the stream.
    """
    if not data.startswith(b"data: ") or not data.endswith(b"\n\n") or b"\r" in data:
        return None
    events = data[6:-2].split(b"\n\ndata: ")
    return events if data.count(b"\n") == 2 * len(events) else None


def _read_event(reading: StreamReading, event: bytes, arrived_at: float, counted: int) -> int:
    """Notes one event; `counted` and the result are the server's running token count."""
    try:
        payload = orjson.loads(event)
    except orjson.JSONDecodeError:
        reading.error = f"an event is not JSON: {event[:80]!r}"
        return counted
    if not isinstance(payload, dict) or "error" in payload:
        reading.error = _error_message(payload)
        return counted
    usage = payload.get("usage")
    if usage:
        reading.output_tokens = int(usage["completion_tokens"])
        reading.prompt_tokens = int(usage["prompt_tokens"])
    choices = payload.get("choices")
    if not choices:
        return counted
    has_text = _has_text(choices[0])
    total = reading.output_tokens if usage and reading.output_tokens is not None else counted + has_text
    if total > counted and (has_text or reading.chunk_times):
        _add(reading, arrived_at, total - counted)
        return total
    return counted  # no new token, or none with text yet: those count with the first text


def _add(reading: StreamReading, arrived_at: float, tokens: int) -> None:
    if reading.chunk_times and reading.chunk_times[-1] == arrived_at:
        reading.chunk_tokens[-1] += tokens
    else:
        reading.chunk_times.append(arrived_at)
        reading.chunk_tokens.append(tokens)


def _has_text(choice: dict[str, Any]) -> bool:
    if "text" in choice:
        return bool(choice["text"])
    delta = choice.get("delta") or {}
    return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))


def _error_message(payload: Any) -> str:
    error = payload.get("error") if isinstance(payload, dict) else payload
    if isinstance(error, dict):
        return str(error.get("message") or error)
    return str(error)
