"""The shipped autoscaler on a real cluster: up within 30 s, down without a lost request, and still without data.

Scripted engines behind router and gateway, and the monitor with its external metrics. Two things differ from the
shipped component: scaling down takes seconds in place of an hour, and the monitor's targets are listed.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import aiohttp
import pytest
import yaml
from deploy.support_autoscaling import Cluster, cluster, until

from llm_deploy.autoscale import certificates, queries
from llm_monitor.web.security import hash_key

NAMESPACE = "autoscale-e2e"
NODE_PORT = 30187
URL = f"http://127.0.0.1:{NODE_PORT}/v1/completions"
MOST = 4
TOKENS = 20
ENGINE = "--host 0.0.0.0 --port 8000 --model main --ttft 0.05 --gaps 0.1 --max-running 16 --kv-tokens 64000"
SECONDS_TO_UP = 30.0
MONITOR_KEY = "monitor-key"
ENGINES = [f"http://engine-{index}.engine:8000" for index in range(MOST)]


def image(name: str) -> str:
    registry, version = os.environ.get("LLM_LAB_REGISTRY", "llm-lab"), os.environ.get("LLM_LAB_VERSION", "dev")
    return f"{registry}/{name}:{version}"


def configs() -> dict[str, Any]:
    external = queries.manifest("autoscaling-hpa", "external-metrics")["external_metrics"]
    gateway = [{"url": "http://router:8000", "name": "router", "max_in_flight": 256}]
    targets = [
        *({"address": url, "job": "engine"} for url in ENGINES),
        {"address": "http://router:8000", "job": "router"},
        {"address": "http://gateway:8080", "job": "gateway"},
    ]
    return {
        "gateway": {
            "host": "0.0.0.0",
            "port": 8080,
            "require_keys": False,
            "engines": gateway,
            "monitoring": {"open": True},
        },
        "router": {"host": "0.0.0.0", "port": 8000, "admin_port": None, "engine": ENGINES},
        "monitor": {
            "host": "0.0.0.0",
            "web": {"keys": [hash_key(MONITOR_KEY)]},
            "collect": {"gpus": False, "targets": targets},
            "external_metrics": external | {"namespaces": [NAMESPACE]},
        },
    }


def workload(kind: str, name: str, port: int, container: dict[str, Any], mounts: dict[str, Any]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name}
    probe = {"httpGet": {"path": "/ready", "port": port}, "periodSeconds": 2, "timeoutSeconds": 5}
    container = {"name": name, "image": image(name), "imagePullPolicy": "Never", "readinessProbe": probe, **container}
    container["volumeMounts"] = [{"name": volume, "mountPath": f"/etc/{volume}"} for volume in mounts]
    pod = {
        "terminationGracePeriodSeconds": 60,
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [{"name": volume, **source} for volume, source in mounts.items()],
    }
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    if kind == "StatefulSet":
        spec |= {"serviceName": name, "podManagementPolicy": "Parallel", "replicas": 2 if name == "engine" else 1}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def service(name: str, port: int, **spec: Any) -> dict[str, Any]:
    ports = spec.pop("ports", [{"name": "http", "port": port}])
    spec = {"selector": {"app.kubernetes.io/name": spec.pop("of", name)}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def manifests() -> list[dict[str, Any]]:
    texts = {f"{name}.yaml": yaml.safe_dump(content) for name, content in configs().items()}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"}, "data": texts}
    mounts = {"llm": {"configMap": {"name": "config"}}}
    monitor = mounts | {"external-metrics": {"secret": {"secretName": certificates.SECRET}}}
    scripted = {"command": ["python", "-m", "llm_contract.testing", *ENGINE.split()]}
    node_port = [{"port": 8080, "nodePort": NODE_PORT}]
    return [
        config,
        service("engine", 8000, clusterIP="None"),
        service("router", 8000),
        service("gateway", 8080, type="NodePort", ports=node_port),
        service(certificates.SERVICE, 443, of="monitor", ports=[{"port": 443, "targetPort": 6443}]),
        workload("StatefulSet", "engine", 8000, scripted, {}),
        workload("Deployment", "router", 8000, {"args": ["edge", "--config", "/etc/llm/router.yaml"]}, mounts),
        workload("Deployment", "gateway", 8080, {"args": ["--config", "/etc/llm/gateway.yaml"]}, mounts),
        workload("StatefulSet", "monitor", 9600, {"args": ["serve", "--config", "/etc/llm/monitor.yaml"]}, monitor),
    ]


def autoscaler() -> dict[str, Any]:
    """Return the engines' shipped autoscaler for Kubernetes 1.20, with short windows of scaling down."""
    found = queries.manifest("autoscaling-hpa", "engine")
    found["apiVersion"] = "autoscaling/v2beta2"
    found["spec"]["maxReplicas"] = MOST
    found["spec"]["behavior"]["scaleDown"] = {
        "stabilizationWindowSeconds": 10,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}],
    }
    return found


