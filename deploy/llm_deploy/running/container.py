"""Facts about one container, from `docker inspect` or from a pod's JSON: what readiness checks judge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROLES = ("engine", "gateway", "router", "monitor")
"""Services that this project builds and that serve requests or watch those that do."""
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, kw_only=True)
class Container:
    name: str
    service: str
    """Compose's service, or the pod's label app.kubernetes.io/name."""
    image: str
    user: str = ""
    read_only: bool = False
    no_new_privileges: bool = False
    dropped: tuple[str, ...] = ()
    memory_bytes: int = 0
    """Limit; 0: none."""
    cpus: float = 0.0
    """Limit, or a pod's request; 0: none."""
    probes: tuple[str, ...] = ()
    """Kinds of health checks: docker, or startup, liveness and readiness."""
    stop_seconds: float = 0.0
    """Time that a stop leaves before SIGKILL."""
    rotates_logs: bool = False
    restarts_itself: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[int, str] = field(default_factory=dict)
    """Container port -> host address, "127.0.0.1:8080"."""
    pid: int = 0
    """Process number on the host; 0 where it is not known."""

    @property
    def role(self) -> str:
        """Return engine for engine-0, gateway for gateway."""
        return re.sub(r"-\d+$", "", self.service)


def from_inspect(found: Mapping[str, Any]) -> Container:
    """Read one element of `docker inspect`'s answer."""
    config, host = found["Config"], found["HostConfig"]
    log = host.get("LogConfig") or {}
    health = (config.get("Healthcheck") or {}).get("Test") or []
    ports = (found.get("NetworkSettings") or {}).get("Ports") or {}
    return Container(
        name=found["Name"].lstrip("/"),
        service=config.get("Labels", {}).get("com.docker.compose.service", ""),
        image=config["Image"],
        user=config.get("User") or "",
        read_only=bool(host.get("ReadonlyRootfs")),
        no_new_privileges=any("no-new-privileges" in each for each in host.get("SecurityOpt") or ()),
        dropped=tuple(host.get("CapDrop") or ()),
        memory_bytes=int(host.get("Memory") or 0),
        cpus=float(host.get("NanoCpus") or 0) / 1e9,
        probes=("docker",) if health and health != ["NONE"] else (),
        stop_seconds=float(config.get("StopTimeout") or 10),
        rotates_logs=log.get("Type") == "local" or "max-size" in (log.get("Config") or {}),
        restarts_itself=(host.get("RestartPolicy") or {}).get("Name") not in (None, "", "no"),
        environment=dict(each.partition("=")[::2] for each in config.get("Env") or ()),
        ports={
            int(port.partition("/")[0]): f"{bound[0]['HostIp']}:{bound[0]['HostPort']}"
            for port, bound in ports.items()
            if bound
        },
        pid=int((found.get("State") or {}).get("Pid") or 0),
    )


def from_pod(pod: Mapping[str, Any]) -> list[Container]:
    """Read the containers of one element of `kubectl get pods -o json`."""
    spec, labels = pod["spec"], pod["metadata"].get("labels", {})
    return [_of_pod(pod, spec, labels.get("app.kubernetes.io/name", ""), each) for each in spec["containers"]]


def _of_pod(pod: Mapping[str, Any], spec: Mapping[str, Any], service: str, one: Mapping[str, Any]) -> Container:
    security = {**spec.get("securityContext", {}), **one.get("securityContext", {})}
    resources = one.get("resources", {})
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    user, non_root = security.get("runAsUser"), security.get("runAsNonRoot")
    return Container(
        name=f"{pod['metadata']['name']}/{one['name']}",
        service=service,
        image=one["image"],
        user=str(user) if user is not None else ("non-root" if non_root else ""),
        read_only=bool(security.get("readOnlyRootFilesystem")),
        no_new_privileges=security.get("allowPrivilegeEscalation") is False,
        dropped=tuple(security.get("capabilities", {}).get("drop", ())),
        memory_bytes=int(_quantity(limits.get("memory", "0"))),
        # A pod is given its request before others get more, so a request bounds what its neighbours can take.
        cpus=_quantity(limits.get("cpu") or requests.get("cpu", "0")),
        probes=tuple(kind for kind in ("startup", "liveness", "readiness") if f"{kind}Probe" in one),
        stop_seconds=float(spec.get("terminationGracePeriodSeconds", 30)),
        # The kubelet rotates containers' logs at 10 MiB by default, and restarts what ends.
        rotates_logs=True,
        restarts_itself=spec.get("restartPolicy", "Always") == "Always",
        environment={each["name"]: each.get("value", "") for each in one.get("env", ())},
    )


def _quantity(text: str) -> float:
    """Return Kubernetes's 512Mi or 500m as a number."""
    if text.endswith("m"):
        return float(text[:-1]) / 1000
    for unit, factor in _UNITS.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)
