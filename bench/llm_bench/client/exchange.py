"""One request as the wire saw it: bytes and times, not parsed yet."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Exchange:
    """One request as the wire saw it. Times are `perf_counter` seconds."""

    sent_at: float
    headers_at: float | None = None
    ended_at: float = 0.0
    status: int = 0
    content_type: str = ""
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    """(arrival, body bytes) of each read that brought any."""
    failure: str | None = None
    """Failure on the wire: `connect`, `timeout`, `reset`, `protocol` or `incomplete` (cut short by us)."""
    detail: str = ""
