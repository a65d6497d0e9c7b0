from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.measure.stream import StreamReading, read_stream, spread
from llm_contract import sse


def text_event(text: str, counted: int | None = None) -> bytes:
    usage = {} if counted is None else {"usage": {"prompt_tokens": 5, "completion_tokens": counted}}
    return sse.encode({"choices": [{"index": 0, "text": text}], **usage})


def delta_event(**delta: str) -> bytes:
    return sse.encode({"choices": [{"index": 0, "delta": delta}]})


def usage_event(counted: Any) -> bytes:
    return sse.encode({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": counted}})


def test_each_event_with_text_is_a_token_at_its_arrival() -> None:
    reading = read_stream([(1.0, text_event("a")), (1.5, text_event("b")), (1.6, usage_event(2) + sse.DONE)])

    assert reading == StreamReading([1.0, 1.5], [1, 1], text_events=2, prompt_tokens=5, output_tokens=2, finished=True)


def test_counts_along_the_way_give_the_tokens_of_each_chunk() -> None:
    reading = read_stream([(1.0, text_event("a", 1)), (1.5, text_event("bcd", 4)), (1.6, usage_event(4) + sse.DONE)])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.0, 1.5], [1, 3])


def test_tokens_without_text_before_the_first_text_count_with_it() -> None:
    reading = read_stream([(1.0, text_event("", 1)), (1.5, text_event("é", 2)), (2.0, text_event("x", 3))])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.5, 2.0], [2, 1])


def test_tokens_without_text_later_on_still_arrived() -> None:
    reading = read_stream([(1.0, text_event("a", 1)), (1.5, text_event("", 2)), (2.0, text_event("é", 3))])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.0, 1.5, 2.0], [1, 1, 1])


def test_text_that_brings_no_new_token_is_a_chunk_of_none() -> None:
    reading = read_stream([(1.0, text_event("a", 1)), (1.5, text_event("held back", 1)), (2.0, text_event("b", 2))])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.0, 1.5, 2.0], [1, 0, 1])


def test_a_count_that_comes_only_at_the_end_is_not_counted_twice() -> None:
    reading = read_stream([(1.0, text_event("a")), (1.5, text_event("b")), (2.0, text_event("c", 3))])

    assert reading.chunk_tokens == [1, 1, 1]
    assert reading.output_tokens == 3


def test_events_that_came_together_are_one_chunk() -> None:
    reading = read_stream([(1.0, text_event("a") + text_event("b")), (2.0, text_event("c"))])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.0, 2.0], [2, 1])


def test_a_chat_stream_begins_with_its_first_content_not_with_its_role() -> None:
    reading = read_stream([(1.0, delta_event(role="assistant", content="")), (2.0, delta_event(content="hi"))])

    assert reading.chunk_times == [2.0]


def test_reasoning_is_content() -> None:
    assert read_stream([(1.0, delta_event(reasoning_content="hm"))]).chunk_times == [1.0]


DONE = sse.DONE
A, B, C = text_event("a"), text_event("b"), text_event("c")
FORTY = b"".join(text_event("x") for _ in range(40))


@pytest.mark.parametrize(
    ("events", "tokens", "total", "located"),
    [
        # One token an event, whatever its length.
        ([A, text_event("bcdefgh"), usage_event(2)], [1, 1], 2, True),
        # Several tokens an event, counted at the end: one each, then the rest by text length.
        ([text_event("x" * 10), text_event("x" * 30), usage_event(10)], [3, 7], 10, False),
        ([text_event("x" * 4)] * 5 + [usage_event(50)], [10] * 5, 50, False),
        # The same with a count in each chunk, or in every other one.
        ([text_event("x" * 10, 2), text_event("x" * 30, 10)], [2, 8], 10, True),
        ([A, text_event("bc", 4), C, text_event("de", 8)], [2, 2, 2, 2], 8, False),
        # A token without text at the end belongs to the longest text; it does not spoil one token an event.
        ([A, text_event("bbb"), C, usage_event(4)], [1, 2, 1], 4, True),
        # The server's count is authoritative, also below the number of events with text.
        ([A, B, C, A, usage_event(2)], [1, 0, 1, 0], 2, False),
        ([text_event("a", 1), text_event("b", 2), usage_event(3)], [1, 2], 3, True),
        # A usage in front of the last text covers it, once the stream is complete.
        ([A, usage_event(3), B], [2, 1], 3, True),
        # Counts that fall: only the last can be right.
        ([text_event("a", 5), text_event("b", 2)], [1, 1], 2, True),
        # What is no count is no count.
        ([A, B, usage_event(0)], [1, 1], None, True),
        ([A, B, usage_event(None)], [1, 1], None, True),
        ([A, B, usage_event("2")], [1, 1], None, True),
        ([A, B, usage_event(-4)], [1, 1], None, True),
        ([A, B, usage_event(True)], [1, 1], None, True),
        ([A, B, usage_event(10**18)], [1, 1], None, True),
        ([A, B, usage_event(6.5)], [1, 1], None, True),
        ([A, B, usage_event(2.0)], [1, 1], 2, True),
        ([A, B, sse.encode({"choices": [], "usage": [1, 2]})], [1, 1], None, True),
        ([A, B, sse.encode({"choices": [], "usage": {}})], [1, 1], None, True),
    ],
)
def test_totals_are_the_servers_and_are_spread_by_rule(
    events: list[bytes], tokens: list[int], total: int | None, located: bool
) -> None:
    reading = read_stream([*((float(at), event) for at, event in enumerate(events)), (99.0, DONE)])

    assert (reading.chunk_tokens, reading.output_tokens, reading.tokens_located) == (tokens, total, located)
    assert reading.chunk_times == sorted(set(reading.chunk_times))


