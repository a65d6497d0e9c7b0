from __future__ import annotations

from typing import Any

from llm_deploy.kubernetes import render, trial

POD: dict[str, Any] = {
    "containers": [
        {
            "name": "gateway",
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
            "livenessProbe": {"periodSeconds": 10, "terminationGracePeriodSeconds": 10},
        }
    ]
}
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": POD}}}
BUDGET = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"maxUnavailable": 1}}


def test_an_old_cluster_gets_the_versions_that_it_has() -> None:
    (budget,) = render.for_old_cluster([BUDGET])
    assert budget == {**BUDGET, "apiVersion": "policy/v1beta1"}
    assert BUDGET["apiVersion"] == "policy/v1"


def test_an_old_cluster_gets_no_field_that_it_does_not_know() -> None:
    (deployment,) = render.for_old_cluster([DEPLOYMENT])
    (container,) = render.containers(deployment)
    assert container["lifecycle"]["preStop"]["exec"]["command"][-1] == "import time; time.sleep(5)"
    assert "sleep" not in container["lifecycle"]["preStop"]
    assert container["livenessProbe"] == {"periodSeconds": 10}


def test_the_control_has_neither_pre_stop_nor_lame_duck() -> None:
    settings = {"kind": "ConfigMap", "data": {"gateway.yaml": "lame_duck: 5 # seconds"}}
    deployment, config = trial.abrupt([DEPLOYMENT, settings])
    assert config["data"]["gateway.yaml"] == "lame_duck: 0 # seconds"
    assert "lifecycle" not in render.containers(deployment)[0]
    assert "lifecycle" in render.containers(DEPLOYMENT)[0]


def test_only_workloads_have_containers() -> None:
    assert render.containers(BUDGET) == []
