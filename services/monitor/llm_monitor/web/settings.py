"""The web section of the configuration."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def _checked(key: str) -> str:
    if not _HASH.fullmatch(key):
        raise ValueError(
            "a key is given by its hash, sha256: and 64 hex digits; `python -m llm_monitor.web.keys` makes one"
        )
    return key


class WebSettings(BaseModel):
    """Access to the dashboard and the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: list[str] = Field(default_factory=list, description="host names under which browsers reach the monitor")
    keys: list[Annotated[str, AfterValidator(_checked)]] = Field(
        default_factory=list, description="SHA-256 of the keys; needed on any address but loopback"
    )
    max_traces: int = Field(2_000, ge=1, le=100_000, description="traces kept in memory")
