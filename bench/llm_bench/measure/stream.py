"""Turn the time-stamped bytes of a response into tokens with arrival times.

This runs after the response ended. `llm_contract.sse` says how a stream ends; this module adds how tokens are counted:

- The server's count is authoritative. The last count of a stream is its total, whatever its events look like.
- The tokens between two counts are spread over the events with text that came between them: one token to each event,
  then the rest in proportion to text length. An event with text holds at least one token, so a server that sends one
  token an event is read exactly. Where events hold several, longer text holds more tokens.
- If the server counted fewer tokens than it sent events, the tokens go to evenly spaced events, the first included.
- A count that no answer can have (null, a string, negative, 0 with text) is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import orjson

from llm_contract import sse
from llm_contract.sse import Ending, Event, StreamState

LARGEST_COUNT = 1_000_000
"""No answer and no prompt has more tokens; a larger count is ignored."""
TEXTLESS_SHARE = 0.05
"""Tokens without text of their own (special ones, parts of a character) that do not spoil one token an event."""

_TEXTS = (str, list)
_DELTA_TEXTS = ("content", "reasoning_content", "reasoning")


@dataclass(slots=True)
class StreamReading:
    chunk_times: list[float] = field(default_factory=list)
    """When each network chunk that held text or tokens arrived, on the clock of the input."""
    chunk_tokens: list[int] = field(default_factory=list)
    """How many tokens each held. They add up to the server's count, if it counted."""
    text_events: int = 0
    """Events with text."""
    tokens_located: bool = True
    """Whether `chunk_tokens` is known; False if a total was spread over events that held several tokens each."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """As the server counted them; None if it never did."""
    error: str | None = None
    """Message of the event that failed the stream."""
    finished: bool = False
    """The stream is complete."""


def read_stream(chunks: Iterable[tuple[float, bytes]]) -> StreamReading:
    """Read a completions or a chat stream from (arrival, bytes), as the network cut them.

    Events that one read brought count as one chunk, because they arrived together.
    """
    state, answer, decoder = StreamState(), _Answer(), None
    for arrived_at, data in chunks:
        whole = _split_whole(data) if decoder is None else None
        if whole is None:
            decoder = decoder or sse.Decoder()
            events: Iterable[Event] = decoder.events(data)
        elif state.ending is Ending.OPEN:
            events = _take_plain(whole, answer, arrived_at)
        for event in events:
            payload = state.note(event)
            if payload is not None:
                answer.add(payload, arrived_at)
    if decoder is not None:
        state.note_all(decoder.end())
    return answer.read(finished=state.ending is Ending.COMPLETE, error=state.error)


def _split_whole(data: bytes) -> list[bytes] | None:
    """Return the events of a chunk as most servers write it: whole events of one `data: ` line each.

    None for anything else, which takes the whole grammar, from there to the end of the stream.
    """
    if not data.startswith(b"data: ") or not data.endswith(b"\n\n") or b"\r" in data:
        return None
    if data.count(b"\n") == 2:
        return [data[6:-2]]
    events = data[6:-2].split(b"\n\ndata: ")
    return events if data.count(b"\n") == 2 * len(events) else None


def _take_plain(events: list[bytes], answer: _Answer, arrived_at: float) -> list[Event]:
    """Add the events that are clearly part of an answer, up to the first that is not; return the rest.

    The fast path of a client that reads tens of thousands of events a second.
    """
    for position, data in enumerate(events):
        try:
            payload = orjson.loads(data)
        except orjson.JSONDecodeError:
            payload = None
        if type(payload) is not dict or "error" in payload or payload.get("object") == "error":
            return [Event(data) for data in events[position:]]
        answer.add(payload, arrived_at)
    return []


class _Answer:
    """The events of one answer that brought text or tokens, and the server's counts among them."""

    def __init__(self) -> None:
        self._arrivals: list[float] = []
        self._lengths: list[int] = []
        """Characters of each event's text."""
        self._counts: dict[int, int] = {}
        """Tokens so far, by the number of events before the count."""
        self._total = 0
        """The last count."""
        self._prompt_tokens: int | None = None

    def add(self, payload: dict[str, Any], arrived_at: float) -> None:
        choices = payload.get("choices")
        length = _text_length(choices)
        if length:
            self._arrivals.append(arrived_at)
            self._lengths.append(length)
        usage = payload.get("usage")
        if not isinstance(usage, dict):
            return
        prompt = usage.get("prompt_tokens")
        if prompt != self._prompt_tokens:
            self._prompt_tokens = _count(prompt) or self._prompt_tokens
        total = usage.get("completion_tokens")
        if type(total) is not int or not 0 <= total <= LARGEST_COUNT:
            total = _count(total)
            if total is None:
                return
        events = len(self._lengths)
        if not length and choices and events and total > self._total and events in self._counts:
            self._arrivals.append(arrived_at)  # a token without text, counted alone
            self._lengths.append(0)
            events += 1
        if total < self._total:
            self._counts.clear()  # only the last of counts that fall can be right
        self._total = self._counts[events] = total

    def read(self, *, finished: bool, error: str | None) -> StreamReading:
        reading = StreamReading(prompt_tokens=self._prompt_tokens, error=error, finished=finished)
        reading.text_events = len(self._lengths) - self._lengths.count(0)
        reading.output_tokens = self._settle_counts(finished)
        shares: list[int] = []
        first = before = 0
        for last, now in self._counts.items():
            if last == first + 1:
                shares.append(now - before)
            else:
                shares += spread(now - before, self._lengths[first:last])
                reading.tokens_located &= _located(self._arrivals[first:last], now - before)
            first, before = last, now
        _add_together(self._arrivals, shares, reading)
        return reading

    def _settle_counts(self, finished: bool) -> int | None:
        """Make the counts cover every event; return the server's total, None if it gave none.

        Text behind the last count of an unfinished stream is uncounted: a token an event.
        """
        counts, events = self._counts, len(self._lengths)
        counts.pop(0, None)  # tokens before the first text come with it
        if not events or not self._total:
            total = self._total or None
            self._counts = {events: events} if events else {}
            return total
        last = next(reversed(counts), 0)
        if last == events:
            return self._total
        if finished:
            counts.pop(last, None)
            counts[events] = self._total
            return self._total
        counts[events] = self._total + events - last
        return None


