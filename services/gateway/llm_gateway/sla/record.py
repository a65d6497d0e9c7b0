"""A finished request, compared with its targets.

The promise covers requests that the gateway could have served. A rejected or failed request is a miss. Two kinds are
excluded and counted separately: requests whose client hung up, and the client's own mistakes (malformed, unauthorised,
above the tenant's rate limit, or refused by the engine with a 4xx).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from llm_contract.errors import ErrorKind
from llm_proxy.outcomes import ENGINE_REJECTED, OK

TTFT, TPOT, DEADLINE, FAILED, REJECTED = VIOLATIONS = ("ttft", "tpot", "deadline", "failed", "rejected")
"""Kinds of violations; the label `kind` of gateway_sla_violations_total."""

OVERLOADED = ErrorKind.QUEUE_FULL.type

REJECTED_OUTCOMES = frozenset(kind.label for kind in ErrorKind if kind.type == OVERLOADED or kind is ErrorKind.DRAINING)
"""Outcomes of requests that the gateway refused."""

EXCLUDED_OUTCOMES = frozenset(
    [ENGINE_REJECTED, *(kind.label for kind in ErrorKind if kind.status < 500 and kind.type != OVERLOADED)]
)
"""Outcomes that break no promise: the client hung up or its request was invalid."""


class SlaVerdict(IntEnum):
    """The result of a request against its targets. The database stores this integer."""

    MET = 0
    LATE = 1
    REJECTED = 2
    FAILED = 3
    EXCLUDED = 4


@dataclass(slots=True, kw_only=True)
class SlaRecord:
    """The facts about a finished request. Durations are in seconds; None means not measured, or no target."""

    time: float
    """End of the request on the wall clock, seconds since 1970."""
    class_name: str
    tenant: str
    engine: str
    outcome: str
    """The label of gateway_requests_total."""
    streamed: bool
    prompt_tokens: int = 0
    output_tokens: int = 0
    queue_wait: float | None = None
    ttft: float | None = None
    """Time from arrival to the first token, for streamed answers only."""
    tpot: float | None = None
    """(e2e - ttft) / (output tokens - 1)"""
    e2e: float | None = None
    ttft_target: float | None = None
    tpot_target: float | None = None
    deadline: float | None = None
    """Limit on the time from arrival to the last byte."""
    preempted: int = 0
    """How often it was pulled back from an engine and queued again."""
    attempts: int = 1

    @property
    def met(self) -> bool | None:
        """Whether the targets were met; None if the request is excluded."""
        return None if self.outcome in EXCLUDED_OUTCOMES else not self.violations()

    def verdict(self) -> SlaVerdict:
        if self.outcome == OK:
            return SlaVerdict.LATE if self.violations() else SlaVerdict.MET
        if self.outcome in EXCLUDED_OUTCOMES:
            return SlaVerdict.EXCLUDED
        return SlaVerdict.REJECTED if self.outcome in REJECTED_OUTCOMES else SlaVerdict.FAILED

    def violations(self) -> tuple[str, ...]:
        """Return the kinds of violations. A time that was not measured violates no target."""
        if self.outcome != OK:
            if self.outcome in EXCLUDED_OUTCOMES:
                return ()
            return (REJECTED,) if self.outcome in REJECTED_OUTCOMES else (FAILED,)
        late = self._late_tokens() if self.streamed else self._late_whole()
        return (*late, DEADLINE) if _over(self.e2e, self.deadline) else late

    def _late_tokens(self) -> tuple[str, ...]:
        late_first, slow = _over(self.ttft, self.ttft_target), _over(self.tpot, self.tpot_target)
        if late_first:
            return (TTFT, TPOT) if slow else (TTFT,)
        return (TPOT,) if slow else ()

    def _late_whole(self) -> tuple[str, ...]:
        """Check a whole answer. It has the same time as its tokens in a stream: TTFT + (n - 1) * TPOT."""
        if self.ttft_target is None or self.tpot_target is None:
            return ()
        budget = self.ttft_target + max(self.output_tokens - 1, 0) * self.tpot_target
        return (TTFT,) if _over(self.e2e, budget) else ()


def _over(value: float | None, target: float | None) -> bool:
    return value is not None and target is not None and value > target
