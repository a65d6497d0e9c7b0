from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_contract.sse import DONE, DONE_DATA, EVENT_END, Decoder, Ending, StreamState, encode

JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(), lambda x: st.lists(x, max_size=3))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def decode(chunks: list[bytes]) -> list[bytes]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@settings(deadline=None)
@given(st.lists(JSON, max_size=6), st.lists(st.integers(0, 1000), max_size=30))
def test_what_encode_writes_comes_back_however_it_is_cut(payloads: list[Any], places: list[int]) -> None:
    wire = b"".join(map(encode, payloads)) + DONE
    events = decode(cut(wire, places))
    assert events[-1] == DONE_DATA
    assert [orjson.loads(event) for event in events[:-1]] == payloads


LINES = st.lists(
    st.sampled_from(
        ["data: a", "data:b", "data", "data: é", ": ping", "event: x", "id: 1", "retry: 5", "", "", "datax: y"]
    ),
    max_size=20,
)


@settings(deadline=None)
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n", "\r"]), places=st.lists(st.integers(0, 1000), max_size=30))
def test_any_chunking_and_any_line_end_give_the_same_events(lines: list[str], end: str, places: list[int]) -> None:
    wire = "".join(line + end for line in lines).encode()
    assert decode(cut(wire, places)) == decode(["".join(line + "\n" for line in lines).encode()])


@settings(deadline=None)
@given(st.lists(st.sampled_from(["data: a", "data: b", "event: x", ": ping", ""]), max_size=12), st.data())
def test_a_stream_cut_at_its_event_ends_has_the_same_events(lines: list[str], source: st.DataObject) -> None:
    ends = source.draw(st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=len(lines), max_size=len(lines)))
    wire = "".join(line + end for line, end in zip(lines, ends, strict=True)).encode()
    edges = [0, *(found.end() for found in EVENT_END.finditer(wire)), len(wire)]
    pieces = [wire[start:end] for start, end in pairwise(edges)]
    assert [event for piece in pieces for event in decode([piece])] == decode([wire])
    assert all(len(decode([piece])) <= 1 for piece in pieces)


@pytest.mark.parametrize(
    ("wire", "events"),
    [
        (b"data: 1\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data: 1\r\n\r\ndata: 2\r\r", [b"1", b"2"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b": comment\nevent: x\nid: 7\n\ndata: 1\n\n", [b"1"]),
        (b"\n\n\ndata: 1\n\n\n\n", [b"1"]),
        (b"data: cut short", []),
        (b"data: cut short\n", []),
    ],
)
def test_the_grammar(wire: bytes, events: list[bytes]) -> None:
    assert decode([wire]) == events
    assert decode([wire[index : index + 1] for index in range(len(wire))]) == events


TOKEN = b'data: {"choices": [{"text": "a"}]}\n\n'


@pytest.mark.parametrize(
    ("wire", "ending", "error"),
    [
        (TOKEN, Ending.OPEN, None),
        (TOKEN + DONE, Ending.COMPLETE, None),
        (TOKEN + b"data: [DONE]", Ending.COMPLETE, None),
        (TOKEN + b"data: [DONE]\r", Ending.COMPLETE, None),
        (TOKEN + b"data: [DONE] \n\n", Ending.COMPLETE, None),
        (TOKEN + b"data: [DONE] ", Ending.COMPLETE, None),
        (TOKEN + DONE + b": bye\n\n", Ending.COMPLETE, None),
        (TOKEN + DONE + b": bye", Ending.COMPLETE, None),
        (TOKEN + DONE + TOKEN + b"data: nonsense\n\n", Ending.COMPLETE, None),
        (b": hello\n\n" + TOKEN + b"data: [DON", Ending.OPEN, None),
        (TOKEN + b'data: {"error": null, "choices": []}\n\n', Ending.OPEN, None),
        (TOKEN + b'data: {"error": {"message": "gone"}}\n\n' + DONE, Ending.FAILED, "gone"),
        (TOKEN + b'data: {"error": "gone"}\n\n', Ending.FAILED, "gone"),
        (b'data: {"object": "error", "message": "gone"}\n\n' + DONE, Ending.FAILED, "gone"),
        (b'event: error\ndata: {"message": "gone"}\n\n' + DONE, Ending.FAILED, "gone"),
        (b'event: error\ndata: {"error": {"message": "gone"}}\n\n' + DONE, Ending.FAILED, "gone"),
        (b"event: error\ndata: gone\n\n" + DONE, Ending.FAILED, "an error event: gone"),
        (b"data: nonsense\n\n" + DONE, Ending.FAILED, "an event is not JSON: nonsense"),
        (b"data: 7\n\n" + DONE, Ending.FAILED, "an event is not a JSON object: 7"),
        (b"event: error\n\n" + TOKEN + DONE, Ending.COMPLETE, None),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_how_a_stream_ends(wire: bytes, ending: Ending, error: str | None, size: int) -> None:
    decoder, state = Decoder(), StreamState()
    for start in range(0, len(wire), size):
        state.note_all(decoder.events(wire[start : start + size]))
    state.note_all(decoder.end())
    assert (state.ending, state.error) == (ending, error)