def test_forty_events_that_the_server_counts_as_ten_tokens_are_ten() -> None:
    reading = read_stream([(1.0, FORTY), (2.0, usage_event(10) + DONE)])

    assert (reading.chunk_times, reading.chunk_tokens, reading.output_tokens) == ([1.0], [10], 10)


def test_text_behind_the_last_count_of_a_stream_that_breaks_is_not_counted_by_the_server() -> None:
    reading = read_stream([(1.0, text_event("a", 3)), (2.0, B)])

    assert (reading.chunk_tokens, reading.output_tokens, reading.text_events) == ([3, 1], None, 2)


ERROR = sse.encode({"error": {"message": "engine died"}})


@pytest.mark.parametrize(
    ("ending", "finished", "error"),
    [
        (DONE, True, None),
        (b"data: [DONE]", True, None),
        (b"data:[DONE]\n", True, None),
        (b"data: [DONE]\r\n\r\n", True, None),
        (DONE + b": bye\n\n", True, None),
        (DONE + ERROR, True, None),
        (sse.encode({"error": None, "choices": []}) + DONE, True, None),
        (sse.encode({"object": "ping"}) + DONE, True, None),
        (b"", False, None),
        (b"data: [DON", False, None),
        (ERROR, False, "engine died"),
        (ERROR + DONE, False, "engine died"),
        (b'event: error\ndata: {"message": "engine died"}\n\n' + DONE, False, "engine died"),
        (b"event: error\ndata: engine died\n\n" + DONE, False, "engine died"),
        (sse.encode({"object": "error", "message": "engine died"}) + DONE, False, "engine died"),
        (b"data: <html>\n\n" + DONE, False, "not JSON"),
        (b"data: 7\n\n" + DONE, False, "7"),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_a_stream_ends_as_the_grammar_says(ending: bytes, finished: bool, error: str | None, together: bool) -> None:
    chunks = [(1.0, A + ending)] if together else [(1.0, A), (2.0, ending)]

    reading = read_stream(chunks)

    assert (reading.finished, reading.chunk_tokens) == (finished, [1])
    assert (error in reading.error) if error and reading.error else reading.error is error


def test_an_event_without_meaning_to_us_changes_nothing() -> None:
    assert read_stream([(1.0, sse.encode({"object": "ping"}))]) == StreamReading()


COUNTS = st.one_of(
    st.integers(0, 300), st.none(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=3)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.text(max_size=6) | JSON
CHOICES = st.lists(
    st.fixed_dictionaries({}, optional={"text": TEXTS, "delta": st.fixed_dictionaries({"content": TEXTS}) | JSON})
    | JSON,
    max_size=2,
)
USAGE = st.fixed_dictionaries({}, optional={"prompt_tokens": COUNTS, "completion_tokens": COUNTS}) | JSON
PAYLOADS = st.fixed_dictionaries(
    {}, optional={"choices": CHOICES | JSON, "usage": USAGE, "error": JSON, "object": JSON, "id": JSON}
)
EVENTS = st.one_of(
    PAYLOADS.map(sse.encode),
    JSON.map(sse.encode),
    st.binary(max_size=30),
    st.sampled_from([DONE, b"data: [DONE]", b"event: error\n", A, usage_event(3), text_event("ab", 2), b": ping\n\n"]),
)


@given(st.lists(EVENTS, max_size=8))
def test_nothing_a_server_sends_may_raise_and_the_chunks_add_up_to_its_count(events: list[bytes]) -> None:
    reading = read_stream((float(at), event) for at, event in enumerate(events))

    assert len(reading.chunk_times) == len(reading.chunk_tokens)
    assert all(tokens >= 0 for tokens in reading.chunk_tokens)
    assert not reading.chunk_tokens or reading.chunk_tokens[0] > 0
    if reading.chunk_tokens and reading.output_tokens is not None:
        assert sum(reading.chunk_tokens) == reading.output_tokens
    assert not (reading.finished and reading.error)


@given(st.lists(EVENTS, max_size=6), st.data())
def test_the_fast_path_reads_what_the_grammar_reads(events: list[bytes], data: st.DataObject) -> None:
    """A comment at the start takes every byte through the decoder."""
    whole = read_stream([(0.0, event) for event in events])
    slow = read_stream([(0.0, b":\n"), *((0.0, event) for event in events)])

    assert whole == slow


@given(st.integers(0, 10**6), st.lists(st.integers(0, 1000), min_size=1, max_size=50))
def test_spreading_keeps_the_total_and_the_order_of_lengths(tokens: int, lengths: list[int]) -> None:
    shares = spread(tokens, lengths)

    assert (sum(shares), len(shares)) == (tokens, len(lengths))
    assert min(shares) >= 0
    if tokens >= len(lengths):
        assert min(shares) >= 1
        rest, whole = tokens - len(lengths), sum(lengths)
        assert all(
            abs(share - 1 - rest * length / whole) <= 1 for share, length in zip(shares, lengths, strict=True) if whole
        )


@given(cuts=st.lists(st.integers(1, 40), max_size=30))
def test_however_the_network_cuts_the_bytes_the_tokens_are_the_same(cuts: list[int]) -> None:
    whole = b"".join([*(text_event(f"é{index}", index + 1) for index in range(6)), usage_event(6), sse.DONE])
    pieces, rest = [], whole
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    pieces.append(rest)

    reading = read_stream((float(index), piece) for index, piece in enumerate(pieces))

    assert sum(reading.chunk_tokens) == 6 == reading.output_tokens
    assert reading.finished
    assert orjson.loads(orjson.dumps(reading.chunk_times)) == sorted(set(reading.chunk_times))
