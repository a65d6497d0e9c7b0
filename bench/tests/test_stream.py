import orjson
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.stream import StreamReading, read_stream
from llm_contract import sse


def text_event(text: str, counted: int | None = None) -> bytes:
    usage = {} if counted is None else {"usage": {"prompt_tokens": 5, "completion_tokens": counted}}
    return sse.encode({"choices": [{"index": 0, "text": text}], **usage})


def delta_event(**delta: str) -> bytes:
    return sse.encode({"choices": [{"index": 0, "delta": delta}]})


def usage_event(counted: int) -> bytes:
    return sse.encode({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": counted}})


def test_each_event_with_text_is_a_token_at_its_arrival() -> None:
    reading = read_stream([(1.0, text_event("a")), (1.5, text_event("b")), (1.6, usage_event(2) + sse.DONE)])

    assert reading == StreamReading([1.0, 1.5], [1, 1], prompt_tokens=5, output_tokens=2, finished=True)


def test_counts_along_the_way_give_the_tokens_of_each_chunk() -> None:
    reading = read_stream([(1.0, text_event("a", 1)), (1.5, text_event("bcd", 4)), (1.6, usage_event(4) + sse.DONE)])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.0, 1.5], [1, 3])


def test_tokens_without_text_before_the_first_text_count_with_it() -> None:
    reading = read_stream([(1.0, text_event("", 1)), (1.5, text_event("é", 2)), (2.0, text_event("x", 3))])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.5, 2.0], [2, 1])


def test_tokens_without_text_later_on_still_arrived() -> None:
    reading = read_stream([(1.0, text_event("a", 1)), (1.5, text_event("", 2)), (2.0, text_event("é", 3))])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.0, 1.5, 2.0], [1, 1, 1])


def test_text_that_brings_no_new_token_is_no_chunk() -> None:
    reading = read_stream([(1.0, text_event("a", 1)), (1.5, text_event("held back", 1)), (2.0, text_event("b", 2))])

    assert (reading.chunk_times, reading.chunk_tokens) == ([1.0, 2.0], [1, 1])


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


def test_an_error_event_is_kept() -> None:
    reading = read_stream([(1.0, text_event("a")), (2.0, sse.encode({"error": {"message": "engine died"}}))])

    assert reading.error == "engine died"
    assert not reading.finished


def test_what_is_not_json_is_an_error() -> None:
    assert "not JSON" in (read_stream([(1.0, b"data: <html>\n\n")]).error or "")


def test_an_event_without_meaning_to_us_changes_nothing() -> None:
    assert read_stream([(1.0, sse.encode({"object": "ping"}))]) == StreamReading()
    assert "7" in (read_stream([(1.0, b"data: 7\n\n")]).error or "")


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
