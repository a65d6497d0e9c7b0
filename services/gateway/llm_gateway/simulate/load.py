"""The requests of a simulation, from a recorded load (`llm_traces` reads its formats).

Only a run of llm-bench and its JSON lines know classes; requests of other traces get theirs, and all get their tenants,
from a `Mix`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_traces import RequestTrace, read_trace


@dataclass(frozen=True, slots=True)
class TraceRequest:
    at: float
    """Seconds after the start of the trace."""
    class_name: str
    tenant: str
    prompt_tokens: int
    output_tokens: int
    """Tokens that it generates if it is served."""
    max_tokens: int | None = None
    """Limit that the gateway sees; None if the trace has none."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Parts of the requests that each class and each tenant gets, drawn independently."""

    classes: Mapping[str, float]
    tenants: Mapping[str, float]

    def draw(self, seed: int) -> Iterator[tuple[str, str]]:
        """(class, tenant) of one request after the other; the same for the same seed."""
        source = random.Random(seed)
        names, parts = list(self.classes), list(self.classes.values())
        tenants, shares = list(self.tenants), list(self.tenants.values())
        while True:
            yield from zip(source.choices(names, parts, k=1024), source.choices(tenants, shares, k=1024), strict=True)


def load_requests(path: Path, mix: Mix, seed: int) -> tuple[list[TraceRequest], RequestTrace]:
    """Return the requests of the trace in `path` by arrival, from 0 on, and the trace. Raises TraceError."""
    trace = read_trace(path)
    drawn = zip(trace.rows, mix.draw(seed), strict=False)
    requests = [
        TraceRequest(row.at, row.class_name or name, tenant, row.prompt_tokens, row.output_tokens, row.max_tokens)
        for row, (name, tenant) in drawn
    ]
    return requests, trace
