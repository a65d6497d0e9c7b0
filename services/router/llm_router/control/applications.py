"""The two Serve applications: the `import_path` of an entry in the configuration names one of these builders."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig

from llm_router.control.cluster import free_gpus
from llm_router.control.edge.publishing_router import PublishingRouter
from llm_router.control.edge.replica import Edge
from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.control.engine.child import STOP_SECONDS
from llm_router.control.engine.replica import EngineReplica
from llm_router.control.names import EDGE_DEPLOYMENT, ENGINE_DEPLOYMENT
from llm_router.control.scaling.config import autoscaling
from llm_router.control.scaling.surge import surge_percent
from llm_router.settings import EnginesSettings

START_ATTEMPTS = 2
"""Failed starts after which a new version has failed; later failures are retried for as long as it takes."""
CALLS = 10_000
"""Calls that a replica takes at a time. They carry control only, so there is nothing to limit."""


def engines(args: dict[str, Any]) -> serve.Application:
    """Build the application of one model's engines."""
    settings = EnginesSettings(**args)
    options: dict[str, Any] = {
        "name": ENGINE_DEPLOYMENT,
        "autoscaling_config": autoscaling(settings),
        "max_surge_percent": surge_percent(settings.surge, settings.gpus_per_engine, free_gpus()),
        "ray_actor_options": {"num_gpus": settings.gpus_per_engine, "num_cpus": settings.cpus},
        "max_ongoing_requests": CALLS,
        "max_constructor_retry_count": START_ATTEMPTS,
        "health_check_period_s": 1,
        "health_check_timeout_s": 10,
        "graceful_shutdown_wait_loop_s": 0.2,
        "graceful_shutdown_timeout_s": settings.drain_timeout + 2 * STOP_SECONDS,
        "request_router_config": RequestRouterConfig(request_router_class=PublishingRouter),
    }
    if settings.tensor_parallel > 1:
        # One bundle: one engine process drives all ranks, so they must be on one node.
        options["placement_group_bundles"] = [{"GPU": settings.gpus_per_engine, "CPU": settings.cpus}]
        options["placement_group_strategy"] = "STRICT_PACK"
    deployment = serve.deployment(**options)(EngineReplica)
    return deployment.bind(settings.model_dump(mode="json"))


def edge(args: dict[str, Any]) -> serve.Application:
    """Build the application of the edges."""
    settings = EdgeAppSettings(**args)
    deployment = serve.deployment(
        name=EDGE_DEPLOYMENT,
        num_replicas=settings.edges,
        ray_actor_options={"num_cpus": 0.1},
        max_ongoing_requests=CALLS,
        max_surge_percent=100,
        max_constructor_retry_count=START_ATTEMPTS,
        health_check_period_s=1,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=settings.edge_drain_timeout + STOP_SECONDS,
    )(Edge)
    return deployment.bind(settings.model_dump(mode="json"))
