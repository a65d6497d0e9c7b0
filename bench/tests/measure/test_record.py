import orjson
import pytest

from llm_bench.client.exchange import Exchange
from llm_bench.measure.record import RequestRecord, fill_record, plan_record
from llm_bench.workload.scenario import Slo
from llm_bench.workload.schedule import PlannedRequest
from llm_contract import sse

PLANNED = PlannedRequest(index=3, scheduled_at=2.0, class_name="batch", prompt="prompt", prompt_tokens=40, max_tokens=4)
EPOCH = 1000.0


def token(text: str, counted: int) -> bytes:
    usage = {"prompt_tokens": 41, "completion_tokens": counted}
    return sse.encode({"choices": [{"index": 0, "text": text}], "usage": usage})


def good_exchange() -> Exchange:
    """Due at 2.0, sent at 2.1, tokens at 2.6, 2.8 (two of them) and 3.2, last byte at 3.2."""
    return Exchange(
        sent_at=EPOCH + 2.1,
        headers_at=EPOCH + 2.2,
        ended_at=EPOCH + 3.2,
        status=200,
        content_type="text/event-stream; charset=utf-8",
        chunks=[(EPOCH + 2.6, token("a", 1)), (EPOCH + 2.8, token("bc", 3)), (EPOCH + 3.2, token("d", 4) + sse.DONE)],
    )


def fill(exchange: Exchange) -> RequestRecord:
    record = plan_record(PLANNED)
    fill_record(record, exchange, EPOCH)
    return record


def test_latencies_count_from_the_schedule_and_from_the_send() -> None:
    record = fill(good_exchange())

    assert record.outcome == "ok"
    assert record.schedule_lag == pytest.approx(0.1)
    assert record.ttft == pytest.approx(0.6)
    assert record.ttft_from_send == pytest.approx(0.5)
    assert record.e2e == pytest.approx(1.2)
    assert record.tpot == pytest.approx(0.6 / 3)
    assert record.output_tokens == 4
    assert record.prompt_tokens == 41
    assert record.planned_prompt_tokens == 40


def test_gaps_are_per_chunk_and_per_token() -> None:
    record = fill(good_exchange())

    assert record.chunk_gaps() == pytest.approx([0.2, 0.4])
    assert record.token_gaps() == pytest.approx([0.1, 0.1, 0.4])


def test_a_chunk_without_a_token_is_no_token() -> None:
    record = fill(good_exchange())
    record.chunk_times, record.chunk_tokens = [1.0, 1.1, 1.4], [1, 0, 2]

    assert record.token_gaps() == pytest.approx([0.2, 0.2])


def test_gaps_per_token_are_not_known_where_chunks_of_several_tokens_are_counted_at_the_end() -> None:
    exchange = good_exchange()
    text = sse.encode({"choices": [{"index": 0, "text": "several"}]})
    usage = sse.encode({"choices": [], "usage": {"prompt_tokens": 41, "completion_tokens": 12}})
    exchange.chunks = [(EPOCH + 2.6, text), (EPOCH + 2.9, text), (EPOCH + 3.2, text + usage + sse.DONE)]

    record = fill(exchange)

    assert (record.ok, record.output_tokens, record.chunk_tokens) == (True, 12, [4, 4, 4])
    assert (record.token_gaps(), record.tokens_located) == ([], False)
    assert record.tpot == pytest.approx(0.6 / 11)


@pytest.mark.parametrize(
    ("content_type", "outcome"),
    [
        ("text/event-stream", "ok"),
        ("Text/Event-Stream; Charset=UTF-8", "ok"),
        ("  TEXT/EVENT-STREAM", "ok"),
        ("application/json", "not_sse"),
        ("", "not_sse"),
    ],
)
def test_a_content_type_has_no_case(content_type: str, outcome: str) -> None:
    exchange = good_exchange()
    exchange.content_type = content_type

    assert fill(exchange).outcome == outcome


def test_a_single_token_has_no_tpot() -> None:
    exchange = good_exchange()
    exchange.chunks = [(EPOCH + 2.6, token("a", 1) + sse.DONE)]

    record = fill(exchange)

    assert record.ok
    assert record.tpot is None
    assert record.meets(Slo(ttft=1.0, tpot=0.001))


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        (Slo(), True),
        (Slo(ttft=0.61), True),
        (Slo(ttft=0.59), False),  # 0.5 from send, but the user waited 0.6
        (Slo(tpot=0.19), False),
        (Slo(ttft=0.61, tpot=0.21, e2e=1.21), True),
        (Slo(e2e=1.19), False),
    ],
)
def test_every_bound_of_an_slo_must_hold(slo: Slo, met: bool) -> None:
    assert fill(good_exchange()).meets(slo) is met


def test_a_failed_request_meets_no_slo() -> None:
    exchange = good_exchange()
    exchange.failure = "reset"

    assert not fill(exchange).meets(Slo())


@pytest.mark.parametrize(
    ("status", "body", "outcome", "detail"),
    [
        (429, orjson.dumps({"error": {"message": "queue full"}}), "rejected", "queue full"),
        (503, b"busy", "rejected", "busy"),
        (500, b"<h1>Oops</h1>", "http_500", "<h1>Oops</h1>"),
        (404, b"", "http_404", ""),
    ],
)
def test_statuses_become_outcomes(status: int, body: bytes, outcome: str, detail: str) -> None:
    exchange = Exchange(EPOCH, status=status, content_type="application/json", chunks=[(EPOCH, body)])

    record = fill(exchange)

    assert (record.outcome, record.detail) == (outcome, detail)
    assert record.ttft is None


def test_html_with_status_200_is_not_an_answer() -> None:
    exchange = Exchange(EPOCH, status=200, content_type="text/html", chunks=[(EPOCH, b"<html>")])

    assert fill(exchange).outcome == "not_sse"


def test_streams_that_break_off_are_told_apart() -> None:
    cut, died, empty = good_exchange(), good_exchange(), good_exchange()
    cut.chunks = cut.chunks[:2]
    died.chunks[2] = (EPOCH + 3.2, sse.encode({"error": {"message": "engine died"}}) + sse.DONE)
    empty.chunks = [(EPOCH + 3.2, sse.DONE)]

    assert [fill(exchange).outcome for exchange in (cut, died, empty)] == ["truncated", "stream_error", "no_tokens"]


def test_without_usage_tokens_are_the_events_with_text() -> None:
    exchange = good_exchange()
    event = sse.encode({"choices": [{"index": 0, "text": "x"}]})
    exchange.chunks = [(EPOCH + 2.6, event), (EPOCH + 2.9, event + sse.DONE)]

    record = fill(exchange)

    assert (record.output_tokens, record.counted_by_server, record.prompt_tokens) == (2, False, 40)
