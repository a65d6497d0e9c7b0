"""The target's capacity: its throughput in the steady state of a closed loop that keeps it busy.

The estimate counts work, not finished requests: each output token when it arrives, and each prompt when its first token
arrives. In a window of seconds, most requests begin before it or end after it, so a count of whole requests would be
off by several.

    work of a request  = output tokens + PREFILL_COST x prompt tokens
    requests per second = work done in a block / its length / mean work of a request of the scenario

A block with more long answers than the mix therefore still gives the mix's rate. The reported figure is the median
block's: a second in which the machine was busy with something else does not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm_bench.errors import TargetError
from llm_bench.measure.record import INCOMPLETE, RequestRecord

PREFILL_COST = 0.1
"""Work of a prompt token over that of an output token: prompts are computed many tokens at a time."""
WARM_UP = 0.3
"""Share of the run that is left out at its start: all users begin at once, and the requests in flight must settle."""
BLOCKS = 8
"""Number of blocks in the window; the spread of their rates is the estimate's uncertainty."""
MEDIAN_OVER_MEAN_ERROR = 1.25
"""Standard error of a median over that of a mean, for near-normal values: sqrt(pi / 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Steady state. Seconds and per second."""

    requests_per_second: float
    output_tokens_per_second: float
    """At the scenario's mix."""
    relative_error: float
    """Standard error of both rates, as a share of them, from the spread between blocks."""
    measured_output_tokens_per_second: float
    """As counted in the window, whatever mix it held."""
    window_seconds: float
    blocks: list[float]
    """Requests per second of each block."""
    users: int
    completed: int
    failed: int
    counted_by_server: bool
    """Whether tokens are the server's count; if not, they are events with text, which may hold several each."""


def estimate_capacity(
    records: Sequence[RequestRecord], *, users: int, duration: float, expected: tuple[float, float]
) -> Capacity:
    """Estimate the capacity from a closed loop's records. Raises TargetError if no token arrived.

    `expected`: mean (prompt, output) tokens of a request of the mix.
    """
    done = [record for record in records if record.ok]
    failed = [record for record in records if record.ended_at is not None and not record.ok]
    failed = [record for record in failed if record.outcome != INCOMPLETE]
    start = WARM_UP * duration
    times, work, output = _work_events(records)
    inside = (times >= start) & (times < duration)
    if not inside.any():
        reason = f"{failed[0].outcome}: {failed[0].detail}" if failed else "give it more time with --duration"
        raise TargetError(f"no token came between {start:.1f} s and {duration:.1f} s ({reason})")
    prompt_mean, output_mean = expected
    mean_work = output_mean + PREFILL_COST * prompt_mean
    window = duration - start
    per_block, _ = np.histogram(times, bins=np.linspace(start, duration, BLOCKS + 1), weights=work)
    blocks = per_block / (window / BLOCKS) / mean_work
    rate = float(np.median(blocks))
    if not rate:
        raise TargetError("tokens came in less than half of the window; give it more time with --duration")
    return Capacity(
        requests_per_second=rate,
        output_tokens_per_second=rate * output_mean,
        relative_error=float(MEDIAN_OVER_MEAN_ERROR * blocks.std(ddof=1) / np.sqrt(BLOCKS) / rate),
        measured_output_tokens_per_second=float(output[inside].sum()) / window,
        window_seconds=window,
        blocks=[float(block) for block in blocks],
        users=users,
        completed=len(done),
        failed=len(failed),
        counted_by_server=any(record.counted_by_server for record in records),
    )


def _work_events(records: Sequence[RequestRecord]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (time, work, output tokens) of every chunk of every stream, including streams that were cut off."""
    times: list[float] = []
    work: list[float] = []
    output: list[int] = []
    for record in records:
        for position, (at, tokens) in enumerate(zip(record.chunk_times, record.chunk_tokens, strict=True)):
            times.append(at)
            work.append(tokens + (PREFILL_COST * record.planned_prompt_tokens if position == 0 else 0.0))
            output.append(tokens)
    return np.array(times), np.array(work), np.array(output)
