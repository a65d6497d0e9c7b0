"""Where the cluster's files are, on which ports it listens, and which programs it consists of."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from llm_deploy import paths
from llm_deploy.errors import DeployError

API_PORT = 16443
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
KUBELET_PORT = 11250
KUBELET_HEALTH_PORT = 11248
CONTROLLERS_PORT = 16257
SCHEDULER_PORT = 16259
PROXY_HEALTH_PORT = 16256
PROXY_METRICS_PORT = 16249
PORTS = (API_PORT, ETCD_PORT, ETCD_PEER_PORT, KUBELET_PORT, CONTROLLERS_PORT, SCHEDULER_PORT)
"""Fixed, so only one such cluster runs on a machine: its iptables rules are the machine's as well."""

NODE = "127.0.0.1"
PAUSE_IMAGE = "llm-lab/pause:1"
ADMIN_TOKEN = "admin"
BUILT = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
INSTALLED = {"etcd": "etcd-server", "openssl": "openssl", "iptables": "iptables", "docker": "docker.io", "gcc": "gcc"}
"""Program -> Debian package. tools/docker-packages installs Docker, tools/kubernetes the rest."""


@dataclass(frozen=True)
class Layout:
    """The folders of one cluster."""

    folder: Path = paths.STATE / "cluster"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def pids(self) -> Path:
        return self.folder / "pids"

    @property
    def kubelet_root(self) -> Path:
        return self.folder / "kubelet"

    @property
    def docker_host(self) -> Path:
        """Address of the daemon that the cluster was started with."""
        return self.folder / "docker-host"


def binaries() -> Path:
    """Return the folder with Kubernetes' programs. Raises DeployError if one of them or of Debian's is missing."""
    for program, package in INSTALLED.items():
        if shutil.which(program) is None:
            raise DeployError(f"{program} is missing; install Debian's package {package}")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "llm-lab" / "kubernetes"
    folder = Path(os.environ.get("LLM_LAB_KUBERNETES") or cache)
    missing = [name for name in BUILT if not os.access(folder / name, os.X_OK)]
    if missing:
        raise DeployError(
            f"{folder} lacks {', '.join(missing)}; tools/kubernetes builds them, "
            "or set LLM_LAB_KUBERNETES to a folder that has them"
        )
    return folder
