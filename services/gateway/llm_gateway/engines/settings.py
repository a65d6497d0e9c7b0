"""The configuration of an engine, and the part of it that the admin API can set."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from llm_gateway.tenancy.keys import SecretSource
from llm_proxy.upstream.addresses import BaseUrl, EngineName, default_name
from llm_proxy.upstream.tls import CaFile

ModelName = Annotated[str, Field(min_length=1, max_length=256)]


class EngineFields(BaseModel):
    """The settings that the admin API can set. None of them reads an environment variable or a file of the gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: BaseUrl = Field(description="base URL, without /v1")
    name: EngineName = Field("", validate_default=True, description="label in metrics; host:port by default")
    max_in_flight: int = Field(16, ge=1, description="most requests that it holds at a time")
    takes_priority: bool = Field(False, description="send vLLM's `priority` (its scheduling policy must be priority)")
    models: tuple[ModelName, ...] = Field((), description="names of its models; default: read from its /v1/models")
    kv_tokens: int | None = Field(None, ge=1, description="capacity of its KV cache; default: read from its metrics")

    @field_validator("name")
    @classmethod
    def _named(cls, name: str, info: ValidationInfo) -> str:
        return name or (default_name(info.data["url"]) if "url" in info.data else "")


class EngineSettings(EngineFields):
    """One engine: any server with vLLM's HTTP API."""

    api_key: SecretSource | None = Field(
        None, description="where to read the key that it requires, env:NAME or file:PATH"
    )

    ca_file: CaFile | None = Field(
        None, description="PEM file of the certificate authority that signed its certificate"
    )

    @model_validator(mode="after")
    def _https(self) -> Self:
        if self.ca_file is not None and not self.url.startswith("https://"):
            raise ValueError("ca_file needs an https:// URL")
        return self

    @classmethod
    def from_request(cls, fields: dict[str, Any]) -> Self:
        """Return the settings in a request. Raise ValidationError for wrong fields and for OPERATORS_FIELDS."""
        return cls(**EngineFields(**fields).model_dump())


OPERATORS_FIELDS = frozenset(EngineSettings.model_fields) - frozenset(EngineFields.model_fields)
"""Fields that name secrets or files. Only the configuration can set them, not a request."""
