"""The gateway's configuration: one YAML file, then LLM_GATEWAY_* variables, then flags; a later source wins."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import NoDecode

from llm_contract.settings import ServiceSettings
from llm_gateway.edge.connections import EdgeSettings
from llm_gateway.edge.cors import CorsSettings
from llm_gateway.engines import BalancingName, BreakerSettings, LimitSettings
from llm_gateway.engines.addresses import HostName, ListenAddress
from llm_gateway.engines.settings import EngineSettings, ModelName
from llm_gateway.fleet.settings import FleetSettings
from llm_gateway.operations.settings import MonitoringSettings
from llm_gateway.request.classes import DEFAULT_CLASSES, ClassTable, PriorityClass
from llm_gateway.scheduling.policies import PolicyName
from llm_gateway.scheduling.preemption import PreemptionSettings
from llm_gateway.scheduling.shedding import SheddingSettings
from llm_gateway.sla.settings import SlaSettings
from llm_gateway.telemetry.tracing import TracingSettings
from llm_gateway.tenancy.keys import KeyHash
from llm_gateway.tenancy.tenants import RequireKeys, TenantSettings, check_tenants, is_loopback, keys_required
from llm_gateway.upstream.retry_budget import RetryBudgetSettings


class AdminSettings(BaseModel):
    """The admin API, on a port of its own; off without one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: ListenAddress = Field("127.0.0.1", description="address to listen on")
    port: int | None = Field(None, ge=0, le=65535, description="0 takes any free port; none: no admin API")
    key: KeyHash | None = Field(
        None, description="hash of its key, sha256:<hex>; on loopback one is made and printed at start if there is none"
    )
    hosts: tuple[HostName, ...] = Field(
        (), description="names it is reached by, beyond IP addresses, localhost and `host`; others are refused"
    )

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.port is not None and self.key is None and not is_loopback(self.host):
            raise ValueError(f"the admin API needs a key to listen on {self.host}; `llm-gateway key new` makes one")
        return self


def _engine_list(value: Any) -> Any:
    """URLs joined by commas, JSON, or a list of either and of mappings: all become a list of mappings."""
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
    """Priority scheduler gateway in front of one or more OpenAI-compatible engines."""

    host: ListenAddress = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="0 takes any free port")
    engines: Annotated[tuple[EngineSettings, ...], NoDecode, BeforeValidator(_engine_list)] = Field(
        min_length=1, description="engine URLs, joined by commas or one flag each; JSON for more than the URL"
    )
    aliases: dict[ModelName, ModelName] = Field(
        {}, description="names of models that clients may use, each with the name that engines have for it; JSON"
    )
    policy: PolicyName = Field("composite", description="who goes next")
    aging_rate: float = Field(
        0.01, ge=0, description="priority levels per second of waiting; 0 is strict priority, without a wait bound"
    )
    fairness_window: float = Field(
        5.0, ge=0, description="seconds for which fairness, deadlines and share ceilings may hold back a request"
    )
    classes: tuple[PriorityClass, ...] = Field(
        DEFAULT_CLASSES, min_length=1, description="priority classes; JSON, or better in the YAML file"
    )
    default_class: str = Field("standard", description="class of a request that names none")
    tenants: tuple[TenantSettings, ...] = Field((), description="who may send requests; JSON, or better in the file")
    require_keys: RequireKeys = Field("auto", description="auto: unless only this machine can reach the gateway")
    max_queue: int = Field(512, ge=0, description="requests that may wait, all classes together")
    balancing: BalancingName = Field("prefix", description="which engine, of those with room")
    in_flight_limit: LimitSettings = LimitSettings()
    kv_kappa: float = Field(
        1.0, ge=0, description="requests in flight may predict to fill that part of an engine's KV cache; 0: no budget"
    )
    breaker: BreakerSettings = BreakerSettings()
    retry_budget: RetryBudgetSettings = RetryBudgetSettings()
    shedding: SheddingSettings = SheddingSettings()
    preemption: PreemptionSettings = PreemptionSettings()
    replay: bool = Field(True, description="go on with a broken stream at another engine, where that is sound")
    queue_timeout_status: Literal[408, 503] = Field(408, description="for who waited longer than its queue_timeout")
    max_attempts: int = Field(3, ge=1, description="engines tried before a request's first byte is sent")
    max_body_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="larger request bodies get 413")
    edge: EdgeSettings = EdgeSettings()
    cors: CorsSettings = Field(CorsSettings(), description="web pages of other origins that may send requests")
    fleet: FleetSettings = Field(FleetSettings(), description="replicas that share order and limits through Redis")
    admin: AdminSettings = AdminSettings()
    monitoring: MonitoringSettings = Field(MonitoringSettings(), description="who may read metrics and the SLA's pages")
    sla: SlaSettings = SlaSettings()
    tracing: TracingSettings = TracingSettings()
    queue_trace: str | None = Field(None, description="file that gets a line of JSON for each change of the queue")
    connect_timeout: float = Field(2.0, gt=0, description="seconds to connect to an engine")
    engine_silence_timeout: float = Field(600.0, gt=0, description="seconds without a byte from an engine: it failed")
    probe_interval: float = Field(1.0, gt=0, description="seconds between two /health probes of an engine")
    probe_timeout: float = Field(2.0, gt=0, description="seconds; three probes in a row that fail mark it down")
    signals_interval: float = Field(1.0, gt=0, description="seconds between two scrapes of an engine's /metrics")
    progress_timeout: float = Field(
        30.0, ge=0, description="seconds without a token from an engine that has requests: ejected; 0 turns it off"
    )
    drain_timeout: float = Field(60.0, ge=0, description="seconds that requests in flight have after SIGTERM")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [cls.name for cls in self.classes]
        _all_different("classes", names)
        _all_different("engines", [engine.name for engine in self.engines])
        if self.default_class not in names:
            raise ValueError(f"default_class {self.default_class!r} is not one of the classes {', '.join(names)}")
        for alias, name in self.aliases.items():
            if name in self.aliases:
                raise ValueError(f"aliases: {alias} stands for {name}, which is an alias; name the engines' model")
        _all_different("tenants", [tenant.name for tenant in self.tenants])
        check_tenants(self.tenants, ClassTable(self.classes, self.default_class))
        keys_required(self.host, self.require_keys, self.tenants)
        return self


def _all_different(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what}: each name once, but {', '.join(twice)} is there more often")
