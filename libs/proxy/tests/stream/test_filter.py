from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_contract import sse
from llm_proxy.stream import filter as stream_filter
from llm_proxy.stream.filter import StreamFilter
from llm_proxy.stream.token_counts import TokenCounts, stated

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
A, B = (sse.encode({"id": "x", "choices": [{"index": 0, "text": text}]}) for text in ("a", "é b"))
NULL_USAGE = sse.encode({"choices": [{"index": 0, "text": "a"}], "usage": None})
WITH_USAGE = sse.encode({"choices": [{"index": 0, "text": "a"}], "usage": USAGE})
ONLY_USAGE = sse.encode({"choices": [], "usage": USAGE})
SPACED_USAGE = b'data: {"choices": [], "usage" : {"prompt_tokens": 5, "completion_tokens": 2}}\n\n'
SAYS_ERROR = sse.encode({"choices": [{"index": 0, "text": 'an "error": null, "usage":{"prompt_tokens":1}'}]})
ERROR = sse.encode({"error": {"message": "gone", "code": 500}})
PIECES = [A, B, NULL_USAGE, WITH_USAGE, SAYS_ERROR, b": ping\n\n", b"event: x\ndata: {}\n\n", b"data:{}\n\n"]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def passed(found: StreamFilter, wire: bytes, places: list[int]) -> bytes:
    return b"".join([*(found.feed(chunk) for chunk in cut(wire, places)), found.end()])


def data_of(wire: bytes) -> list[bytes]:
    return list(sse.Decoder().feed(wire))


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8), st.lists(st.integers(0, 2000), max_size=12), st.booleans())
def test_a_whole_stream_goes_through_as_it_is_however_it_is_cut(
    pieces: list[bytes], places: list[int], drops: bool
) -> None:
    found, wire = StreamFilter(drops_usage=drops), b"".join(pieces) + sse.DONE
    assert passed(found, wire, places) == wire
    assert found.is_complete
    assert found.events == len(data_of(wire)) - 1
    assert found.usage() == (TokenCounts(5, 2) if WITH_USAGE in pieces else None)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=5),
    st.sampled_from([ONLY_USAGE, SPACED_USAGE]),
    st.lists(st.integers(0, 2000), max_size=12),
)
def test_the_usage_event_is_kept_from_a_client_that_did_not_ask(
    pieces: list[bytes], usage: bytes, places: list[int]
) -> None:
    found, wire = StreamFilter(drops_usage=True), b"".join(pieces)
    assert passed(found, wire + usage + sse.DONE, places) == wire + sse.DONE
    assert found.usage() == TokenCounts(5, 2)
    asked = StreamFilter()
    assert passed(asked, wire + usage + sse.DONE, places) == wire + usage + sse.DONE
    assert asked.usage() == TokenCounts(5, 2)


LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@settings(deadline=None)
@given(
    events=st.lists(st.sampled_from([b'data: {"a":1}', b": ping", 'data: {"é":2}'.encode()]), max_size=6),
    end=LINE_ENDS,
    blank=LINE_ENDS,
    tail=st.sampled_from([b"", b"da", b'data: {"a"', b"data: [DON", b'data: {"a":1}']),
    places=st.lists(st.integers(0, 500), max_size=12),
)
def test_half_an_event_never_goes_through(
    events: list[bytes], end: bytes, blank: bytes, tail: bytes, places: list[int]
) -> None:
    if (end, blank) == (b"\r", b"\n"):
        end = b"\n"  # together they are one line end
    whole, found = b"".join(event + end + blank for event in events), StreamFilter()
    out = passed(found, whole + tail, places)
    assert data_of(out) == data_of(whole)
    assert found.is_open


