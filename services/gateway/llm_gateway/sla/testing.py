"""Finished requests for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llm_gateway.sla.record import SlaRecord

NOW = 1_700_000_000.0

ON_TIME = SlaRecord(
    time=NOW,
    class_name="interactive",
    tenant="acme",
    engine="e0",
    outcome="ok",
    streamed=True,
    prompt_tokens=20,
    output_tokens=11,
    queue_wait=0.1,
    ttft=0.3,
    tpot=0.05,
    e2e=0.8,
    ttft_target=0.5,
    tpot_target=0.1,
    deadline=5.0,
)


def record(**changes: Any) -> SlaRecord:
    """Return a streamed request that met its targets, with `changes`."""
    return replace(ON_TIME, **changes)
