"""The requests of a simulation from a recorded load. `llm_traces` reads its formats.

Only llm-bench's results and JSON lines have classes. Requests of other traces get their classes from a `Mix`, and all
requests get their tenants from it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_traces import RequestTrace, read_trace


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request of a trace."""

    at: float
    """Seconds after the start of the trace."""
    class_name: str
    tenant: str
    prompt_tokens: int
    output_tokens: int
    """Tokens that it generates if served."""
    max_tokens: int | None = None
    """The limit that the gateway sees; None if the trace has none."""


@dataclass(frozen=True, slots=True)
class Mix:
    """The shares of classes and of tenants. Both are drawn independently."""

    classes: Mapping[str, float]
    tenants: Mapping[str, float]

    def draw(self, seed: int) -> Iterator[tuple[str, str]]:
        """Yield (class, tenant) for one request after another, equal for equal seeds."""
        source = random.Random(seed)
        names, parts = list(self.classes), list(self.classes.values())
        tenants, shares = list(self.tenants), list(self.tenants.values())
        while True:
            yield from zip(source.choices(names, parts, k=1024), source.choices(tenants, shares, k=1024), strict=True)


def load_requests(path: Path, mix: Mix, seed: int) -> tuple[list[TraceRequest], RequestTrace]:
    """Return the requests of the trace in `path`, in order of arrival from 0, and the trace. Raise TraceError."""
    trace = read_trace(path)
    drawn = zip(trace.rows, mix.draw(seed), strict=False)
    requests = [
        TraceRequest(row.at, row.class_name or name, tenant, row.prompt_tokens, row.output_tokens, row.max_tokens)
        for row, (name, tenant) in drawn
    ]
    return requests, trace
