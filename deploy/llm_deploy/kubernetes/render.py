"""The manifests of an overlay, rendered by kubectl, and converted for a cluster that is older than they are."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import yaml

from llm_deploy.errors import DeployError
from llm_deploy.paths import DEPLOY, ROOT

MANIFESTS = DEPLOY / "kubernetes"
TOOLS = ROOT / ".lab" / "deploy-tools" / "bin"
"""Made by tools/deploy-tools."""
OLD_VERSIONS = {
    ("policy/v1", "PodDisruptionBudget"): "policy/v1beta1",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling/v2beta2",
}
"""API versions that Kubernetes 1.20 does not have yet -> those that it has. The fields are the same."""

Manifest = dict[str, Any]


def overlay(name: str) -> list[Manifest]:
    """Return the manifests of an overlay. Raises DeployError if it does not exist or does not render."""
    return render(MANIFESTS / "overlays" / name)


def render(folder: Path) -> list[Manifest]:
    """Run `kubectl kustomize` of the pinned kubectl. Raises DeployError if the folder does not render."""
    command = (tool("kubectl"), "kustomize", str(folder))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"{folder} does not render: {done.stderr.strip()}")
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def tool(name: str) -> str:
    """Return the path of a program of 3rdparty/deploy.txt. Raises DeployError if it is not installed."""
    path = TOOLS / name
    if not path.exists():
        raise DeployError(f"{name} is missing; tools/deploy-tools installs it")
    return str(path)


def for_old_cluster(manifests: list[Manifest]) -> list[Manifest]:
    """Return the manifests as Kubernetes 1.20 takes them: old API versions, no fields that it does not know."""
    found = copy.deepcopy(manifests)
    for manifest in found:
        version = (manifest["apiVersion"], manifest["kind"])
        manifest["apiVersion"] = OLD_VERSIONS.get(version, manifest["apiVersion"])
        for container in containers(manifest):
            _rewrite_sleep(container)
            # A probe's own grace period came with 1.25; without it a hung container has the pod's.
            if probe := container.get("livenessProbe"):
                probe.pop("terminationGracePeriodSeconds", None)
    return found


def containers(manifest: Manifest) -> list[Manifest]:
    """Return the containers of a workload's pods; none for another kind."""
    pod = pod_of(manifest)
    return [] if pod is None else [*pod.get("initContainers", []), *pod["containers"]]


def pod_of(manifest: Manifest) -> Manifest | None:
    """Return the specification of a workload's pods, or None for another kind."""
    template = manifest.get("spec", {}).get("template")
    return template["spec"] if isinstance(template, dict) and "containers" in template.get("spec", {}) else None


def _rewrite_sleep(container: Manifest) -> None:
    """Replace preStop's sleep, which came with 1.30, by a process that sleeps."""
    hook = container.get("lifecycle", {}).get("preStop", {})
    if sleep := hook.pop("sleep", None):
        hook["exec"] = {"command": ["python", "-c", f"import time; time.sleep({sleep['seconds']})"]}
