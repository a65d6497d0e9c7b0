"""How replicas of the gateway find each other; without a URL a gateway is alone, and nothing here runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from llm_gateway.engines.addresses import check_redis_url


class FleetSettings(BaseModel):
    """All replicas of a fleet have the same, and the same ordering policy; keys of different ones do not compare."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redis_url: SecretStr | None = Field(None, description="redis://[user:password@]host:port/db, rediss:// for TLS")
    name: str = Field("llm-gateway", pattern=r"^[a-z0-9_-]{1,64}$", description="fleets of one Redis, told apart")
    lease: float = Field(3.0, gt=0, description="seconds after its last call that a replica counts as dead")
    patience: float = Field(0.1, gt=0, description="seconds a replica has to collect a grant before another gets it")
    timeout: float = Field(1.0, gt=0, description="seconds without an answer after which Redis counts as gone")

    @field_validator("redis_url")
    @classmethod
    def _can_be_connected_to(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_redis_url(url.get_secret_value())
        return url

    @property
    def heartbeat(self) -> float:
        """Seconds between two calls of a replica that has nothing to say."""
        return self.lease / 3
