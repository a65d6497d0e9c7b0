"""Start, stop and look at the cluster."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.request
from functools import partial
from pathlib import Path

from llm_deploy.errors import DeployError
from llm_deploy.kubernetes.cluster import files, layout, processes, programs
from llm_deploy.kubernetes.cluster.layout import Layout

PAUSE_SOURCE = Path(__file__).with_name("pause.c")
STOP_ORDER = ("kubelet", "controllers", "scheduler", "proxy", "names", "api-server", "etcd")
"""The kubelet first, so that nothing starts the containers again that are removed next."""
POD_LABEL = "io.kubernetes.pod.uid"
START_SECONDS = 90.0


def up(cluster: Layout) -> Path:
    """Start the cluster and wait until its node is ready. Return its kubeconfig. Nothing happens if it already runs."""
    if os.geteuid() != 0:
        raise DeployError("the cluster needs root: kubelet mounts volumes and kube-proxy writes iptables rules")
    binaries = layout.binaries()
    docker_host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if _api_is_ready() and processes.running("api-server", pids=cluster.pids):
        return cluster.kubeconfig
    _refuse_taken_ports()
    bridge = bridge_address()
    _make_pause_image()
    files.write(cluster, address=bridge)
    cluster.docker_host.write_text(docker_host)
    start = partial(processes.start, pids=cluster.pids, logs=cluster.logs)
    try:
        start("etcd", programs.etcd(cluster))
        start("api-server", programs.api_server(cluster, binaries))
        _wait("the API server is ready", cluster, _api_is_ready)
        start("controllers", programs.controllers(cluster, binaries))
        start("scheduler", programs.scheduler(cluster, binaries))
        start("kubelet", programs.kubelet(cluster, binaries, docker_host=docker_host, address=bridge))
        start("proxy", programs.proxy(cluster, binaries))
        start("names", programs.name_server(cluster, bridge))
        _wait("the node is ready", cluster, lambda: node_is_ready(cluster))
        _wait("the default service account is there", cluster, lambda: _has_account(cluster))
    except BaseException:
        down(cluster)
        raise
    return cluster.kubeconfig


def down(cluster: Layout) -> None:
    """Stop the cluster: its processes by pid, its containers, its mounts, its rules, its data. The logs stay."""
    for name in STOP_ORDER[:3]:
        processes.stop(name, pids=cluster.pids)
    if cluster.docker_host.exists():
        _remove_pods(cluster.docker_host.read_text())
    for name in STOP_ORDER[3:]:
        processes.stop(name, pids=cluster.pids)
    _unmount(cluster.kubelet_root)
    _remove_rules()
    for folder in (cluster.folder / "etcd", cluster.kubelet_root, cluster.certificates):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (cluster.kubeconfig, cluster.docker_host, cluster.folder / "kubelet.json"):
        file.unlink(missing_ok=True)


def load(cluster: Layout, images: list[str]) -> None:
    """Make images of the current Docker daemon known to the cluster's, which can be another one."""
    if not cluster.docker_host.exists():
        raise DeployError("no cluster runs; start one with ./lab cluster up")
    target = cluster.docker_host.read_text()
    for image in images:
        docker("image", "inspect", image)
    if target == os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"):
        return
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        docker("image", "save", "--output", archive.name, *images)
        docker("--host", target, "image", "load", "--input", archive.name)


def status(cluster: Layout) -> dict[str, bool]:
    """Return which of the programs run."""
    return {name: processes.running(name, pids=cluster.pids) is not None for name in STOP_ORDER}


def node_is_ready(cluster: Layout) -> bool:
    path = 'jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}'
    return _asked(cluster, "get", "nodes", "-o", path) == "True"


def docker(*arguments: str) -> str:
    """Run a docker command and return its output. Raises DeployError with docker's last line."""
    done = subprocess.run(("docker", *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"docker {' '.join(arguments[:3])}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout


def bridge_address() -> str:
    """Return this machine's address on Docker's default network, which pods are on as well."""
    (subnet,) = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"]
    return subnet.get("Gateway") or str(ipaddress.ip_network(subnet["Subnet"])[1])


def _has_account(cluster: Layout) -> bool:
    return bool(_asked(cluster, "get", "serviceaccount", "default", "-o", "jsonpath={.secrets[0].name}"))


def _asked(cluster: Layout, *arguments: str) -> str:
    command = (str(layout.binaries() / "kubectl"), "--kubeconfig", str(cluster.kubeconfig), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _api_is_ready() -> bool:
    context = ssl._create_unverified_context()  # noqa: S323  loopback, see layout.ADMIN_TOKEN
    try:
        with urllib.request.urlopen(  # noqa: S310
            f"https://127.0.0.1:{layout.API_PORT}/readyz", timeout=2, context=context
        ) as page:
            return bool(page.read() == b"ok")
    except OSError:
        return False


def _refuse_taken_ports() -> None:
    for port in layout.PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise DeployError(
                    f"port {port} is in use; only one cluster runs on a machine, end the other with ./lab cluster down"
                )


def _make_pause_image() -> None:
    if docker("images", "--quiet", layout.PAUSE_IMAGE):
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(("gcc", "-static", "-Os", "-o", f"{folder}/pause", PAUSE_SOURCE), check=True)
        subprocess.run(("tar", "--create", "--file", f"{folder}/pause.tar", "--directory", folder, "pause"), check=True)
        docker("import", "--change", 'ENTRYPOINT ["/pause"]', f"{folder}/pause.tar", layout.PAUSE_IMAGE)


def _remove_pods(docker_host: str) -> None:
    """Remove the cluster's containers. Other containers of the daemon are not touched."""
    host = ("--host", docker_host)
    if ids := docker(*host, "ps", "--all", "--quiet", "--filter", f"label={POD_LABEL}").split():
        docker(*host, "rm", "--force", "--volumes", *ids)


def _unmount(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(("umount", "--lazy", mount), check=False)


def _remove_rules() -> None:
    """Remove kube-proxy's iptables rules; those of Docker stay."""
    if (folder := os.environ.get("LLM_LAB_KUBERNETES")) or shutil.which("iptables"):
        program = Path(folder) / "kube-proxy" if folder else layout.binaries() / "kube-proxy"
        subprocess.run((str(program), "--cleanup"), capture_output=True, check=False)


def _wait(what: str, cluster: Layout, condition: processes.Callable[[], bool]) -> None:
    processes.wait(what, condition, seconds=START_SECONDS, hint=f"see {cluster.logs}")
