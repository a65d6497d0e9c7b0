"""The parts of Ray that the router relies on and that a later version can change: checked once, at start."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import ray
from ray import serve
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.experimental import internal_kv
from ray.serve._private import constants
from ray.serve._private.client import ServeControllerClient
from ray.serve.config import AutoscalingConfig, AutoscalingContext
from ray.serve.request_router import RequestRouter, RunningReplica

PINNED = "2.60"


class MissingHooks(RuntimeError):
    """This version of Ray lacks something that the router needs."""


def check_hooks() -> None:
    """Raise MissingHooks with one line if a hook is not there."""
    if missing := list(_missing()):
        raise MissingHooks(f"Ray {ray.__version__} lacks {', '.join(missing)}; llm-router needs Ray {PINNED}")


def _missing() -> Iterator[str]:
    options = inspect.signature(serve.deployment).parameters
    yield from (
        f"serve.deployment({name}=…)"
        for name in ("max_surge_percent", "max_constructor_retry_count", "request_router_config")
        if name not in options
    )
    for owner, name in (
        (RequestRouter, "update_replicas"),
        (RunningReplica, "replica_metadata"),
        (ServeControllerClient, "deploy_apps"),
        (Node, "kill_dashboard"),
        (AutoscalingContext, "raw_metrics"),
        (AutoscalingContext, "total_queued_requests"),
    ):
        if not hasattr(owner, name):
            yield f"{owner.__name__}.{name}"
    parameters = inspect.signature(RayParams).parameters
    yield from (f"RayParams({name}=…)" for name in ("include_log_monitor", "no_monitor") if name not in parameters)
    if not hasattr(internal_kv, "_internal_kv_put"):
        yield "_internal_kv_put"
    if not hasattr(ray._private.state, "available_resources_per_node"):
        yield "available_resources_per_node"
    if "policy" not in AutoscalingConfig.model_fields:
        yield "AutoscalingConfig.policy"
    if getattr(constants, "RECORD_REPLICA_METADATA_METHOD", None) != "record_replica_metadata":
        yield "record_replica_metadata"
    if not getattr(constants, "RAY_SERVE_STOP_FAILED_ROLLING_UPDATES", False):
        yield "RAY_SERVE_STOP_FAILED_ROLLING_UPDATES=1"
