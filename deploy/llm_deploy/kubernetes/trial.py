"""The shipped manifests on the test cluster: apply them with secrets, restart them, and ask kubectl."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llm_deploy.compose import secrets
from llm_deploy.errors import DeployError
from llm_deploy.kubernetes import render
from llm_deploy.kubernetes.cluster import layout
from llm_deploy.kubernetes.render import Manifest

NAMESPACE = "llm"
NODE = layout.NODE
GATEWAY = "http://127.0.0.1:30080"
SECRETS = {
    "gateway": ("gateway.yaml",),
    "monitor": ("monitor.yaml", "monitor.key", "webhook.url"),
    "monitor-key": ("monitor.key",),
}
"""Secret -> the files in it."""
READY_SECONDS = 600.0
"""A rollout waits for the drains of all its pods, one after the other."""
WORKLOADS = ("statefulset/engine", "deployment/router", "deployment/gateway", "statefulset/monitor")


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Run the cluster's own kubectl in the namespace and return its output. Raises DeployError if it fails."""
    command = (str(layout.binaries() / "kubectl"), "--namespace", NAMESPACE, *arguments)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise DeployError(f"kubectl {' '.join(arguments[:4])}: {done.stderr.strip()}")
    return done.stdout + (done.stderr if done.returncode else "")


def get(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", *arguments, "-o", "json"))
    return found


def pods(name: str) -> list[dict[str, Any]]:
    """Return the service's pods, without those that end."""
    items = get("pods", "-l", f"app.kubernetes.io/name={name}")["items"]
    return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def until(what: str, condition: Callable[[], bool], seconds: float = 90.0) -> float:
    """Poll until the condition holds and return the seconds that it took. Raises DeployError after `seconds`."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise DeployError(f"{what}: not within {seconds:g} s")
        time.sleep(0.25)
    return time.monotonic() - begun


def manifests(overlay: str = "laptop") -> list[Manifest]:
    """Return an overlay for the test cluster, with the images of LLM_LAB_REGISTRY and LLM_LAB_VERSION."""
    registry, version = os.environ.get("LLM_LAB_REGISTRY", "llm-lab"), os.environ.get("LLM_LAB_VERSION", "dev")
    found = render.for_old_cluster(render.overlay(overlay))
    for manifest in found:
        for container in render.containers(manifest):
            container["image"] = f"{registry}/{container['name']}:{version}"
            container["imagePullPolicy"] = "Never"
            # Requests are for real machines; this one has two cores for everything.
            container["resources"]["requests"] = {"cpu": "10m", "memory": "64Mi"}
    return found


def abrupt(items: list[Manifest]) -> list[Manifest]:
    """Return the manifests without preStop and without the gateway's `lame_duck`.

    A pod then ends while others still send to it. The one alone would hide that the other is missing.
    """
    found = copy.deepcopy(items)
    for item in found:
        for container in render.containers(item):
            container.pop("lifecycle", None)
        if "gateway.yaml" in item.get("data", {}):
            item["data"]["gateway.yaml"] = item["data"]["gateway.yaml"].replace("lame_duck: 5", "lame_duck: 0")
    return found


def apply(items: list[Manifest]) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def secret(name: str, files: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": files,
    }


def deploy(folder: Path, items: list[Manifest]) -> str:
    """Apply the manifests with the folder's secrets, which are made if need be, and wait. Return the client's key."""
    secrets.make(folder)
    apply([item for item in items if item["kind"] == "Namespace"])
    apply([secret(name, {one: (folder / one).read_text() for one in files}) for name, files in SECRETS.items()])
    apply(items)
    for workload in WORKLOADS:
        rolled_out(workload)
    return (folder / "client.key").read_text().strip()


def remove() -> None:
    """Delete everything. Pods first: the namespace would wait for half of their grace period before it looks again."""
    kubectl("delete", "deployments,statefulsets", "--all")
    kubectl("delete", "pods", "--all", "--timeout=240s")
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", "--timeout=240s")


def drain(*options: str) -> float:
    """Drain the node by `kubectl drain`, which evicts every pod as its budget allows. Return the seconds that it took.

    The node takes the replacements itself, in place of a second one: it is cordoned until the evictions begin.
    """
    begun = time.monotonic()
    command = ("drain", NODE, "--delete-emptydir-data", f"--timeout={READY_SECONDS:g}s", *options)
    with ThreadPoolExecutor(1) as one:
        drained = one.submit(kubectl, *command)
        until("the node is cordoned", lambda: drained.done() or get("node", NODE)["spec"].get("unschedulable", False))
        kubectl("uncordon", NODE)
        drained.result()
    for workload in WORKLOADS:
        rolled_out(workload)
    return time.monotonic() - begun


def restart(workload: str) -> float:
    """Restart the workload's pods as a rollout, wait for its end, and return the seconds that it took."""
    begun = time.monotonic()
    kubectl("rollout", "restart", workload)
    rolled_out(workload)
    return time.monotonic() - begun


def rolled_out(workload: str, seconds: float = READY_SECONDS) -> None:
    kubectl("rollout", "status", workload, f"--timeout={seconds:g}s")
