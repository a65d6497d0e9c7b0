from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SlaSettings(BaseModel):
    """Storage of finished requests for /sla and /sla/report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field("", description="SQLite file; empty: a temporary database that is deleted at exit")
    keep_seconds: float = Field(86400.0, ge=60, description="seconds after which requests are deleted")
    max_rows: int = Field(
        1_000_000, ge=1000, description="most requests that are kept, 0.1 KiB each; the oldest are deleted first"
    )
