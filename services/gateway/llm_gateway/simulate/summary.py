"""The figures of a replay for each class.

ttft        Time from arrival to first token in seconds: percentiles over the served requests.
attainment  Share of all requests that met both targets of their class, TTFT and TPOT = (E2E - TTFT) / (n - 1). A
            refused request counts as a miss.
wait        Longest time in the gateway's queue, seconds.
tokens      Output tokens generated.
jain        Jain's index over the tenants' tokens (prompt and output) per weight: 1 if all got the same, 1 / tenants if
            one got everything. It covers requests that got a slot before the last arrival: afterwards the queue empties
            in any order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import numpy as np

from llm_gateway.classes import PriorityClass
from llm_gateway.simulate.engine_model import Sequence
from llm_gateway.simulate.events import Replay
from llm_gateway.sla.summary import jain, known, percentile

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One row of the table. Times are in seconds, None if no request was served."""

    policy: str
    name: str
    requests: int
    rejected: int
    ttft_p50: float | None
    ttft_p99: float | None
    attainment: float
    longest_wait: float | None
    output_tokens: int
    jain: float | None
    violations: int


def summarise(result: Replay, classes: Iterable[PriorityClass], weights: Mapping[str, float]) -> list[ClassRow]:
    """Return a row for each class with requests, in the order of `classes`, and one for all together."""
    by_name = {cls.name: cls for cls in classes}
    groups: dict[str, list[Sequence]] = {name: [] for name in by_name}
    for sequence in result.sequences:
        groups[sequence.request.class_name].append(sequence)
    shown = [(name, group) for name, group in groups.items() if group] + [(ALL, result.sequences)]
    return [_row(result, name, group, by_name, weights=weights) for name, group in shown]


def _row(
    result: Replay,
    name: str,
    group: Ordered[Sequence],
    classes: Mapping[str, PriorityClass],
    *,
    weights: Mapping[str, float],
) -> ClassRow:
    served = [sequence for sequence in group if not math.isnan(sequence.granted)]
    ttft = known(np.array([one.first_token - one.request.at for one in served]))
    met = sum(_met(sequence, classes[sequence.request.class_name]) for sequence in served)
    last_arrival = result.sequences[-1].request.at
    return ClassRow(
        policy=result.policy,
        name=name,
        requests=len(group),
        rejected=len(group) - len(served),
        ttft_p50=percentile(ttft, 50),
        ttft_p99=percentile(ttft, 99),
        attainment=met / len(group),
        longest_wait=max((one.granted - one.request.at for one in served), default=None),
        output_tokens=sum(one.request.output_tokens for one in served),
        jain=_jain(group, last_arrival, weights),
        violations=sum(result.violations.values()) if name == ALL else result.violations[name],
    )


def _met(sequence: Sequence, cls: PriorityClass) -> bool:
    request = sequence.request
    if sequence.first_token - request.at > cls.ttft_target:
        return False
    decoding = sequence.finished - sequence.first_token
    return request.output_tokens < 2 or decoding / (request.output_tokens - 1) <= cls.tpot_target


def _jain(group: Ordered[Sequence], until: float, weights: Mapping[str, float]) -> float | None:
    """Return Jain's index, None with a single tenant."""
    tokens: Counter[str] = Counter({one.request.tenant: 0 for one in group})
    for one in group:
        if one.granted <= until:
            tokens[one.request.tenant] += one.request.prompt_tokens + one.request.output_tokens
    return jain([used / weights.get(tenant, 1.0) for tenant, used in tokens.items()]) if len(tokens) > 1 else None
