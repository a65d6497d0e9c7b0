"""The cluster's keys, certificates and configuration files, made at each start."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from llm_deploy.errors import DeployError
from llm_deploy.kubernetes.cluster import layout
from llm_deploy.kubernetes.cluster.layout import Layout

AGGREGATOR = "aggregator"
"""Name of the API server's certificate towards the kubelet and aggregated servers, such as the external metrics."""
DAYS = "3650"


def write(cluster: Layout, address: str) -> None:
    """Write all files. `address` is the machine's on the pods' network: the node's and the name server's."""
    for folder in (cluster.certificates, cluster.logs, cluster.pids, cluster.kubelet_root):
        folder.mkdir(parents=True, exist_ok=True)
    folder = cluster.certificates
    if not (folder / f"{AGGREGATOR}.crt").exists():
        _service_account_key(folder)
        _aggregator_certificate(folder)
    (folder / "tokens.csv").write_text(f'{layout.ADMIN_TOKEN},admin,1,"system:masters"\n')
    cluster.kubeconfig.write_text(json.dumps(kubeconfig(), indent=1))
    cluster.kubeconfig.chmod(0o600)
    (cluster.folder / "kubelet.json").write_text(json.dumps(kubelet(cluster, address), indent=1))


def kubeconfig() -> dict[str, object]:
    server = f"https://127.0.0.1:{layout.API_PORT}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": layout.ADMIN_TOKEN}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
        "current-context": "lab",
    }


def kubelet(cluster: Layout, address: str) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "port": layout.KUBELET_PORT,
        "readOnlyPort": 0,
        "healthzPort": layout.KUBELET_HEALTH_PORT,
        # Pods reach this address, so the kubelet answers the API server only, which shows its certificate.
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(cluster.certificates / "front-proxy-ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "enforceNodeAllocatable": ["pods"],
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "clusterDNS": [address],
        "clusterDomain": "cluster.local",
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "5s",
        "resolvConf": "/etc/resolv.conf",
        # The daemon can be shared: the kubelet must not remove images that others have built.
        "imageGCHighThresholdPercent": 100,
    }


def _service_account_key(folder: Path) -> None:
    _openssl("genrsa", "-out", str(folder / "accounts.key"), "2048")
    _openssl("rsa", "-in", str(folder / "accounts.key"), "-pubout", "-out", str(folder / "accounts.pub"))


def _aggregator_certificate(folder: Path) -> None:
    """Make a certificate authority, and the certificate that the API server shows to kubelet and aggregated servers."""
    authority, key = folder / "front-proxy-ca.crt", folder / "front-proxy-ca.key"
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", DAYS, "-subj", "/CN=front-proxy-ca"),
        *("-keyout", str(key), "-out", str(authority)),
    )
    request = folder / f"{AGGREGATOR}.csr"
    _openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={AGGREGATOR}"),
        *("-keyout", str(folder / f"{AGGREGATOR}.key"), "-out", str(request)),
    )
    _openssl(
        *("x509", "-req", "-in", str(request), "-days", DAYS, "-CA", str(authority), "-CAkey", str(key)),
        *("-CAcreateserial", "-out", str(folder / f"{AGGREGATOR}.crt")),
    )


def _openssl(*arguments: str) -> None:
    done = subprocess.run(("openssl", *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"openssl {arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")
