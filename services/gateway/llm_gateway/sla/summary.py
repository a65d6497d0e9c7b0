"""Summary of a window: attainment, goodput, percentiles and fairness, per class and per tenant of a class.

attainment   met / requests. Rejected and failed requests are misses; excluded ones are not in `requests`.
goodput      Requests per second that met their targets.
percentile   Interpolated between the two nearest values, as everywhere in this project (`llm_report.percentile`).
jain         Jain's index of fairness (Jain, Chiu, Hawe 1984), (sum x)^2 / (n sum x^2), over the tenants'
             x = (prompt + output tokens) / weight; 1 means equal shares. It is meaningful only while tenants contend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from llm_gateway.classes import PriorityClass
from llm_gateway.sla.record import SlaVerdict
from llm_gateway.sla.window import Floats, Integers, Window
from llm_report import percentile as definition

TENANT_ROWS = 500
"""Most pairs of class and tenant in a summary. Those with the most requests are kept."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles in seconds; None without a value."""

    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a class, or of a tenant within a class."""

    requests: int
    met: int
    late: int
    rejected: int
    failed: int
    excluded: int
    """Not in `requests`: the client hung up or made a mistake."""
    attainment: float | None
    goodput: float
    prompt_tokens: int
    output_tokens: int
    ttft: Percentiles
    tpot: Percentiles
    e2e: Percentiles
    queue_wait: Percentiles
    longest_wait: float | None


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """The summary of one class."""

    name: str
    ttft_target: float | None
    """The current target; None for a class that is no longer configured."""
    tpot_target: float | None
    figures: Figures
    jain: float | None


@dataclass(frozen=True, slots=True)
class TenantSummary:
    """The summary of one tenant within a class."""

    class_name: str
    tenant: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class SlaSummary:
    """The summary of a window, from `start` to `end`, seconds since 1970."""

    start: float
    end: float
    seconds: float
    """Length of the time over which goodput is computed."""
    classes: list[ClassSummary]
    """The configured classes, most urgent first, then other classes in the window."""
    tenants: list[TenantSummary]
    tenants_left_out: int
    jain: float | None


def summarise(window: Window, classes: Iterable[PriorityClass], weight: Callable[[str], float]) -> SlaSummary:
    """Summarise a window. `weight` returns a tenant's weight, 1 for a tenant that is not configured."""
    configured = {cls.name: cls for cls in sorted(classes, key=lambda cls: cls.priority)}
    names = [*configured, *(name for name in window.classes if name not in configured)]
    tenants, left_out = _tenants(window, names)
    return SlaSummary(
        window.start,
        window.end,
        window.seconds,
        [_class(window, name, configured.get(name), weight) for name in names],
        tenants,
        left_out,
        _fairness(window, np.arange(len(window)), weight),
    )


def rows_of_class(window: Window, name: str) -> Integers:
    if name not in window.classes:
        return np.empty(0, dtype=int)
    return np.flatnonzero(window.class_code == window.classes.index(name))


def percentile(values: Floats, percent: int) -> float | None:
    """Return the project's percentile (`llm_report.percentile`), None without values."""
    return definition.percentile(values, percent) if len(values) else None


def known(values: Floats) -> Floats:
    """Return the values that were measured, in ascending order."""
    return np.sort(values[~np.isnan(values)])


def jain(shares: Sequence[float]) -> float | None:
    """Return Jain's index, None without a share above zero."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else None


def _class(window: Window, name: str, cls: PriorityClass | None, weight: Callable[[str], float]) -> ClassSummary:
    rows = rows_of_class(window, name)
    return ClassSummary(
        name,
        cls.ttft_target if cls else None,
        cls.tpot_target if cls else None,
        _figures(window, rows),
        _fairness(window, rows, weight),
    )


def _tenants(window: Window, class_order: Sequence[str]) -> tuple[list[TenantSummary], int]:
    """Return the tenants' summaries and how many were left out. Sorting groups the rows by (class, tenant)."""
    pair = window.class_code * max(len(window.tenants), 1) + window.tenant_code
    order = np.argsort(pair, kind="stable")
    pairs, begins, counts = np.unique(pair[order], return_index=True, return_counts=True)
    shown = np.argsort(-counts, kind="stable")[:TENANT_ROWS]
    found = []
    for place in shown:
        cls, tenant = divmod(int(pairs[place]), len(window.tenants))
        rows = order[begins[place] : begins[place] + counts[place]]
        found.append(TenantSummary(window.classes[cls], window.tenants[tenant], _figures(window, rows)))
    found.sort(key=lambda one: class_order.index(one.class_name))
    return found, len(pairs) - len(shown)


def _figures(window: Window, rows: Integers) -> Figures:
    verdicts = [int(count) for count in np.bincount(window.verdict[rows], minlength=len(SlaVerdict))]
    requests, met = sum(verdicts) - verdicts[SlaVerdict.EXCLUDED], verdicts[SlaVerdict.MET]
    waits = known(window.queue_wait[rows])
    return Figures(
        requests=requests,
        met=met,
        late=verdicts[SlaVerdict.LATE],
        rejected=verdicts[SlaVerdict.REJECTED],
        failed=verdicts[SlaVerdict.FAILED],
        excluded=verdicts[SlaVerdict.EXCLUDED],
        attainment=met / requests if requests else None,
        goodput=met / window.seconds,
        prompt_tokens=int(window.prompt_tokens[rows].sum()),
        output_tokens=int(window.output_tokens[rows].sum()),
        ttft=_percentiles(known(window.ttft[rows])),
        tpot=_percentiles(known(window.tpot[rows])),
        e2e=_percentiles(known(window.e2e[rows])),
        queue_wait=_percentiles(waits),
        longest_wait=float(waits[-1]) if len(waits) else None,
    )


def _percentiles(ordered: Floats) -> Percentiles:
    return Percentiles(*(percentile(ordered, percent) for percent in (50, 90, 99)))


def _fairness(window: Window, rows: Integers, weight: Callable[[str], float]) -> float | None:
    """Return Jain's index over all tenants in the rows."""
    codes = window.tenant_code[rows]
    tokens = np.bincount(codes, window.prompt_tokens[rows] + window.output_tokens[rows])
    return jain([float(tokens[code]) / weight(window.tenants[code]) for code in np.unique(codes)])
