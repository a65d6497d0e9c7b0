"""The state of the router as its controller sees it: what `llm-router status`, `/-/` and the admin API show."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

RolloutState = Literal["in_progress", "done", "rolling_back", "rolled_back", "failed"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EngineStatus(_Part):
    """One replica of an `engines` application, with its child engine server."""

    id: str
    state: str
    """Serve's word: STARTING, UPDATING, RUNNING, STOPPING, …"""
    model: str
    version: str = ""
    """Empty until the engine is ready."""
    url: str = ""
    node: str = ""
    gpus: tuple[str, ...] = ()
    pid: int = 0
    engine_pid: int = 0
    running: float | None = None
    """Requests in its batch; None until the engine has reported."""
    waiting: float | None = None
    kv_usage: float | None = None


class ApplicationStatus(_Part):
    """One Serve application: the engines of one model, or the edge."""

    name: str
    kind: Literal["engines", "edge"]
    status: str
    """Serve's word: DEPLOYING, RUNNING, DEPLOY_FAILED, UNHEALTHY, DELETING, …"""
    message: str = ""
    model: str = ""
    policy: str = ""
    version: str = ""
    """Version that the controller aims at."""
    target: int = 0
    """Replicas that the controller aims at."""
    ready: int = 0
    autoscaling: tuple[int, int] | None = None
    """(fewest, most) engines."""
    gpus_per_engine: float = 0
    waits_for: str = ""
    """Reason why replicas do not start yet, e.g. no free GPU; empty if none waits."""
    engines: tuple[EngineStatus, ...] = ()


class NodeStatus(_Part):
    id: str
    address: str
    alive: bool
    gpus: float
    gpus_free: float
    cpus: float
    cpus_free: float


class RolloutStatus(_Part):
    """The newest change of one application."""

    application: str
    state: RolloutState
    from_version: str = ""
    """Empty for a new application."""
    to_version: str
    ready: int = 0
    """Engines of the new version that are ready."""
    target: int = 0
    message: str = ""
    """Why it failed, with the last lines of the engine's output."""
    started: float
    """Seconds since the epoch."""
    ended: float | None = None


class Status(_Part):
    applications: tuple[ApplicationStatus, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()
    rollouts: tuple[RolloutStatus, ...] = ()
    controller: Literal["running", "unreachable"] = "running"
    """`unreachable`: requests are served, but nothing is scaled or repaired until the controller is back."""
