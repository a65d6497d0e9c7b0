from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway import relay
from llm_gateway.relay import EVENT_ENDS, WholeEvents


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


@settings(deadline=None)
@given(
    events=st.lists(st.sampled_from([b'data: {"a":1}', b"data: [DONE]", b": ping", "data: é".encode()]), max_size=8),
    end=st.sampled_from(EVENT_ENDS),
    tail=st.sampled_from([b"", b"da", b'data: {"a"']),
    places=st.lists(st.integers(0, 500), max_size=12),
)
def test_only_whole_events_come_out_and_none_is_lost(
    events: list[bytes], end: bytes, tail: bytes, places: list[int]
) -> None:
    complete = b"".join(event + end for event in events)
    reader = WholeEvents()
    out = [piece for chunk in cut(complete + tail, places) if (piece := reader.feed(chunk))]
    assert b"".join(out) == complete
    assert all(piece.endswith(end) for piece in out)


def test_a_whole_event_is_not_delayed() -> None:
    reader = WholeEvents()
    assert reader.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert reader.feed(b"\n\n") == b"data: 2\n\n"


def test_an_event_too_large_to_keep_is_passed_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_HELD_BYTES", 8)
    reader = WholeEvents()
    assert reader.feed(b"data: 12") == b""
    assert reader.feed(b"345") == b"data: 12345"
    assert reader.feed(b"\n\n") == b"\n\n"
