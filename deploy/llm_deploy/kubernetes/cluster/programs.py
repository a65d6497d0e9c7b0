"""The command line of each of the cluster's programs."""

from __future__ import annotations

import sys
from pathlib import Path

from llm_deploy.kubernetes.cluster import layout
from llm_deploy.kubernetes.cluster.files import AGGREGATOR
from llm_deploy.kubernetes.cluster.layout import Layout

Command = tuple[str, ...]


def etcd(cluster: Layout) -> Command:
    client = f"http://127.0.0.1:{layout.ETCD_PORT}"
    peer = f"http://127.0.0.1:{layout.ETCD_PEER_PORT}"
    return (
        *("etcd", f"--data-dir={cluster.folder / 'etcd'}", "--unsafe-no-fsync"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"),
    )


def api_server(cluster: Layout, binaries: Path) -> Command:
    certificates = cluster.certificates
    return (
        *(f"{binaries}/kube-apiserver", f"--etcd-servers=http://127.0.0.1:{layout.ETCD_PORT}"),
        *(f"--secure-port={layout.API_PORT}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"),
        *(f"--cert-dir={certificates / 'api'}", f"--token-auth-file={certificates / 'tokens.csv'}"),
        *("--authorization-mode=RBAC", "--allow-privileged=true", "--endpoint-reconciler-type=none"),
        *("--service-cluster-ip-range=10.96.0.0/16", "--service-node-port-range=30000-32767"),
        *("--service-account-issuer=https://lab", f"--service-account-key-file={certificates / 'accounts.pub'}"),
        f"--service-account-signing-key-file={certificates / 'accounts.key'}",
        *(f"--kubelet-port={layout.KUBELET_PORT}", "--kubelet-preferred-address-types=InternalIP"),
        f"--kubelet-client-certificate={certificates / AGGREGATOR}.crt",
        f"--kubelet-client-key={certificates / AGGREGATOR}.key",
        # Aggregation: the API server forwards the external metrics' API to the monitor. It calls the pods' addresses,
        # because no rule of kube-proxy leads from this process to a Service's address.
        *("--enable-aggregator-routing=true", f"--requestheader-allowed-names={AGGREGATOR}"),
        f"--requestheader-client-ca-file={certificates / 'front-proxy-ca.crt'}",
        *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={certificates / AGGREGATOR}.crt",
        f"--proxy-client-key-file={certificates / AGGREGATOR}.key",
    )


def controllers(cluster: Layout, binaries: Path) -> Command:
    return (
        *(f"{binaries}/kube-controller-manager", f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false"),
        f"--service-account-private-key-file={cluster.certificates / 'accounts.key'}",
        *("--bind-address=127.0.0.1", "--port=0", f"--secure-port={layout.CONTROLLERS_PORT}"),
        f"--cert-dir={cluster.certificates / 'controllers'}",
        # Faster than the default of 15 s, so that tests of autoscaling are short.
        *("--horizontal-pod-autoscaler-sync-period=2s", "--horizontal-pod-autoscaler-use-rest-clients=true"),
    )


def scheduler(cluster: Layout, binaries: Path) -> Command:
    return (
        *(f"{binaries}/kube-scheduler", f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false"),
        *("--bind-address=127.0.0.1", "--port=0", f"--secure-port={layout.SCHEDULER_PORT}"),
        f"--cert-dir={cluster.certificates / 'scheduler'}",
    )


def kubelet(cluster: Layout, binaries: Path, *, docker_host: str, address: str) -> Command:
    return (
        *(f"{binaries}/kubelet", f"--kubeconfig={cluster.kubeconfig}", f"--config={cluster.folder / 'kubelet.json'}"),
        *("--container-runtime=docker", f"--docker-endpoint={docker_host}", "--network-plugin="),
        *(f"--root-dir={cluster.kubelet_root}", f"--cert-dir={cluster.certificates / 'kubelet'}"),
        *(f"--hostname-override={layout.NODE}", f"--node-ip={address}"),
        f"--pod-infra-container-image={layout.PAUSE_IMAGE}",
    )


def proxy(cluster: Layout, binaries: Path) -> Command:
    return (
        *(f"{binaries}/kube-proxy", f"--kubeconfig={cluster.kubeconfig}", "--proxy-mode=iptables"),
        *(f"--hostname-override={layout.NODE}", f"--healthz-bind-address=127.0.0.1:{layout.PROXY_HEALTH_PORT}"),
        f"--metrics-bind-address=127.0.0.1:{layout.PROXY_METRICS_PORT}",
        # 0: leave the kernel's settings alone, which a container may not write.
        *("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0"),
        "--conntrack-tcp-timeout-close-wait=0",
    )


def name_server(cluster: Layout, address: str) -> Command:
    return (sys.executable, "-m", "llm_deploy.kubernetes.cluster.dns", str(cluster.kubeconfig), address)
