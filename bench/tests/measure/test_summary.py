import pytest

from llm_bench.measure.record import RequestRecord
from llm_bench.measure.summary import RunSummary, summarise
from llm_bench.workload.scenario import Scenario


def scenario(slo: bool = True) -> Scenario:
    lengths = {"kind": "fixed", "tokens": 10}
    kind = {"weight": 1, "prompt_tokens": lengths, "output_tokens": lengths, "slo": {"ttft": 1.0} if slo else {}}
    return Scenario.model_validate(
        {
            "name": "s",
            "duration": 10,
            "arrivals": {"kind": "constant", "rate": 1},
            "classes": {"interactive": kind, "batch": {**kind, "slo": {}}},
        }
    )


def answered(index: int, ttft: float, class_name: str = "interactive", at: float = 0.0) -> RequestRecord:
    """Three tokens in two chunks: one, then two of them 0.4 s later."""
    first = at + ttft
    return RequestRecord(
        index=index,
        class_name=class_name,
        scheduled_at=at,
        planned_prompt_tokens=10,
        max_tokens=3,
        prompt_tokens=10,
        sent_at=at,
        headers_at=at,
        ended_at=first + 0.4,
        status=200,
        outcome="ok",
        output_tokens=3,
        counted_by_server=True,
        chunk_times=[first, first + 0.4],
        chunk_tokens=[1, 2],
    )


def lost(index: int, outcome: str, ended_at: float = 5.0) -> RequestRecord:
    return RequestRecord(
        index=index,
        class_name="interactive",
        scheduled_at=1.0,
        planned_prompt_tokens=10,
        max_tokens=3,
        sent_at=1.0,
        ended_at=ended_at,
        outcome=outcome,
    )


def summary(*records: RequestRecord, slo: bool = True) -> RunSummary:
    return summarise(scenario(slo), records)


def test_figures_are_by_class_and_over_all() -> None:
    classes = summary(answered(0, 0.2), answered(1, 0.4), answered(2, 9.6, "batch")).classes

    assert list(classes) == ["interactive", "batch", "all"]
    assert [figures.requests for figures in classes.values()] == [2, 1, 3]
    assert classes["interactive"].ttft.p50 == pytest.approx(0.3)
    assert classes["all"].longest_wait == pytest.approx(9.6)
    assert classes["all"].total_tokens == 39
    assert classes["all"].output_tokens_per_second == pytest.approx(9 / 10.0)


def test_rejected_and_failed_requests_miss_their_slo_and_are_in_no_latency() -> None:
    result = summary(answered(0, 0.2), answered(1, 2.0), lost(2, "rejected"), lost(3, "reset"))

    figures = result.classes["interactive"]
    assert figures.slo_attainment == 0.25
    assert (figures.completed, figures.rejected, figures.failed) == (2, 1, 1)
    assert figures.ttft.count == 2
    assert result.errors == {"rejected": 1, "reset": 1}


def test_a_request_cut_off_without_a_token_has_waited_until_then() -> None:
    figures = summary(answered(0, 0.2), lost(1, "incomplete", ended_at=31.0)).classes["interactive"]

    assert figures.longest_wait == pytest.approx(30.0)
    assert figures.failed == 1


def test_a_rejection_is_an_answer_and_no_wait() -> None:
    assert summary(answered(0, 0.2), lost(1, "rejected", 9.0)).classes["interactive"].longest_wait == pytest.approx(0.2)


def test_requests_that_were_never_sent_are_left_out() -> None:
    unsent = RequestRecord(index=1, class_name="interactive", scheduled_at=9.0, planned_prompt_tokens=10, max_tokens=3)

    assert summary(answered(0, 0.2), unsent).classes["interactive"].requests == 1


def test_gaps_per_chunk_and_per_token_are_told_apart() -> None:
    figures = summary(answered(0, 0.2)).classes["interactive"]

    assert (figures.itl_chunk.count, figures.itl_token.count) == (1, 2)
    assert figures.itl_chunk.p50 == pytest.approx(0.4)
    assert figures.itl_token.p50 == pytest.approx(0.2)
    assert figures.tpot.p50 == pytest.approx(0.2)


def test_without_an_slo_there_is_no_attainment() -> None:
    result = summary(answered(0, 0.2), answered(1, 0.2, "batch"), slo=False)

    assert [figures.slo_attainment for figures in result.classes.values()] == [None, None, None]


def test_nothing_sent_is_no_division_by_zero() -> None:
    result = summary()

    assert result.seconds == 0
    assert result.classes["all"].longest_wait is None
    assert result.classes["all"].slo_attainment is None


def test_tenants_have_figures_of_their_own() -> None:
    one, other = answered(0, 0.2), answered(1, 2.0)
    one.tenant, other.tenant = "acme", "zeta"

    tenants = summary(one, other).tenants

    assert list(tenants) == ["acme", "zeta"]
    assert tenants["zeta"].ttft.p50 == pytest.approx(2.0)
    assert tenants["acme"].slo_attainment == 1.0
