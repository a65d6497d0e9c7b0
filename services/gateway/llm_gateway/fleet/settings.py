"""Configuration of a fleet. Without a Redis URL a gateway is alone, and no fleet code runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from llm_proxy.upstream.addresses import check_redis_url


class FleetSettings(BaseModel):
    """Settings of a fleet. All replicas need the same ones and the same policy, or their keys are not comparable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redis_url: SecretStr | None = Field(None, description="redis://[user:password@]host:port/db, rediss:// for TLS")
    name: str = Field(
        "llm-gateway", pattern=r"^[a-z0-9_-]{1,64}$", description="name of the fleet, to separate several in one Redis"
    )
    lease: float = Field(3.0, gt=0, description="seconds after its last call when a replica counts as dead")
    patience: float = Field(
        0.1, gt=0, description="seconds that a replica has to collect a grant before another gets it"
    )
    timeout: float = Field(1.0, gt=0, description="seconds without an answer after which Redis counts as unreachable")

    @field_validator("redis_url")
    @classmethod
    def _can_be_connected_to(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_redis_url(url.get_secret_value())
        return url

    @property
    def heartbeat(self) -> float:
        """Seconds between two calls of a replica without changes."""
        return self.lease / 3
