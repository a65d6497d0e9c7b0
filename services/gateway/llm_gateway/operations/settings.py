"""Configuration of what operators see."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llm_gateway.tenancy.keys import KeyHash


class MonitoringSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    open: bool | Literal["auto"] = Field(
        "auto", description="whether everybody may see names of tenants and engines; auto: on loopback without keys"
    )
    key: KeyHash | None = Field(None, description="hash of the key that reads them all the same, sha256:<hex>")
