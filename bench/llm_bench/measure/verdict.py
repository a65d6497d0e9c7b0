"""The verdict on a run: VALID if it is fit to be quoted, or INVALID with every reason; and notes for its readers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from llm_bench.measure.record import INCOMPLETE, NOT_SENT, OK, REJECTED, RequestRecord
from llm_bench.measure.stats import Distribution, samples_needed
from llm_bench.measure.summary import ALL, RunSummary

NOT_LOOKED_AT = Distribution()
LAG_LIMIT = 0.020
"""Seconds of P99 schedule lag that are always allowed: a timer tick and a busy core."""
LAG_SHARE = 0.05
"""Above LAG_LIMIT, lag is allowed up to this share of the median TTFT, which it is part of."""
ERROR_LIMIT = 0.01
"""Largest share of requests that can fail. Rejections are the target's decision and do not count."""
RATE_TOLERANCE = 0.02
"""Largest relative difference between the rate of sending and the schedule's rate."""
CLIENT_CPU_LIMIT = 0.90
"""Share of one core; beyond it the client measures itself."""
LENGTH_TOLERANCE = 0.01
"""Share of answers of another length than requested, above which a note says so."""


@dataclass(frozen=True, slots=True)
class RunVerdict:
    valid: bool
    reasons: list[str] = field(default_factory=list)
    """Why the run is invalid; empty if it is valid."""
    notes: list[str] = field(default_factory=list)


def judge(
    records: Sequence[RequestRecord],
    summary: RunSummary,
    *,
    client_cpu: float,
    interrupted: bool = False,
    left_out: Sequence[str] = (),
    loop_lag: Distribution = NOT_LOOKED_AT,
    ran_out: bool = False,
) -> RunVerdict:
    """Judge a run.

    `client_cpu`: CPU seconds of the client per second of the run; `loop_lag`: lag of its event loop, in seconds;
    `left_out`: notes on rows of the scenario's files that were left out; `ran_out`: a closed loop used up its requests
    early.
    """
    reasons = [*_coverage(records, interrupted), *_pace(records, summary, loop_lag), *_errors(summary)]
    if client_cpu > CLIENT_CPU_LIMIT:
        reasons.append(f"the client used {client_cpu:.0%} of a core (limit {CLIENT_CPU_LIMIT:.0%}): spread it out")
    if ran_out:
        reasons.append(f"the closed loop used up its {len(records)} requests early: send an open loop at a higher rate")
    notes = [*_lengths(records), *_sample_sizes(summary), *left_out]
    return RunVerdict(valid=not reasons, reasons=reasons, notes=notes)


def _coverage(records: Sequence[RequestRecord], interrupted: bool) -> Iterable[str]:
    unsent = sum(record.outcome == NOT_SENT for record in records)
    cut_off = sum(record.outcome == INCOMPLETE for record in records)
    if interrupted:
        yield f"interrupted: {unsent} of {len(records)} requests were never sent, {cut_off} were cut off"
    elif cut_off:
        yield f"{cut_off} of {len(records)} requests were still running at the drain limit and were cut off"


def _pace(records: Sequence[RequestRecord], summary: RunSummary, loop_lag: Distribution) -> Iterable[str]:
    lag, ttft = summary.classes[ALL].schedule_lag, summary.classes[ALL].ttft
    limit = max(LAG_LIMIT, LAG_SHARE * (ttft.p50 or 0.0))
    if lag.p99 is not None and lag.p99 > limit:
        yield f"the client fell behind its schedule: P99 lag {lag.p99 * 1e3:.1f} ms, limit {limit * 1e3:.1f} ms"
    if loop_lag.p99 is not None and loop_lag.p99 > limit:
        yield f"the client's event loop was late: P99 {loop_lag.p99 * 1e3:.1f} ms, limit {limit * 1e3:.1f} ms"
    asked, achieved = rates(records)
    if asked and abs(achieved / asked - 1) > RATE_TOLERANCE:
        yield f"requests went out at {achieved:.2f}/s where the schedule has {asked:.2f}/s"


def rates(records: Sequence[RequestRecord]) -> tuple[float, float]:
    """Return (scheduled, sent) requests per second over the span of the sent requests; 0 below two of them."""
    sent = [record for record in records if record.sent_at is not None and record.follows is None]
    if len(sent) < 2:
        return 0.0, 0.0
    scheduled_span = max(r.scheduled_at or 0.0 for r in sent) - min(r.scheduled_at or 0.0 for r in sent)
    sent_span = max(r.sent_at or 0.0 for r in sent) - min(r.sent_at or 0.0 for r in sent)
    if not scheduled_span or not sent_span:
        return 0.0, 0.0
    return (len(sent) - 1) / scheduled_span, (len(sent) - 1) / sent_span


def _errors(summary: RunSummary) -> Iterable[str]:
    due = summary.classes[ALL].requests
    errors = {kind: count for kind, count in summary.errors.items() if kind not in (REJECTED, INCOMPLETE)}
    failed = sum(errors.values())
    if not due:
        yield "no request was sent"
    elif failed / due > ERROR_LIMIT:
        kinds = ", ".join(f"{count} {kind}" for kind, count in errors.items())
        yield f"{failed} of {due} requests failed ({kinds}); limit {ERROR_LIMIT:.0%}"
    if due and not summary.classes[ALL].completed:
        yield "no request completed"


def _lengths(records: Sequence[RequestRecord]) -> Iterable[str]:
    done = [record for record in records if record.outcome == OK]
    other = sum(record.output_tokens != record.max_tokens for record in done)
    if done and other / len(done) > LENGTH_TOLERANCE:
        yield f"{other} of {len(done)} answers were not as long as asked: the load is not quite the scenario's"
    if any(not record.counted_by_server for record in done):
        yield "the target sent no usage: tokens are counted as events with text"
    spread = sum(not record.tokens_located for record in done)
    if spread:
        yield (
            f"ITL per token is not known for {spread} of {len(done)} answers: their chunks held several tokens, "
            "and the target counted them only at the end; throughput spreads each total over the chunks by text length"
        )
    rejected = sum(record.outcome == REJECTED for record in records)
    if rejected:
        yield f"the target rejected {rejected} requests; they count as SLO misses and are in no latency"


def _sample_sizes(summary: RunSummary) -> Iterable[str]:
    needed = samples_needed(99)
    small = [
        f"{name} {figures.ttft.count}"
        for name, figures in summary.classes.items()
        if name != ALL and figures.ttft.count < needed
    ]
    if small:
        yield (
            f"P99 of {', '.join(small)} samples is close to the slowest request; "
            f"bounding it above at 95% takes {needed} samples a class"
        )
