"""A namespace on the test cluster, and the external metrics API served by the test itself, with values that it sets."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from llm_deploy.autoscale import certificates
from llm_deploy.errors import DeployError
from llm_deploy.kubernetes.cluster import layout
from llm_monitor.external import ExternalMetricsSettings, serve
from llm_monitor.series import Matcher, Series, labels_of
from llm_monitor.series.selection import NAME
from llm_monitor.web.queries import Queries

HOST_ADDRESS = "172.17.0.1"
"""Docker's bridge: an address of this machine that endpoints may name, unlike loopback."""
SYNC_SECONDS = 2.0
"""The test cluster's --horizontal-pod-autoscaler-sync-period."""


class Cluster:
    """kubectl in one namespace of a running cluster."""

    def __init__(self, kubectl: str, kubeconfig: str, namespace: str) -> None:
        self._command = (kubectl, "--kubeconfig", kubeconfig, "--namespace", namespace)
        self.namespace = namespace

    def run(self, *words: str, stdin: str | None = None) -> str:
        done = subprocess.run((*self._command, *words), input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def apply(self, *items: dict[str, Any]) -> None:
        self.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)}))

    def get(self, *words: str) -> Any:
        return json.loads(self.run("get", *words, "-o", "json"))

    def replicas(self, workload: str) -> int:
        return int(self.get(workload)["spec"]["replicas"])

    def client_ca(self) -> str:
        path = "jsonpath={.data.requestheader-client-ca-file}"
        words = ("--namespace", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", path)
        return self.run(*words)


@contextmanager
def cluster(namespace: str) -> Iterator[Cluster]:
    """Yield a new namespace and delete it afterwards, with the APIService. Skip without a cluster, and say why."""
    kubeconfig = os.environ.get("KUBECONFIG") or str(layout.Layout().kubeconfig)
    if not Path(kubeconfig).exists():
        pytest.skip("no cluster runs: ./lab cluster up, as root, or set KUBECONFIG")
    try:
        found = Cluster(str(layout.binaries() / "kubectl"), kubeconfig, namespace)
    except DeployError as error:
        pytest.skip(str(error))
    found.run("create", "namespace", namespace)
    try:
        yield found
    finally:
        found.run("delete", "apiservice", "v1beta1.external.metrics.k8s.io", "--ignore-not-found")
        found.run("delete", "namespace", namespace, "--wait=true", "--timeout=120s")


class Gauges:
    """A source of samples whose values the test sets; they are always fresh. A gauge that is None has no sample."""

    def __init__(self) -> None:
        self.values: dict[str, float | None] = {}

    def resolution(self, start: float) -> float:
        return 0.0

    def select(self, matchers: list[Matcher], start: float, end: float) -> list[Series]:
        name = next(matcher.value for matcher in matchers if matcher.name == NAME)
        value = self.values.get(name)
        if value is None:
            return []
        return [Series(labels_of({NAME: name}), np.array([end - 0.001]), np.array([value]))]


@contextmanager
def external_metrics(on: Cluster, folder: Path) -> Iterator[Gauges]:
    """Serve external metrics `first` and `second` from this process, and register them with the API server."""
    secret, service = yaml.safe_load_all(certificates.manifests(on.namespace, on.client_ca()))
    for name, text in secret["stringData"].items():
        (folder / name).write_text(text)
    settings = ExternalMetricsSettings(
        host=HOST_ADDRESS,
        port=0,
        certificate=folder / "tls.crt",
        key=folder / "tls.key",
        client_ca=folder / "client-ca.crt",
        namespaces=[on.namespace],
        metrics={"first": "first", "second": "second"},
    )
    gauges = Gauges()
    with _serving(settings, Queries(gauges, gauges)) as url:  # type: ignore[arg-type]
        port = int(url.rpartition(":")[2])
        meta = {"name": certificates.SERVICE}
        subset = {"addresses": [{"ip": HOST_ADDRESS}], "ports": [{"port": port}]}
        on.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {"ports": [{"port": 443, "targetPort": port}]},
            },
            {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": [subset]},
            service,
        )
        yield gauges


@contextmanager
def _serving(settings: ExternalMetricsSettings, queries: Queries) -> Iterator[str]:
    """Serve in a thread with an event loop of its own, and yield the URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = serve(settings, queries)
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def until(what: str, condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Poll until the condition holds and return the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.2)
    return time.monotonic() - begun
