"""Configuration of the access to metrics and SLA pages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llm_gateway.tenancy.keys import KeyHash


class MonitoringSettings(BaseModel):
    """Access to names of tenants and engines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    open: bool | Literal["auto"] = Field(
        "auto", description="show names of tenants and engines to all clients; auto: only on loopback without keys"
    )
    key: KeyHash | None = Field(None, description="hash of the key that gives access anyway, sha256:<hex>")