@pytest.fixture(scope="module")
def world() -> Iterator[Cluster]:
    with cluster(NAMESPACE) as found:
        secret, api = yaml.safe_load_all(certificates.manifests(NAMESPACE, found.client_ca()))
        # The shipped paths are under /run/external-metrics; here all mounts are under /etc.
        text = json.dumps(manifests()).replace("/run/external-metrics", "/etc/external-metrics")
        found.apply(secret, api, *json.loads(text))
        for name in ("statefulset/engine", "deployment/router", "deployment/gateway", "statefulset/monitor"):
            found.run("rollout", "status", name, "--timeout=240s")
        until("kube-proxy has opened the node port", is_open, 60)
        yield found


def is_open() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", NODE_PORT)) == 0


@dataclass
class Load:
    """Streams at the gateway, each followed by the next. `clients` can change while it runs."""

    clients: int
    finished: int = 0
    failures: list[str] = field(default_factory=list)
    _stop: bool = False

    def __enter__(self) -> Load:
        self._thread = Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(120)) as session:
            while not self._stop or running:
                while not self._stop and len(running) < self.clients:
                    running.add(asyncio.create_task(self._one(session)))
                _, running = await asyncio.wait(running, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)

    async def _one(self, session: aiohttp.ClientSession) -> None:
        body = {"model": "main", "prompt": "x", "max_tokens": TOKENS, "stream": True}
        try:
            async with session.post(URL, json=body) as response:
                text = await response.text()
            complete = response.status == 200 and text.rstrip().endswith("[DONE]")
            self.failures += [] if complete else [f"{response.status}: {text[-200:]}"]
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures.append(repr(error))
        self.finished += 1


def test_up_within_30_s_down_without_a_loss_and_still_without_data(world: Cluster) -> None:
    with Load(clients=4) as load:
        until("requests are answered", lambda: load.finished > 8, 60)
        assert load.failures == []
        world.apply(autoscaler())
        until("the autoscaler has both metrics", lambda: measured(world) == sorted(queries.hpa_targets("engine")), 90)
        assert world.replicas("statefulset/engine") == 2

        load.clients = 100
        seconds = until("it scales up", lambda: world.replicas("statefulset/engine") > 2, 60)
        print(f"up after {seconds:.1f} s")
        until("all engines are ready", lambda: ready(world) == MOST, 120)

        load.clients = 6
        until("it scales down to two", lambda: world.replicas("statefulset/engine") == 2, 240)
        until("they have drained", lambda: ready(world) == 2, 120)
        finished = load.finished
        until("requests are answered", lambda: load.finished > finished + 10, 60)
    print(f"{load.finished} requests, {len(load.failures)} failed")
    assert load.failures == []
    assert seconds <= SECONDS_TO_UP

    # Three engines where the last metrics asked for two: without data they must stay.
    world.run("scale", "statefulset/monitor", "--replicas=0")
    until("the autoscaler says that it has no data", lambda: active(world) == "False", 90)
    world.run("scale", "statefulset/engine", "--replicas=3")
    deadline = time.monotonic() + 20  # ten syncs
    while time.monotonic() < deadline:
        assert world.replicas("statefulset/engine") == 3
        time.sleep(1)


def measured(on: Cluster) -> list[str]:
    """Return the metrics of which the autoscaler knows the value."""
    found = on.get("hpa.v2beta2.autoscaling/engine").get("status", {}).get("currentMetrics") or []
    return sorted(each["external"]["metric"]["name"] for each in found if "external" in each)


def active(on: Cluster) -> str:
    conditions = on.get("hpa.v2beta2.autoscaling/engine").get("status", {}).get("conditions") or []
    return next((str(each["status"]) for each in conditions if each["type"] == "ScalingActive"), "")


def ready(on: Cluster) -> int:
    status = on.get("statefulset/engine")["status"]
    return int(status.get("readyReplicas", 0)) if status["replicas"] == status.get("readyReplicas") else -1
