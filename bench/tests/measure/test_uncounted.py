"""Throughput of servers that send several tokens an event and count them once, in runs that are cut short."""

import pytest

from llm_bench.analyse.capacity import estimate_capacity
from llm_bench.client.exchange import Exchange
from llm_bench.measure.record import RequestRecord, fill_record
from llm_bench.measure.summary import summarise
from llm_bench.measure.uncounted import estimate_uncounted
from llm_bench.workload.scenario import Scenario
from llm_contract import sse

TOKENS_AN_EVENT = 8
EVENTS = 20
GAP = 0.05
"""Seconds between two events: 160 tokens a second for each stream."""
LENGTHS = {"kind": "fixed", "tokens": TOKENS_AN_EVENT * EVENTS}


def stream(index: int, at: float, until: float, *, continuous: bool = False) -> RequestRecord:
    """A stream sent `at`, whose client goes away at `until`."""
    record = RequestRecord(
        index=index, class_name="only", scheduled_at=at, planned_prompt_tokens=0, max_tokens=TOKENS_AN_EVENT * EVENTS
    )
    chunks = []
    for number in range(1, EVENTS + 1):
        usage = {"prompt_tokens": 1, "completion_tokens": TOKENS_AN_EVENT * number}
        with_usage = {"usage": usage} if continuous or number == EVENTS else {}
        event = sse.encode({"choices": [{"index": 0, "text": "four words of text"}], **with_usage})
        chunks.append((at + GAP * number, event + (sse.DONE if number == EVENTS else b"")))
    exchange = Exchange(sent_at=at, status=200, content_type="text/event-stream", ended_at=min(until, chunks[-1][0]))
    exchange.chunks = [chunk for chunk in chunks if chunk[0] < until]
    if len(exchange.chunks) < EVENTS:
        exchange.failure = "incomplete"
    fill_record(record, exchange, 0.0)
    return record


def streams(duration: float, *, continuous: bool = False) -> list[RequestRecord]:
    """Four users that each ask again at once, cut off at `duration`; each begins at another place in an answer."""
    length = GAP * EVENTS
    starts = [user * length / 4 + turn * length for user in range(4) for turn in range(int(duration / length) + 1)]
    return [stream(index, at, duration, continuous=continuous) for index, at in enumerate(starts) if at < duration]


@pytest.mark.parametrize("continuous", [True, False])
def test_capacity_is_the_same_however_the_server_counts(continuous: bool) -> None:
    records = streams(10.0, continuous=continuous)

    estimate_uncounted(records)
    capacity = estimate_capacity(records, users=4, duration=10.0, expected=(0, TOKENS_AN_EVENT * EVENTS))

    assert capacity.measured_output_tokens_per_second == pytest.approx(4 * TOKENS_AN_EVENT / GAP, rel=0.02)
    assert capacity.counted_by_server


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize(("warm_up", "cool_down"), [(0.0, 0.0), (2.0, 0.0), (2.0, 3.0)])
def test_throughput_of_a_window_is_the_same_however_the_server_counts(
    continuous: bool, warm_up: float, cool_down: float
) -> None:
    kind = {"weight": 1, "prompt_tokens": LENGTHS, "output_tokens": LENGTHS}
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "duration": 10,
            "warm_up": warm_up,
            "cool_down": cool_down,
            "arrivals": {"kind": "constant", "rate": 4},
            "classes": {"only": kind},
        }
    )
    records = streams(10.0, continuous=continuous)

    estimate_uncounted(records)
    figures = summarise(scenario, records).classes["all"]

    assert figures.output_tokens_per_second == pytest.approx(4 * TOKENS_AN_EVENT / GAP, rel=0.05)
    assert bool(figures.itl_token.count) is continuous


def test_an_estimate_never_exceeds_what_was_asked_for() -> None:
    counted, cut = stream(0, 0.0, 99.0), stream(1, 0.0, 0.99)
    cut.max_tokens = 30

    estimate_uncounted([counted, cut])

    assert (cut.output_tokens, sum(cut.chunk_tokens), cut.text_events) == (30, 30, 19)


def test_without_any_count_tokens_stay_events() -> None:
    cut = stream(0, 0.0, 0.52)

    estimate_uncounted([cut])

    assert (cut.output_tokens, cut.counted_by_server) == (10, False)
