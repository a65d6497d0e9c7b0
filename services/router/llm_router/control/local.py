"""The router on this machine, or on a cluster whose address is given: Ray, Serve and a configuration."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import psutil
import ray
from ray import serve
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from llm_router.control.cluster import free_gpus
from llm_router.control.hooks import check_hooks
from llm_router.control.names import EDGE_DEPLOYMENT
from llm_router.control.rollouts.plan import is_edge, plan
from llm_router.control.rollouts.watch import FAILED, SERVING, failure
from llm_router.control.scaling.surge import surge_percent
from llm_router.settings import EnginesSettings

OBJECT_STORE_BYTES = 200 * 1024 * 1024
"""Nothing of ours goes through the object store; Ray's minimum is 75 MiB."""
START_ATTEMPTS = 3
POLL_SECONDS = 0.3
CALL_SECONDS = 60.0
SHUTDOWN_SECONDS = 120.0
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_prestart_worker_first_driver": "0",  # else an idle worker of 57 MiB for each core
}
"""Set before Ray starts, unless they are set already."""


_heads: list[Node] = []
"""The node that `start` started, if it started one."""


class StartFailed(RuntimeError):
    """Ray or an application did not start. The message has the engine's last lines."""


def start(*, address: str | None = None, gpus: float | None = None, cpus: float | None = None) -> None:
    """Start Ray and Serve, without Serve's HTTP proxy. Join a running cluster only if its address is given.

    gpus, cpus   logical numbers for a cluster of this machine; by default what Ray finds
    """
    check_hooks()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address is not None:
        try:
            ray.init(address=address, log_to_driver=False)
        except ConnectionError as error:
            raise StartFailed(f"no Ray cluster at {address}: {error}") from None
    else:
        _start_ray(gpus, cpus)
    serve.start(proxy_location="Disabled")


def _start_ray(gpus: float | None, cpus: float | None) -> None:
    """Start a Ray of our own. Try again if it fails: on a busy machine, the 30 s that it allows can be too few.

    Of Ray's own processes it leaves out those that have nothing to do here: the log monitor and the autoscaler, 45 MiB
    each, and the dashboard's server, 77 MiB.
    """
    this = psutil.Process()
    for attempt in range(1, START_ATTEMPTS + 1):
        before = set(this.children(recursive=True))
        params = RayParams(
            num_gpus=gpus,
            num_cpus=cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            include_log_monitor=False,
            no_monitor=True,
            dashboard_agent_listen_port=None,  # any, so that two routers can run on one machine
        )
        try:
            head = Node(params, head=True, shutdown_at_exit=True, spawn_reaper=True)
        except Exception as error:  # Ray raises no narrower one here
            _kill(set(this.children(recursive=True)) - before)
            if attempt == START_ATTEMPTS:
                raise StartFailed(f"Ray does not start: {error}") from error
        else:
            _heads.append(head)
            head.kill_dashboard(check_alive=False)
            ray.init(address=head.gcs_address, log_to_driver=False)
            return


def _kill(processes: Collection[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=CALL_SECONDS)


def deploy(config: Mapping[str, Any]) -> None:
    """Deploy a checked configuration. Raises InvalidConfig."""
    free = free_gpus()

    def surge(settings: EnginesSettings) -> int:
        return surge_percent(settings.surge, settings.gpus_per_engine, free)

    planned = plan(config, _entries(), surge=surge, now=time.time())
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(planned))


def _entries() -> dict[str, dict[str, Any]]:
    configs = ray.get(_get_global_client()._controller.get_app_configs.remote())
    return {name: config.model_dump(mode="json", exclude_unset=True) for name, config in configs.items()}


def wait_until_ready(stopped: threading.Event, *, say: Callable[[str], None]) -> str:
    """Return the edge's URL once every model has an engine; empty if `stopped` is set first. Raise StartFailed.

    A model that starts at zero engines needs none. `say` gets a line when the number of ready engines changes.
    """
    said: dict[str, str] = {}
    client = _get_global_client()
    while not stopped.wait(POLL_SECONDS):
        details = client.get_serve_details()["applications"]
        for name, detail in details.items():
            if detail["status"] == FAILED:
                raise StartFailed(f"{name} does not start: {failure(detail)}")
        ready = {name: _ready(detail) for name, detail in details.items()}
        for name, (count, target) in ready.items():
            if target and said.get(name) != (line := f"{name}: {count} of {target} ready"):
                said[name] = line
                say(line)
        built = all(detail["deployments"] for detail in details.values())
        if built and all(count or not target for count, target in ready.values()):
            return edge_url()
    return ""


def edge_url() -> str:
    """Return the URL of an edge. Raise KeyError if the edge's application is not built."""
    edge = serve.get_deployment_handle(EDGE_DEPLOYMENT, "edge")
    return str(edge.url.remote().result(timeout_s=CALL_SECONDS))


def _ready(detail: Mapping[str, Any]) -> tuple[int, int]:
    deployments = detail["deployments"].values()
    running = sum(replica["state"] in SERVING for each in deployments for replica in each["replicas"])
    return running, sum(int(each.get("target_num_replicas") or 0) for each in deployments)


def stop(*, joined: bool = False) -> None:
    """Drain and end edges, then engines, Serve and Ray. On a cluster that was joined, only leave it."""
    if not joined and (client := _get_global_client(raise_if_no_controller_running=False)) is not None:
        edges = [name for name, entry in _entries().items() if is_edge(entry)]
        with suppress(TimeoutError):
            client.delete_apps(edges, blocking=True)  # their last requests need the engines
        client.shutdown(timeout_s=SHUTDOWN_SECONDS)
    ray.shutdown()
    while _heads:
        _heads.pop().kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
