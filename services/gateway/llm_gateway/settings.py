"""The gateway's configuration: a YAML file, then LLM_GATEWAY_* variables, then flags. A later source wins."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import NoDecode

from llm_contract.settings import ServiceSettings
from llm_gateway.classes import DEFAULT_CLASSES, ClassTable, PriorityClass
from llm_gateway.engines import BalancingName, BreakerSettings, LimitSettings
from llm_gateway.engines.settings import EngineSettings, ModelName
from llm_gateway.fleet.settings import FleetSettings
from llm_gateway.operations.settings import MonitoringSettings
from llm_gateway.scheduling.policies import PolicyName
from llm_gateway.scheduling.preemption import PreemptionSettings
from llm_gateway.scheduling.shedding import SheddingSettings
from llm_gateway.sla.settings import SlaSettings
from llm_gateway.tenancy.keys import KeyHash
from llm_gateway.tenancy.tenants import RequireKeys, TenantSettings, check_tenants, is_loopback, keys_required
from llm_proxy.edge.connections import EdgeSettings
from llm_proxy.edge.cors import CorsSettings
from llm_proxy.telemetry.tracing import TracingSettings
from llm_proxy.upstream.addresses import HostName, ListenAddress
from llm_proxy.upstream.retry_budget import RetryBudgetSettings


class AdminSettings(BaseModel):
    """The admin API, on its own port. Without a port it is off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: ListenAddress = Field("127.0.0.1", description="address to listen on")
    port: int | None = Field(
        None, ge=0, le=65535, description="0 takes any free port; without a port there is no admin API"
    )
    key: KeyHash | None = Field(
        None,
        description="hash of the key, sha256:<hex>; on loopback a missing key is made and printed at start",
    )
    hosts: tuple[HostName, ...] = Field(
        (), description="host names that requests can use, beyond IP addresses, localhost and `host`"
    )

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.port is not None and self.key is None and not is_loopback(self.host):
            raise ValueError(f"the admin API needs a key to listen on {self.host}; `llm-gateway key new` makes one")
        return self


def _engine_list(value: Any) -> Any:
    """Return a list of mappings from URLs joined by commas, from JSON, or from a list of URLs, JSON and mappings."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith(("[", "{")):
            return _engine_list(orjson.loads(text))
        return [{"url": url.strip()} for url in text.split(",") if url.strip()]
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list | tuple):
        return [engine for item in value for engine in (_engine_list(item) if isinstance(item, str) else [item])]
    return value


class GatewaySettings(ServiceSettings, env_prefix="LLM_GATEWAY_"):
    """Priority scheduler gateway for one or more OpenAI-compatible engines."""

    host: ListenAddress = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="0 takes any free port")
    engines: Annotated[tuple[EngineSettings, ...], NoDecode, BeforeValidator(_engine_list)] = Field(
        min_length=1, description="engine URLs, joined by commas or one per flag; JSON for more than the URL"
    )
    aliases: dict[ModelName, ModelName] = Field(
        {}, description="model names for clients, each mapped to the name that the engines use; JSON"
    )
    policy: PolicyName = Field("composite", description="order in which waiting requests are served")
    aging_rate: float = Field(
        0.01, ge=0, description="priority levels gained per second of waiting; 0: strict priority, no wait bound"
    )
    fairness_window: float = Field(
        5.0, ge=0, description="seconds that fairness, deadlines and share ceilings can hold back a request"
    )
    classes: tuple[PriorityClass, ...] = Field(
        DEFAULT_CLASSES, min_length=1, description="priority classes; JSON, or better in the YAML file"
    )
    default_class: str = Field("standard", description="class of a request that does not name one")
    tenants: tuple[TenantSettings, ...] = Field(
        (), description="clients with their keys, weights and limits; JSON, or better in the file"
    )
    require_keys: RequireKeys = Field(
        "auto", description="require API keys; auto: only if other machines can reach the gateway"
    )
    max_queue: int = Field(512, ge=0, description="most requests that wait, over all classes")
    balancing: BalancingName = Field("prefix", description="choice among the engines with room")
    in_flight_limit: LimitSettings = LimitSettings()
    kv_kappa: float = Field(
        1.0,
        ge=0,
        description="part of an engine's KV cache that requests in flight are predicted to fill at most; 0: no limit",
    )
    breaker: BreakerSettings = BreakerSettings()
    retry_budget: RetryBudgetSettings = RetryBudgetSettings()
    shedding: SheddingSettings = SheddingSettings()
    preemption: PreemptionSettings = PreemptionSettings()
    resume: bool = Field(True, description="continue a broken stream at another engine where that is sound")
    queue_timeout_status: Literal[408, 503] = Field(
        408, description="status for a request that exceeds its queue_timeout"
    )
    max_attempts: int = Field(3, ge=1, description="most engines that a request is sent to")
    max_body_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="larger request bodies get 413")
    edge: EdgeSettings = EdgeSettings()
    cors: CorsSettings = Field(CorsSettings(), description="access for web pages of other origins")
    fleet: FleetSettings = Field(FleetSettings(), description="gateways that share order and limits through Redis")
    admin: AdminSettings = AdminSettings()
    monitoring: MonitoringSettings = Field(MonitoringSettings(), description="access to metrics and SLA pages")
    sla: SlaSettings = SlaSettings()
    tracing: TracingSettings = TracingSettings()
    queue_trace: str | None = Field(None, description="file that gets a line of JSON for each change of the queue")
    connect_timeout: float = Field(2.0, gt=0, description="seconds to connect to an engine")
    engine_silence_timeout: float = Field(
        600.0, gt=0, description="seconds without a byte after which an engine has failed"
    )
    probe_interval: float = Field(1.0, gt=0, description="seconds between two /health probes of an engine")
    probe_timeout: float = Field(2.0, gt=0, description="seconds; three failed probes in a row mark an engine down")
    signals_interval: float = Field(1.0, gt=0, description="seconds between two scrapes of an engine's /metrics")
    progress_timeout: float = Field(
        30.0, ge=0, description="seconds without a token after which an engine with requests is ejected; 0: never"
    )
    drain_timeout: float = Field(60.0, ge=0, description="seconds that requests in flight have to finish after SIGTERM")
    lame_duck: float = Field(
        0.0,
        ge=0,
        description="first seconds of the drain, in which requests are still served and answers close their connections",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [cls.name for cls in self.classes]
        _all_different("classes", names)
        _all_different("engines", [engine.name for engine in self.engines])
        if self.default_class not in names:
            raise ValueError(f"default_class {self.default_class!r} is not one of the classes {', '.join(names)}")
        for alias, name in self.aliases.items():
            if name in self.aliases:
                raise ValueError(
                    f"aliases: {alias} stands for {name}, which is itself an alias; use the engines' name of the model"
                )
        _all_different("tenants", [tenant.name for tenant in self.tenants])
        check_tenants(self.tenants, ClassTable(self.classes, self.default_class))
        keys_required(self.host, self.require_keys, self.tenants)
        return self


def _all_different(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what}: each name must be unique, but {', '.join(twice)} appears more than once")
