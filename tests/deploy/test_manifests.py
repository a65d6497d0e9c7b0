"""The shipped manifests: valid for current Kubernetes, safe by policy, and in agreement with the services' settings."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_contract.settings import ServiceSettings, read
from llm_deploy.compose import secrets
from llm_deploy.kubernetes import render
from llm_deploy.kubernetes.render import Manifest
from llm_engine.cli import ServeSettings
from llm_gateway.settings import GatewaySettings
from llm_monitor.settings import MonitorSettings
from llm_router.edge.standalone import StandaloneSettings

OVERLAYS = ("laptop", "gpu", "production")
SERVICES = ("engine", "router", "gateway", "monitor")
KUBERNETES = "1.37"
WORKLOADS = ("Deployment", "StatefulSet")
EXIT_SECONDS = 5
"""Least time between the end of a drain and SIGKILL."""
DRAIN = {"engine": "shutdown_timeout", "router": "edge_drain_timeout", "gateway": "drain_timeout"}
FRONT = ("router", "gateway")
"""Services whose rollout must not take a pod away before another one is ready."""


@cache
def manifests(overlay: str) -> list[Manifest]:
    return render.overlay(overlay)


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [one for one in manifests(overlay) if one["kind"] in kinds]


def workload(overlay: str, name: str) -> Manifest:
    (found,) = (one for one in of_kind(overlay, *WORKLOADS) if one["metadata"]["name"] == name)
    return found


def containers(overlay: str) -> Iterator[tuple[str, Manifest]]:
    for one in of_kind(overlay, *WORKLOADS):
        yield from ((f"{one['metadata']['name']}/{each['name']}", each) for each in render.containers(one))


def pre_stop(container: Manifest) -> int:
    return int(container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))


def settings_of(overlay: str, name: str, model: type[ServiceSettings], folder: Path, *flags: str) -> Any:
    """Read the service's settings from the overlay's ConfigMap, as the service does."""
    (found,) = (one for one in of_kind(overlay, "ConfigMap") if one["metadata"]["name"].startswith(f"{name}-"))
    text = found["data"][f"{name}.yaml"]
    for line in ("otlp_key_file", "key_file"):
        assert line not in text or "/run/secrets/" in text
    path = folder / f"{name}.yaml"
    path.write_text(
        text.replace("/run/secrets/monitor/monitor.key", str(path)).replace("/run/secrets/monitor.key", str(path))
    )
    return read(model, prog=name, argv=["--config", str(path), *flags])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_manifest_is_valid_for_current_kubernetes(overlay: str, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(manifests(overlay)))
    command = (render.tool("kubernetes-validate"), "--strict", "--kubernetes-version", KUBERNETES, str(file))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr, "a manifest has no schema"


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    gateway = yaml.safe_load(yaml.safe_dump(workload("laptop", "gateway")))
    gateway["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    file = tmp_path / "one.yaml"
    file.write_text(yaml.safe_dump(gateway))
    command = (render.tool("kubernetes-validate"), "--strict", "--kubernetes-version", KUBERNETES, str(file))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "livenesProbe" in done.stdout + done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_have_no_rights(overlay: str) -> None:
    for one in of_kind(overlay, *WORKLOADS):
        pod = render.pod_of(one)
        assert pod is not None
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod["volumes"])
    for name, container in containers(overlay):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert "privileged" not in context, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_monitor_has_a_token_and_it_may_only_read_pods(overlay: str) -> None:
    tokens = {}
    for one in of_kind(overlay, *WORKLOADS):
        pod = render.pod_of(one)
        assert pod is not None
        assert pod["serviceAccountName"] == one["metadata"]["name"]
        tokens[one["metadata"]["name"]] = pod["automountServiceAccountToken"]
    assert [name for name, mounted in tokens.items() if mounted] == ["monitor"]
    assert all(one["automountServiceAccountToken"] is False for one in of_kind(overlay, "ServiceAccount"))
    (role,) = of_kind(overlay, "Role")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    assert not of_kind(overlay, "ClusterRole", "ClusterRoleBinding")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_have_limits_and_an_exact_image(overlay: str) -> None:
    for name, container in containers(overlay):
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        assert tag not in ("", "latest"), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_three_probes_differ(overlay: str) -> None:
    for name, container in containers(overlay):
        start, ready, live = (container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
        assert min(probe["timeoutSeconds"] for probe in (start, ready, live)) >= 2, name
        assert live["failureThreshold"] * live["periodSeconds"] >= 30, f"{name}: one slow answer must not restart it"
        assert live["failureThreshold"] * live["periodSeconds"] > ready["failureThreshold"] * ready["periodSeconds"]
        assert start["failureThreshold"] * start["periodSeconds"] >= 30, name
        assert live["terminationGracePeriodSeconds"] <= 10, f"{name}: a hung process does not use the time for a drain"
        if "httpGet" in live:
            assert live["httpGet"]["path"] == "/health", f"{name}: liveness asks no one but the process itself"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_grace_period_holds_pre_stop_and_drain(overlay: str, tmp_path: Path) -> None:
    settings = {
        "engine": settings_of(overlay, "engine", ServeSettings, tmp_path, "--model", "models/main"),
        "router": settings_of(overlay, "router", StandaloneSettings, tmp_path),
        "gateway": gateway_settings(overlay, tmp_path),
    }
    for name, key in DRAIN.items():
        pod = render.pod_of(workload(overlay, name))
        assert pod is not None
        drain = getattr(settings[name], key)
        if pod["containers"][0]["image"].startswith("vllm/"):
            drain = 0  # vLLM ends its requests at SIGTERM; its preStop lasts as long as the router's drain instead
            assert pre_stop(pod["containers"][0]) > settings["router"].edge_drain_timeout
        assert pre_stop(pod["containers"][0]) >= 5, name
        assert pod["terminationGracePeriodSeconds"] >= pre_stop(pod["containers"][0]) + drain + EXIT_SECONDS, name
    assert settings["gateway"].lame_duck < settings["gateway"].drain_timeout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_requests_wait_in_the_gateways_and_not_in_the_engines(overlay: str, tmp_path: Path) -> None:
    """In a rollout there is one gateway more. Through Redis all gateways share one limit."""
    engine, gateway = workload(overlay, "engine"), workload(overlay, "gateway")
    (limit,) = (each.max_in_flight for each in gateway_settings(overlay, tmp_path).engines)
    has_redis = any(one["metadata"]["name"] == "redis" for one in of_kind(overlay, *WORKLOADS))
    surge = gateway["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    in_flight = limit if has_redis else limit * (gateway["spec"]["replicas"] + surge)
    batch = largest_batch(engine["spec"]["template"]["spec"]["containers"][0], overlay, tmp_path)
    assert in_flight <= engine["spec"]["replicas"] * batch
    assert in_flight >= 16 * engine["spec"]["replicas"], "engines are left idle"


def largest_batch(container: Manifest, overlay: str, folder: Path) -> int:
    if container["image"].startswith("vllm/"):
        return int(container["args"][container["args"].index("--max-num-seqs") + 1])
    settings = settings_of(overlay, "engine", ServeSettings, folder, "--model", "models/main")
    return int(settings.max_num_seqs)


def gateway_settings(overlay: str, folder: Path) -> GatewaySettings:
    """Read the settings as the gateway does, with the variables of its container."""
    keys = folder / "secrets"
    secrets.make(keys)
    container = workload(overlay, "gateway")["spec"]["template"]["spec"]["containers"][0]
    with pytest.MonkeyPatch.context() as patch:
        for variable in container.get("env", []):
            patch.setenv(variable["name"], variable["value"])
        found = settings_of(overlay, "gateway", GatewaySettings, folder, "--config", str(keys / "gateway.yaml"))
    assert isinstance(found, GatewaySettings)
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rollouts_take_nothing_away_first(overlay: str) -> None:
    for name in FRONT:
        rollout = workload(overlay, name)["spec"]["strategy"]["rollingUpdate"]
        assert rollout == {"maxUnavailable": 0, "maxSurge": 1}
        assert workload(overlay, name)["spec"]["progressDeadlineSeconds"] <= 600


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_budgets_protect_and_let_a_drain_pass(overlay: str) -> None:
    budgets = {one["metadata"]["name"]: one["spec"] for one in of_kind(overlay, "PodDisruptionBudget")}
    assert budgets.keys() == {"engine", "router", "gateway"}
    for name, budget in budgets.items():
        assert workload(overlay, name)["spec"]["replicas"] > budget["maxUnavailable"] == 1
        labels = workload(overlay, name)["spec"]["template"]["metadata"]["labels"]
        assert budget["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_replicas_are_spread(overlay: str) -> None:
    for name in DRAIN:
        pod = render.pod_of(workload(overlay, name))
        assert pod is not None
        keys = {one["topologyKey"] for one in pod["topologySpreadConstraints"]}
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_scraped_at_the_port_that_they_name(overlay: str) -> None:
    for name in SERVICES:
        one = workload(overlay, name)["spec"]["template"]
        ports = [port for each in one["spec"]["containers"] for port in each["ports"]]
        assert one["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
        assert one["metadata"]["annotations"]["prometheus.io/port"] == str(ports[0]["containerPort"])
        assert ports[0]["name"] == "http"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_a_manifest_or_a_variable(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for name, container in containers(overlay):
        for variable in container.get("env", []):
            assert not any(word in variable["name"] for word in ("KEY", "TOKEN", "PASSWORD", "SECRET")), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_router_lists_every_engine_that_there_can_be(overlay: str, tmp_path: Path) -> None:
    router = settings_of(overlay, "router", StandaloneSettings, tmp_path)
    assert router.engine == tuple(f"http://engine-{number}.engine:8000" for number in range(8))
    assert workload(overlay, "engine")["spec"]["replicas"] <= len(router.engine)


def test_the_monitor_finds_the_pods_and_has_the_gateways_key(tmp_path: Path) -> None:
    key = tmp_path / "monitor.yaml"
    monitor = settings_of("laptop", "monitor", MonitorSettings, tmp_path, "--web.keys", '["sha256:' + "0" * 64 + '"]')
    assert monitor.collect.kubernetes.namespaces == ["llm"]
    assert monitor.collect.kubernetes.key_file == key


# --- who may talk to whom ---------------------------------------------------------------------------------------------

ALLOWED = {
    ("gateway", "router", 8000),
    ("router", "engine", 8000),
    ("monitor", "gateway", 8080),
    ("monitor", "router", 8000),
    ("monitor", "engine", 8000),
    ("gateway", "monitor", 9600),
    ("router", "monitor", 9600),
    ("engine", "monitor", 9600),
}


def allowed(overlay: str, source: str, target: str) -> bool:
    """Return whether the policies let a pod open a connection to another service's port."""
    pods = {one["metadata"]["name"]: one["spec"]["template"] for one in of_kind(overlay, *WORKLOADS)}
    port = pods[target]["spec"]["containers"][0]["ports"][0]
    ends = ((source, target, "Egress", "egress", "to"), (target, source, "Ingress", "ingress", "from"))
    return all(
        _passes(overlay, pods[own], pods[peer], port, kind=kind, field=field, direction=direction)
        for own, peer, kind, field, direction in ends
    )


