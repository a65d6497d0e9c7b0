"""The figures of one run, per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from llm_bench.measure.record import INCOMPLETE, NOT_SENT, REJECTED, RequestRecord
from llm_bench.measure.stats import Distribution, describe
from llm_bench.measure.window import SteadyWindow, steady_window
from llm_bench.workload.scenario import Scenario, Slo

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """Times in seconds; latencies are of requests that ended well."""

    requests: int
    """Requests that came due, whatever their outcome."""
    completed: int
    rejected: int
    failed: int
    """Errors and requests that were cut off."""
    slo_attainment: float | None
    """Share of `requests` that ended well within their SLO; None if no SLO is set or nothing was due."""
    goodput: float
    """Requests per second that met their SLO, over the run's length."""
    longest_wait: float | None
    """Longest time from scheduled arrival to first token, or to the cut-off for one that never got it."""
    prompt_tokens: int
    output_tokens: int
    output_tokens_per_second: float
    ttft: Distribution
    """From the scheduled time."""
    ttft_from_send: Distribution
    tpot: Distribution
    itl_chunk: Distribution
    """Between two chunks of a stream."""
    itl_token: Distribution
    """Between two tokens: a chunk of k tokens counts as k gaps of a k-th. Only of streams whose tokens are located."""
    e2e: Distribution
    schedule_lag: Distribution
    """How late the client sent."""
    requests_per_second: float | None = None
    """Requests that ended well, over the run's length; None in older results."""
    prompt_tokens_per_second: float | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class RunSummary:
    seconds: float
    """From the run's time 0 to the end of its last request; for a trimmed window, its length."""
    classes: dict[str, ClassFigures]
    """By class name, in the scenario's order, and `all`."""
    errors: dict[str, int] = field(default_factory=dict)
    """Number of requests by outcome, without those that ended well."""
    window: SteadyWindow | None = None
    """Part of the run that was counted, if it was trimmed; seconds from the run's time 0."""
    tenants: dict[str, ClassFigures] = field(default_factory=dict)


def summarise(scenario: Scenario, records: Sequence[RequestRecord]) -> RunSummary:
    """Summarise the requests that came due; those that an interrupted run cut off count as failed."""
    due = [record for record in records if record.outcome != NOT_SENT]
    window = steady_window(due, scenario.duration, scenario.warm_up, scenario.cool_down)
    slos = {name: kind.slo for name, kind in scenario.classes.items()}

    def of(wanted: Callable[[RequestRecord], bool]) -> ClassFigures:
        return _summarise_class([record for record in due if wanted(record)], slos, window, seconds)

    last = max((record.ended_at or 0.0 for record in due), default=0.0)
    seconds = min(window.end, scenario.duration) - window.start if window.is_trimmed else last
    classes = {name: of(lambda record, name=name: record.class_name == name) for name in scenario.classes}  # type: ignore[misc]
    classes[ALL] = of(lambda _: True)
    tenants = sorted({record.tenant for record in due if record.tenant is not None})
    by_tenant = {name: of(lambda record, name=name: record.tenant == name) for name in tenants}  # type: ignore[misc]
    errors = Counter(record.outcome for record in due if not record.ok and window.holds(record))
    return RunSummary(seconds, classes, dict(errors.most_common()), window if window.is_trimmed else None, by_tenant)


def _summarise_class(
    due: Sequence[RequestRecord], slos: dict[str, Slo], window: SteadyWindow, seconds: float
) -> ClassFigures:
    """Summarise the requests that were due in the window; token rates count tokens that arrived in it."""
    records = [record for record in due if window.holds(record)]
    done = [record for record in records if record.ok]
    rejected = sum(record.outcome == REJECTED for record in records)
    met = sum(record.meets(slos[record.class_name]) for record in records)
    has_slo = any(slos[record.class_name] != Slo() for record in records)
    output_tokens = sum(record.output_tokens for record in records)
    prompt_tokens = sum(record.prompt_tokens for record in records if record.first_token_at is not None)
    return ClassFigures(
        requests=len(records),
        completed=len(done),
        rejected=rejected,
        failed=len(records) - len(done) - rejected,
        slo_attainment=met / len(records) if has_slo and records else None,
        goodput=met / seconds if seconds and has_slo else 0.0,
        longest_wait=max(_waits(records), default=None),
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        output_tokens_per_second=_tokens_within(due, window, seconds) / seconds if seconds else 0.0,
        ttft=_describe(done, lambda record: record.ttft),
        ttft_from_send=_describe(done, lambda record: record.ttft_from_send),
        tpot=_describe(done, lambda record: record.tpot),
        itl_chunk=describe([gap for record in done for gap in record.chunk_gaps()]),
        itl_token=describe([gap for record in done for gap in record.token_gaps()]),
        e2e=_describe(done, lambda record: record.e2e),
        schedule_lag=_describe(records, lambda record: record.schedule_lag),
        requests_per_second=len(done) / seconds if seconds else 0.0,
        prompt_tokens_per_second=prompt_tokens / seconds if seconds else 0.0,
    )


def _tokens_within(due: Iterable[RequestRecord], window: SteadyWindow, seconds: float) -> int:
    if not window.is_trimmed:
        return sum(record.output_tokens for record in due)
    end = window.start + seconds
    return sum(
        tokens
        for record in due
        for at, tokens in zip(record.chunk_times, record.chunk_tokens, strict=True)
        if window.start <= at < end
    )


def _describe(records: Iterable[RequestRecord], metric: Callable[[RequestRecord], float | None]) -> Distribution:
    values = (metric(record) for record in records)
    return describe([value for value in values if value is not None])


def _waits(records: Iterable[RequestRecord]) -> Iterable[float]:
    for record in records:
        if record.ttft is not None:
            yield record.ttft
        elif record.outcome == INCOMPLETE and record.e2e is not None:
            yield record.e2e
