from collections.abc import Sequence

import pytest

from llm_bench.measure.record import RequestRecord
from llm_bench.measure.stats import describe
from llm_bench.measure.summary import summarise
from llm_bench.measure.verdict import RunVerdict, judge
from llm_bench.workload.scenario import Scenario

LENGTHS = {"kind": "fixed", "tokens": 3}
SCENARIO = Scenario.model_validate(
    {
        "name": "s",
        "duration": 40,
        "arrivals": {"kind": "constant", "rate": 10},
        "classes": {"only": {"weight": 1, "prompt_tokens": LENGTHS, "output_tokens": LENGTHS}},
    }
)


def run(count: int = 400, lag: float = 0.001) -> list[RequestRecord]:
    """`count` good requests, one every 0.1 s, each sent `lag` late."""
    return [
        RequestRecord(
            index=index,
            class_name="only",
            scheduled_at=0.1 * index,
            planned_prompt_tokens=3,
            max_tokens=3,
            prompt_tokens=3,
            sent_at=0.1 * index + lag,
            ended_at=0.1 * index + 0.5,
            status=200,
            outcome="ok",
            output_tokens=3,
            counted_by_server=True,
            chunk_times=[0.1 * index + 0.3, 0.1 * index + 0.5],
            chunk_tokens=[1, 2],
        )
        for index in range(count)
    ]


def verdict(records: Sequence[RequestRecord], client_cpu: float = 0.2, interrupted: bool = False) -> RunVerdict:
    return judge(records, summarise(SCENARIO, records), client_cpu=client_cpu, interrupted=interrupted)


def test_a_good_run_is_valid_and_needs_no_note() -> None:
    assert verdict(run()) == RunVerdict(valid=True)


def test_tokens_that_cannot_be_located_are_noted() -> None:
    records = run()
    records[0].tokens_located = False

    assert verdict(records).notes[0].startswith("ITL per token is not known for 1 of 400 answers")


def test_a_client_that_falls_behind_makes_a_run_invalid() -> None:
    result = verdict(run(lag=0.050))

    assert not result.valid
    assert result.reasons == ["the client fell behind its schedule: P99 lag 50.0 ms, limit 20.0 ms"]


def test_lag_that_is_small_beside_the_latency_is_forgiven() -> None:
    records = run(lag=0.050)
    for record in records:
        record.chunk_times = [at + 2.0 for at in record.chunk_times]
        record.ended_at = record.chunk_times[-1]

    assert verdict(records).valid


def test_a_rate_that_was_not_reached_makes_a_run_invalid() -> None:
    records = run()
    for record in records:
        record.sent_at = (record.sent_at or 0) * 1.1

    assert "requests went out at 9.09/s where the schedule has 10.00/s" in verdict(records).reasons


def test_errors_make_a_run_invalid_beyond_one_in_a_hundred() -> None:
    records = run()
    for record in records[:4]:
        record.outcome = "reset"
    assert verdict(records).valid

    records[4].outcome = "timeout"
    assert verdict(records).reasons == ["5 of 400 requests failed (4 reset, 1 timeout); limit 1%"]


def test_rejections_are_what_the_target_decided() -> None:
    records = run(500)
    for record in records[:100]:
        record.outcome = "rejected"

    result = verdict(records)

    assert result.valid
    assert "rejected 100 requests" in result.notes[0]


def test_a_run_of_rejections_alone_measured_nothing() -> None:
    records = run()
    for record in records:
        record.outcome = "rejected"

    assert verdict(records).reasons == ["no request completed"]


def test_a_run_that_was_cut_off_is_invalid() -> None:
    records = run()
    records[-1].outcome = "incomplete"

    assert verdict(records).reasons == ["1 of 400 requests were still running at the drain limit and were cut off"]


def test_an_interrupted_run_is_invalid() -> None:
    records = run()
    records[-1] = RequestRecord(index=399, class_name="only", scheduled_at=39.9, planned_prompt_tokens=3, max_tokens=3)

    assert verdict(records, interrupted=True).reasons == [
        "interrupted: 1 of 400 requests were never sent, 0 were cut off"
    ]


def test_a_client_out_of_cpu_makes_a_run_invalid() -> None:
    assert verdict(run(), client_cpu=0.97).reasons == ["the client used 97% of a core (limit 90%): spread it out"]


@pytest.mark.parametrize(("count", "noted"), [(367, True), (368, False)])
def test_too_few_samples_for_a_p99_are_noted(count: int, noted: bool) -> None:
    assert any("P99 of only 367 samples" in note for note in verdict(run(count)).notes) is noted


def test_answers_of_another_length_and_missing_usage_are_noted() -> None:
    records = run()
    for record in records[:10]:
        record.output_tokens = 2
        record.counted_by_server = False

    notes = verdict(records).notes

    assert any("10 of 400 answers were not as long as asked" in note for note in notes)
    assert any("sent no usage" in note for note in notes)


def test_nothing_sent_is_invalid() -> None:
    assert (
        "no request was sent"
        in verdict(
            [RequestRecord(index=0, class_name="only", scheduled_at=0.0, planned_prompt_tokens=3, max_tokens=3)]
        ).reasons
    )


def test_a_late_event_loop_makes_the_run_invalid() -> None:
    records = run()

    late = judge(records, summarise(SCENARIO, records), client_cpu=0.2, loop_lag=describe([0.001] * 50 + [0.05] * 50))

    assert late.reasons == ["the client's event loop was late: P99 50.0 ms, limit 20.0 ms"]


def test_a_closed_loop_that_ran_out_is_invalid() -> None:
    records = run()

    result = judge(records, summarise(SCENARIO, records), client_cpu=0.2, ran_out=True)

    assert result.reasons == ["the closed loop used up its 400 requests early: send an open loop at a higher rate"]


def test_rows_that_were_left_out_are_noted() -> None:
    records = run()

    assert judge(records, summarise(SCENARIO, records), client_cpu=0.2, left_out=["3 bad rows were skipped"]).notes == [
        "3 bad rows were skipped"
    ]
