from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SlaSettings(BaseModel):
    """How long finished requests are kept for /sla and /sla/report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field("", description="SQLite file; empty: a temporary database that ends with the process")
    keep_seconds: float = Field(86400.0, ge=60, description="older requests are deleted")
    max_rows: int = Field(1_000_000, ge=1000, description="beyond this the oldest requests are deleted; 0.1 KiB each")
