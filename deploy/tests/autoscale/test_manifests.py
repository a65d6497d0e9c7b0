"""The shipped autoscalers: valid, equal to each other, and about fleets that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from llm_deploy import paths
from llm_deploy.autoscale import certificates, queries
from llm_deploy.errors import DeployError
from llm_monitor.boards.check import faults
from llm_monitor.boards.metrics import exported
from llm_monitor.external import ExternalMetricsSettings
from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.settings import EnginesSettings

KUBERNETES = paths.DEPLOY / "kubernetes"
COMPONENTS = KUBERNETES / "components"
SCHEMAS = KUBERNETES / "schemas"
CUSTOM = ("autoscaling-keda", "prometheus-operator", "kuberay")


def resources(component: str) -> list[dict[str, Any]]:
    """Return the resources that a component's kustomization lists."""
    folder = COMPONENTS / component
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [each for name in names for each in yaml.safe_load_all((folder / name).read_text())]


def violations(resource: dict[str, Any]) -> list[str]:
    schema = json.loads((SCHEMAS / f"{resource['kind'].lower()}.json").read_text())
    return [
        f"{error.instance_path}: {error.message}" for error in jsonschema_rs.validator_for(schema).iter_errors(resource)
    ]


@pytest.mark.parametrize("component", CUSTOM)
def test_custom_resources_have_no_field_that_their_definition_lacks(component: str) -> None:
    found = {f"{each['kind']}/{each['metadata']['name']}": violations(each) for each in resources(component)}
    assert found
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("component", "path", "value"),
    [
        ("autoscaling-keda", ("spec", "minReplicas"), 2),
        ("autoscaling-keda", ("spec", "triggers"), [{"metadata": {}}]),
        ("prometheus-operator", ("spec", "podMetricEndpoints"), []),
        ("kuberay", ("spec", "serveConfig"), "x"),
    ],
)
def test_the_schemas_refuse_a_wrong_field(component: str, path: tuple[str, str], value: object) -> None:
    resource = resources(component)[0]
    resource[path[0]][path[1]] = value
    assert violations(resource)


def test_keda_and_hpa_decide_alike() -> None:
    metrics = queries.external_metrics()
    for name in queries.SERVICES:
        hpa, keda = (
            queries.manifest("autoscaling-hpa", name)["spec"],
            queries.manifest("autoscaling-keda", name)["spec"],
        )
        by_expression = {
            " ".join(metrics[metric].split()): target for metric, target in queries.hpa_targets(name).items()
        }
        assert by_expression == {
            " ".join(query.split()): target for query, target in queries.keda_targets(name).items()
        }
        assert (hpa["minReplicas"], hpa["maxReplicas"]) == (keda["minReplicaCount"], keda["maxReplicaCount"])
        assert hpa["behavior"] == keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert hpa["scaleTargetRef"] == keda["scaleTargetRef"]


def test_no_data_is_never_a_zero() -> None:
    assert "or vector" not in "".join(queries.external_metrics().values())
    for name in queries.SERVICES:
        triggers = queries.manifest("autoscaling-keda", name)["spec"]["triggers"]
        assert [each["metadata"]["ignoreNullValues"] for each in triggers] == ["false"] * len(triggers)


@pytest.mark.parametrize("name", sorted(queries.external_metrics()))
def test_each_expression_names_metrics_that_exist(name: str) -> None:
    assert list(faults(queries.external_metrics()[name], exported())) == []


def test_the_monitor_accepts_the_configuration(tmp_path: Path) -> None:
    section = queries.manifest("autoscaling-hpa", "external-metrics")["external_metrics"]
    for key in ("certificate", "key", "client_ca"):
        (tmp_path / key).touch()
        section[key] = tmp_path / key
    settings = ExternalMetricsSettings.model_validate(section)
    used = {metric for name in queries.SERVICES for metric in queries.hpa_targets(name)}
    assert used <= set(settings.metrics)


def test_the_router_knows_as_many_engines_as_the_autoscaler_can_start() -> None:
    engines = yaml.safe_load((KUBERNETES / "base" / "config" / "router.yaml").read_text())["engine"]
    assert engines == [f"http://engine-{index}.engine:8000" for index in range(len(engines))]
    assert len(engines) >= queries.hpa_behaviour("engine").most


def test_the_gateway_lets_through_what_the_largest_fleet_runs() -> None:
    text = (COMPONENTS / "autoscaling-hpa" / "kustomization.yaml").read_text()
    limit = int(re.findall(r'"max_in_flight": (\d+)', text)[0])
    assert limit >= queries.hpa_behaviour("engine").most * 32


def test_up_is_fast_and_down_is_slow() -> None:
    for name in queries.SERVICES:
        behaviour = queries.hpa_behaviour(name)
        assert behaviour.up.window == 0
        assert behaviour.down.window >= 300
        assert [(policy.kind, policy.value) for policy in behaviour.down.policies] == [("Pods", 1)]
        assert behaviour.least >= 2, "one can fail"


def test_serve_config_of_kuberay_is_the_routers() -> None:
    (service,) = resources("kuberay")
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    example = yaml.safe_load((paths.ROOT / "services" / "router" / "router.example.yaml").read_text())
    assert [each["import_path"] for each in config["applications"]] == [
        each["import_path"] for each in example["applications"]
    ]
    engines, edge = config["applications"]
    assert EnginesSettings(**engines["args"]).bounds == (2, 8)
    assert EdgeAppSettings(**edge["args"]).host == "0.0.0.0"
    workers = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (2, 8)


def test_certificates_connect_the_api_server_with_the_monitor() -> None:
    client_ca = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"
    secret, service = yaml.safe_load_all(certificates.manifests("llm", client_ca))
    mounted = (COMPONENTS / "autoscaling-hpa" / "monitor.yaml").read_text()
    assert f"secretName: {secret['metadata']['name']}" in mounted
    assert set(secret["stringData"]) == {"tls.crt", "tls.key", "client-ca.crt"}
    assert service["spec"]["service"] == {"name": certificates.SERVICE, "namespace": "llm", "port": 443}
    assert service["spec"]["caBundle"]


def test_a_ca_that_is_none_is_refused() -> None:
    with pytest.raises(DeployError, match="no PEM certificate"):
        certificates.manifests("llm", "")
