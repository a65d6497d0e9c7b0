"""A finished request against its promise.

Who counts: the promise is to requests that the gateway could have served. One that was rejected or that failed is a
miss. Left out, and counted apart, are requests whose client hung up, and those that were the client's own mistake:
malformed, unauthorised, over the tenant's own rate limit, or refused by the engine with a 4xx.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from llm_contract.errors import ErrorKind
from llm_gateway.outcomes import ENGINE_REJECTED, OK

TTFT, TPOT, DEADLINE, FAILED, REJECTED = VIOLATIONS = ("ttft", "tpot", "deadline", "failed", "rejected")
"""Ways to break a promise; the label `kind` of gateway_sla_violations_total."""

OVERLOADED = ErrorKind.QUEUE_FULL.type

REJECTED_OUTCOMES = frozenset(kind.label for kind in ErrorKind if kind.type == OVERLOADED or kind is ErrorKind.DRAINING)
"""The gateway turned the request away."""

EXCLUDED_OUTCOMES = frozenset(
    [ENGINE_REJECTED, *(kind.label for kind in ErrorKind if kind.status < 500 and kind.type != OVERLOADED)]
)
"""Outcomes that break no promise: the client left, or its request was invalid. Others, except ok, are failures."""


class SlaVerdict(IntEnum):
    """The verdict on a promise; stored as this integer."""

    MET = 0
    LATE = 1
    REJECTED = 2
    FAILED = 3
    EXCLUDED = 4


@dataclass(slots=True, kw_only=True)
class SlaRecord:
    """All durations are seconds; None is "not measured", and for a target "none was promised"."""

    time: float
    """Wall clock when the request ended, seconds since 1970."""
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
    """Arrival to the first token; only a streamed answer has one."""
    tpot: float | None = None
    """(e2e - ttft) / (output tokens - 1)"""
    e2e: float | None = None
    ttft_target: float | None = None
    tpot_target: float | None = None
    deadline: float | None = None
    """Arrival to the last byte, at most."""
    preempted: int = 0
    """Times that it was pulled back from an engine and queued again."""
    attempts: int = 1

    @property
    def met(self) -> bool | None:
        """None if the request counts neither way."""
        return None if self.outcome in EXCLUDED_OUTCOMES else not self.violations()

    def verdict(self) -> SlaVerdict:
        if self.outcome == OK:
            return SlaVerdict.LATE if self.violations() else SlaVerdict.MET
        if self.outcome in EXCLUDED_OUTCOMES:
            return SlaVerdict.EXCLUDED
        return SlaVerdict.REJECTED if self.outcome in REJECTED_OUTCOMES else SlaVerdict.FAILED

    def violations(self) -> tuple[str, ...]:
        """Every way in which the promise was broken; a time that was not measured breaks none."""
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
        """An answer in one piece has as long as the same tokens in a stream: TTFT + (n - 1) * TPOT."""
        if self.ttft_target is None or self.tpot_target is None:
            return ()
        budget = self.ttft_target + max(self.output_tokens - 1, 0) * self.tpot_target
        return (TTFT,) if _over(self.e2e, budget) else ()


def _over(value: float | None, target: float | None) -> bool:
    return value is not None and target is not None and value > target
