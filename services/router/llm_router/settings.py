"""The router's configuration: the `args` of each Serve application, and what the edge takes from them.

One YAML file in the format of `serve deploy` configures everything. Each application's `args` is one of the models
below; an unknown key or contradictory limits refuse the whole file.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from llm_contract.logs import ACCESS_LOG_HELP, LOG_FORMAT_HELP, AccessLines, LogFormat

PolicyName = Literal["prefix", "least_loaded", "p2c", "session", "kv_aware", "round_robin"]
POLICY_NAMES: tuple[str, ...] = get_args(PolicyName)
Surge = Literal["auto", "true", "false"]
ModelName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\s\x00-\x1f]+$")]

PLACEHOLDERS = frozenset({"port", "host", "python", "gpus", "tensor_parallel", "model"})
"""Names in braces that an engine command can use."""

EDGE_FIELDS = frozenset({"policy", "max_running", "queue", "resume"})
"""Settings that only the edge applies. A change reaches running edges and restarts no engine."""
SCALE_FIELDS = frozenset({"replicas", "autoscaling", "surge"})
"""Settings of Serve's controller. A change starts or stops engines and restarts none that stays."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AutoscalingSettings(_Section):
    """The number of engines follows the load."""

    min: int = Field(1, ge=0, description="fewest engines; 0: a request starts the first one and waits for it")
    max: int = Field(ge=1, description="most engines")
    target: float = Field(32, gt=0, description="requests that one engine shall hold, running and waiting")
    downscale_seconds: float = Field(30, ge=0, description="seconds of lower load before an engine is stopped")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min} and max is {self.max}; min can be at most max")
        return self


class ModelSettings(_Section):
    """The settings of one model at an edge."""

    name: ModelName
    policy: PolicyName = Field("prefix", description="choice among the engines with room")
    max_running: int = Field(
        256, ge=1, description="most requests in flight per engine; what it runs at once, vLLM's --max-num-seqs"
    )
    queue: int = Field(256, ge=0, description="most requests that wait at one edge; more get 429")
    progress_timeout: float = Field(
        30, ge=0, description="seconds without a token after which an engine with requests has failed; 0: never"
    )
    resume: bool = Field(True, description="continue a broken stream at another engine where that is sound")


class EngineFields(_Section):
    """The settings of one model's engines: the fields that `llm-router serve` also has flags for."""

    engine_command: str = Field(
        description="command that starts an engine server; it must listen on {port}, with {host} also for other nodes"
    )
    replicas: int | None = Field(None, ge=1, description="number of engines; 1 by default")
    autoscaling: AutoscalingSettings | None = Field(None, description="bounds and target instead of `replicas`")
    gpus: float = Field(1, ge=0, description="GPUs per engine; below 1, engines share a GPU")
    cpus: float = Field(0.1, ge=0, description="CPUs that Ray reserves per engine")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that hold one copy of the model, in one placement group")
    surge: Surge = Field(
        "auto", description="start new engines before old ones stop; auto: where spare GPUs hold one engine"
    )
    revision: str = Field("", description="any text; a change restarts the engines, e.g. for new weights in place")
    start_timeout: float = Field(600, gt=0, description="seconds until an engine must be ready")
    drain_timeout: float = Field(60, ge=0, description="seconds that requests in flight have before an engine stops")
    policy: PolicyName = ModelSettings.model_fields["policy"]  # type: ignore[assignment]
    max_running: int = ModelSettings.model_fields["max_running"]  # type: ignore[assignment]
    queue: int = ModelSettings.model_fields["queue"]  # type: ignore[assignment]
    progress_timeout: float = ModelSettings.model_fields["progress_timeout"]  # type: ignore[assignment]
    resume: bool = ModelSettings.model_fields["resume"]  # type: ignore[assignment]

    @field_validator("surge", mode="before")
    @classmethod
    def _yaml_boolean(cls, surge: Any) -> Any:
        return str(surge).lower() if isinstance(surge, bool) else surge

    @field_validator("engine_command")
    @classmethod
    def _template(cls, command: str) -> str:
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(command) if name is not None}
        except ValueError as error:
            raise ValueError(f"{error}; write a literal brace twice") from None
        if unknown := sorted(names - PLACEHOLDERS):
            allowed = ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
            raise ValueError(f"unknown placeholder {{{unknown[0]}}}; {allowed} are allowed")
        if "port" not in names:
            raise ValueError("the engine must listen on {port}, which the command does not mention")
        return command

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.replicas is not None and self.autoscaling is not None:
            raise ValueError("replicas and autoscaling contradict each other; give one of them")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus:g}; a number above 1 must be whole")
        if self.tensor_parallel > 1 and self.gpus != 1:
            raise ValueError(f"tensor_parallel is {self.tensor_parallel}, so gpus must be 1: one GPU for each rank")
        if self.autoscaling is not None and self.autoscaling.target > self.max_running + self.queue:
            limit = self.max_running + self.queue
            raise ValueError(f"autoscaling.target is {self.autoscaling.target:g}, but max_running + queue is {limit}")
        return self

    @property
    def gpus_per_engine(self) -> float:
        return self.gpus * self.tensor_parallel


class EnginesSettings(EngineFields):
    """The `args` of an application of `llm_router.control.applications:engines`."""

    model: ModelName = Field(description="name that clients use")

    @property
    def at_edge(self) -> ModelSettings:
        fields = ModelSettings.model_fields.keys() - {"name"}
        return ModelSettings(name=self.model, **{name: getattr(self, name) for name in fields})

    @property
    def restarting(self) -> dict[str, Any]:
        """Return the settings whose change restarts the engines, without those that have their default."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude=set(EDGE_FIELDS | SCALE_FIELDS))

    @property
    def version(self) -> str:
        return version_of(self.restarting)

    @property
    def bounds(self) -> tuple[int, int]:
        """Return (fewest, most) engines."""
        if self.autoscaling is not None:
            return self.autoscaling.min, self.autoscaling.max
        return self.replicas or 1, self.replicas or 1


class EdgeFields(_Section):
    """Where an edge listens, and how long it waits."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="0 takes any free port")
    admin_host: str = Field("127.0.0.1", description="address of the admin API")
    admin_port: int | None = Field(8001, ge=0, le=65535, description="0 takes any free port; null: no admin API")
    edge_drain_timeout: float = Field(60, ge=0, description="seconds that requests in flight have when an edge stops")
    log_format: LogFormat = Field("text", description=LOG_FORMAT_HELP)
    access_log: AccessLines = Field("errors", description=ACCESS_LOG_HELP)


def version_of(args: Mapping[str, Any]) -> str:
    """Return 8 hex digits that change with the arguments of an application."""
    return hashlib.sha256(orjson.dumps(args, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
