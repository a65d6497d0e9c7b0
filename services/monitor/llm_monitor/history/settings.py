"""The history's section of the configuration."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from llm_monitor.history.store import MAX_BYTES


class HistorySettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = Field(None, description="where samples are kept for 30 days; none: in memory alone")
    max_bytes: int = Field(MAX_BYTES, ge=2**20, description="size of the file; the oldest samples go first")