def _passes(overlay: str, own: Manifest, peer: Manifest, port: Manifest, **side: str) -> bool:
    policies = [
        one["spec"]
        for one in of_kind(overlay, "NetworkPolicy")
        if side["kind"] in one["spec"]["policyTypes"] and _selects(one["spec"]["podSelector"], own)
    ]
    assert policies, "default-deny selects every pod"
    rules = [rule for policy in policies for rule in policy.get(side["field"], [])]
    return any(_rule_passes(rule, peer, port, side["direction"]) for rule in rules)


def _rule_passes(rule: Manifest, peer: Manifest, port: Manifest, direction: str) -> bool:
    peers, ports = rule.get(direction), rule.get("ports")
    peer_passes = peers is None or any(
        "podSelector" in one and "namespaceSelector" not in one and _selects(one["podSelector"], peer) for one in peers
    )
    return peer_passes and (ports is None or any(one["port"] in (port["name"], port["containerPort"]) for one in ports))


def _selects(selector: Manifest, pod: Manifest) -> bool:
    return bool(selector.get("matchLabels", {}).items() <= pod["metadata"]["labels"].items())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_lets_through_what_is_needed_and_nothing_else(overlay: str) -> None:
    found = {
        (
            source,
            target,
            workload(overlay, target)["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"],
        )
        for source in SERVICES
        for target in SERVICES
        if source != target and allowed(overlay, source, target)
    }
    # Clients come from anywhere, so the gateway and the monitor take connections from every pod that may leave.
    assert found == ALLOWED