AFTER = [b"", b": bye\n\n", b"\r\n\r\n", sse.DONE, A, ERROR, b"\x00\xff", b"data: [DONE]", b"0\r\n\r\n"]


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize(
    "done", [sse.DONE, b"data: [DONE]\r\n\r\n", b"data: [DONE]\r\r", b"data:[DONE] \n\n", b": x\ndata: [DONE]\n\n"]
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_whatever_follows_done_is_dropped(done: bytes, after: bytes, size: int) -> None:
    found, wire = StreamFilter(), A + B + done + after
    out = passed(found, wire, list(range(0, len(wire), size)))
    assert out == A + B + sse.DONE
    assert found.is_complete


@pytest.mark.parametrize("done", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r", b"data:[DONE]\r\n"])
def test_the_end_of_the_bytes_ends_done(done: bytes) -> None:
    found = StreamFilter()
    assert passed(found, A + done, []) == A + sse.DONE
    assert found.is_complete


@pytest.mark.parametrize(
    ("event", "own"),
    [
        (ERROR, True),
        (sse.encode({"error": "gone"}), True),
        (sse.encode({"object": "error", "message": "gone"}), True),
        (b'event: error\ndata: {"message": "gone"}\n\n', True),
        (b"event: error\ndata: gone\n\n", True),
        (b"data: nonsense\n\n", False),
        (b"data: [1]\n\n", False),
    ],
)
@pytest.mark.parametrize("after", [b"", sse.DONE, A + sse.DONE])
def test_a_failed_stream_ends_before_its_error(event: bytes, own: bool, after: bytes) -> None:
    for places in ([], [*range(2000)]):
        found = StreamFilter()
        assert passed(found, A + event + after, places) == A
        assert not found.is_open
        assert not found.is_complete
        assert found.error_event == (event if own else b"")


def test_an_event_too_large_to_keep_fails_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_filter, "MAX_HELD_BYTES", 100)
    found = StreamFilter()
    assert found.feed(A + b'data: {"' + b"x" * 100) == A
    assert found.state.error == "an event is larger than 100 bytes"
    assert found.feed(b'"}\n\n') == b""


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from(PIECES), max_size=6))
def test_nothing_raises(chunks: list[bytes]) -> None:
    for rewrite in (None, lambda event: bool(event.update(id=1)) or True):
        found = StreamFilter(drops_usage=True, rewrite=rewrite)
        for chunk in chunks:
            found.feed(chunk)
        found.end()
        found.usage()


ODD_COUNTS: list[Any] = [None, True, -1, 2**63, 1.5, "10", [], {}]


@pytest.mark.parametrize("value", ODD_COUNTS)
def test_an_odd_usage_states_nothing(value: Any) -> None:
    for usage in (value, {**USAGE, "prompt_tokens": value}, {**USAGE, "completion_tokens": value}):
        found = StreamFilter()
        found.feed(b"data: " + orjson.dumps({"choices": [], "usage": usage}) + b"\n\n")
        assert found.usage() is None


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, TokenCounts(3, 4)),
        ({"input_tokens": 3, "output_tokens": 4}, TokenCounts(3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 3}, TokenCounts(3, 0)),
        ({"prompt_tokens": 3, "total_tokens": 5}, None),
        ({"prompt_tokens": 3, "completion_tokens": "4"}, None),
        (None, None),
    ],
)
def test_stated(usage: Any, counts: TokenCounts | None) -> None:
    assert stated({"usage": usage}) == counts


def test_a_stream_of_another_api_ends_with_its_bytes_or_with_an_error() -> None:
    wire = b'event: response.created\ndata: {"type": "x", "error": 1}\n\ndata: not json\n\n' + sse.DONE + A
    whole, broken, failed = (StreamFilter(ends_with_done=False) for _ in range(3))
    assert passed(whole, wire, [7, 30]) == wire
    assert whole.is_complete
    assert broken.feed(wire + b"data: {") == wire
    assert (broken.end(disconnected=True), broken.is_complete) == (b"", False)
    assert passed(failed, wire + b"event: error\ndata: {}\n\n" + A, []) == wire
    assert not failed.is_open
