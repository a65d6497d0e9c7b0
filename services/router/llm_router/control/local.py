"""The router on this machine, or on a cluster whose address is given: Ray, Serve and a configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from llm_router.control.cluster import free_gpus
from llm_router.control.hooks import check_hooks
from llm_router.control.plan import plan
from llm_router.control.surge import surge_percent
from llm_router.settings import EnginesSettings

OBJECT_STORE_BYTES = 200 * 1024 * 1024
"""Nothing of ours goes through the object store; Ray's minimum is 75 MiB."""
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_memory_monitor_refresh_ms": "0",
}
"""Set before Ray starts, unless they are set already."""


def start(*, address: str | None = None, gpus: float | None = None, cpus: float | None = None) -> None:
    """Start Ray and Serve, without Serve's HTTP proxy. Join a running cluster only if its address is given.

    gpus, cpus   logical numbers for a cluster of this machine; by default what Ray finds
    """
    check_hooks()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address is not None:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(
            address="local",
            num_gpus=gpus,
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    serve.start(proxy_location="Disabled")


def deploy(config: Mapping[str, Any]) -> None:
    """Deploy a checked configuration. Raises InvalidConfig."""
    client = _get_global_client()
    running = ray.get(client._controller.get_app_configs.remote())
    entries = {name: entry.model_dump(mode="json", exclude_unset=True) for name, entry in running.items()}
    free = free_gpus()

    def surge(settings: EnginesSettings) -> int:
        return surge_percent(settings.surge, settings.gpus_per_engine, free)

    planned = plan(config, entries, surge=surge, now=time.time())
    client.deploy_apps(ServeDeploySchema.model_validate(planned))


def stop() -> None:
    """Drain and end every application, then Serve and a Ray that `start` started."""
    serve.shutdown()
    ray.shutdown()
