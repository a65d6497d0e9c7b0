"""Checks before anything starts. Each problem is one line: what is wrong, and what to do."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from llm_deploy import docker
from llm_deploy.compose import secrets
from llm_deploy.compose.stack import Stack, published
from llm_deploy.errors import DeployError

ANSWER_SECONDS = 5.0


def problems(stack: Stack) -> list[str]:
    """Return what would keep the stack from running. Raise DeployError if Docker itself cannot be asked."""
    check_docker()
    model = stack.model()
    return [*_images(model), *_secrets(model), *_ports(stack, model), *_memory(model), *_vllm(stack)]


def check_docker() -> None:
    """Find Docker, or as root start one. Raise DeployError without it, without rights, or if Compose is too old.

    Compose is started with this process's variables, so the daemon that was found is one of them.
    """
    environment = docker.connect()
    docker.require_compose(environment)
    os.environ.update(environment)


def _images(model: Mapping[str, Any]) -> Iterator[str]:
    """Name our images that are not built. Public ones are pulled at start."""
    registry = os.environ.get("LLM_LAB_REGISTRY") or "llm-lab"
    ours = {service["image"] for service in model["services"].values() if service["image"].startswith(f"{registry}/")}
    missing = [image for image in sorted(ours) if _docker("image", "inspect", image).returncode]
    if missing:
        names = " ".join(image.removeprefix(f"{registry}/").partition(":")[0] for image in missing)
        yield f"not built: {', '.join(missing)}; `./lab images {names}` builds them"


def _secrets(model: Mapping[str, Any]) -> Iterator[str]:
    used = {one["source"] for service in model["services"].values() for one in service.get("secrets", ())}
    try:
        secrets.check({name: Path(model["secrets"][name]["file"]) for name in used})
    except DeployError as error:
        yield str(error)


def _ports(stack: Stack, model: Mapping[str, Any]) -> Iterator[str]:
    variables = stack.port_variables()
    for service, port, inside in published(model):
        if owner := _owner(port, model["name"]):
            variable = variables.get((port, inside))
            hint = f", or set {variable}" if variable else ""
            yield f"port {port}, which {service} publishes, is in use by {owner}; stop that{hint}"


def _owner(port: int, project: str) -> str:
    """Return who has a port; empty if it is free or this project's own."""
    label = '{{.Names}}\t{{.Label "com.docker.compose.project"}}'
    container, _, owning = (
        _docker("ps", "--filter", f"publish={port}", "--format", label).stdout.strip().partition("\t")
    )
    if container:
        return "" if owning == project else f"the container {container}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return _process(port) or "another process"
    return ""


def _process(port: int) -> str:
    """Return the process that listens on a port; empty if this user cannot see it."""
    try:
        listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        pid = next((one.pid for one in listening if one.laddr and one.laddr.port == port), None)
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else ""
    except psutil.Error:
        return ""


def _memory(model: Mapping[str, Any]) -> Iterator[str]:
    """Compare what all services can use at most with what Docker has."""
    limits = [
        int(service["deploy"]["resources"]["limits"]["memory"])
        for service in model["services"].values()
        if service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory")
    ]
    total = int(_docker("info", "--format", "{{.MemTotal}}").stdout.strip() or 0)
    if sum(limits) > total:
        gibibytes = f"{sum(limits) / 2**30:.1f} GiB and Docker has {total / 2**30:.1f} GiB"
        yield f"too little memory: the services' limits add up to {gibibytes}; run one capstone, or fewer profiles"


def _vllm(stack: Stack) -> Iterator[str]:
    """Ask a vLLM that should run already. From a container, this machine is host.docker.internal."""
    url = os.environ.get("VLLM_URL", "")
    if not url or stack.file.name != "compose.yaml":
        return
    host = urlsplit(url).hostname or ""
    if host in ("localhost", "127.0.0.1", "::1"):
        yield f"VLLM_URL {url} means the container itself there; write host.docker.internal for this machine"
        return
    asked = url.replace("host.docker.internal", "127.0.0.1").rstrip("/") + "/health"
    try:
        urllib.request.urlopen(asked, timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        yield f"VLLM_URL {url} does not answer ({reason}); start vLLM there, or unset it"


def _docker(*words: str) -> docker.Done:
    return docker.call(*words, environment=dict(os.environ))