def _add_together(arrivals: list[float], shares: list[int], reading: StreamReading) -> None:
    """Make one chunk of the events that arrived together."""
    if len(set(arrivals)) == len(arrivals):
        reading.chunk_times, reading.chunk_tokens = arrivals, shares
        return
    for arrived_at, tokens in zip(arrivals, shares, strict=True):
        if reading.chunk_times and reading.chunk_times[-1] == arrived_at:
            reading.chunk_tokens[-1] += tokens
        else:
            reading.chunk_times.append(arrived_at)
            reading.chunk_tokens.append(tokens)


def spread(tokens: int, lengths: Sequence[int]) -> list[int]:
    """Spread `tokens` over events of these text lengths, by the rule at the top of this file."""
    events, rest = len(lengths), tokens - len(lengths)
    if rest < 0:
        marks = [-(-tokens * place // events) for place in range(events + 1)]
        return [after - before for before, after in pairwise(marks)]
    if not rest:
        return [1] * events
    weights = lengths if any(lengths) else [1] * events
    whole = sum(weights)
    marks = [(2 * rest * upto + whole) // (2 * whole) for upto in accumulate(weights, initial=0)]
    return [1 + after - before for before, after in pairwise(marks)]


def _located(arrivals: Sequence[float], tokens: int) -> bool:
    """Return whether each token has a time of its own: one came with each event, or all came in one read."""
    return arrivals[0] == arrivals[-1] or abs(tokens - len(arrivals)) <= 1 + TEXTLESS_SHARE * tokens


def _count(value: Any) -> int | None:
    """Return a token count, or None for what cannot be one."""
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value) if 0 <= value <= LARGEST_COUNT else None
    return None


def _text_length(choices: Any) -> int:
    """Return the number of characters that an event's choices bring; a part of a content list counts as one."""
    if not isinstance(choices, list):
        return 0
    length = 0
    for choice in choices:
        if not isinstance(choice, dict):
            continue
        text = choice.get("text")
        if isinstance(text, str):
            length += len(text)
        elif isinstance(delta := choice.get("delta"), dict):
            for key in _DELTA_TEXTS:
                if (text := delta.get(key)) and isinstance(text, _TEXTS):
                    length += len(text)
    return length
