"""The settings of an edge: where it listens, from the router's configuration, and the limits of its data plane."""

from __future__ import annotations

import ipaddress

from pydantic import Field, field_validator

from llm_proxy.edge.connections import EdgeSettings as ConnectionSettings
from llm_proxy.telemetry.tracing import TracingSettings
from llm_proxy.upstream.retry_budget import RetryBudgetSettings
from llm_router.fleet.watch import WatchSettings
from llm_router.settings import EdgeFields


class EdgeSettings(EdgeFields):
    """An edge. Times are seconds."""

    reuse_port: bool = Field(True, description="share the ports with other edges on this host")
    max_attempts: int = Field(4, ge=1, description="most engines that a request is sent to")
    max_body_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="larger request bodies get 413")
    queue_timeout: float = Field(600, gt=0, description="seconds that a request can wait for an engine")
    unavailable_timeout: float = Field(
        2, ge=0, description="seconds that it waits while no engine is up, where no control plane can start one"
    )
    connect_timeout: float = Field(1, gt=0, description="seconds to connect to an engine")
    silence_timeout: float = Field(600, gt=0, description="seconds without a byte after which a request has failed")
    retry_budget: RetryBudgetSettings = RetryBudgetSettings()
    watch: WatchSettings = WatchSettings()
    connections: ConnectionSettings = ConnectionSettings()
    tracing: TracingSettings = TracingSettings()

    @field_validator("admin_host")
    @classmethod
    def _is_loopback(cls, host: str) -> str:
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the admin API has no key, so it listens on loopback only, not on {host}")
        return host
