"""The real HPA controller makes the decisions that the simulation makes, from the same external metrics.

The rate policies of Kubernetes 1.20 forget what was removed when they count what was added, and the other way round. So
the sequence below does not turn round within a policy's period.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from deploy.support_autoscaling import SYNC_SECONDS, Cluster, Gauges, cluster, external_metrics, until

from llm_deploy.autoscale.hpa import Autoscaler, Target, propose, replicas_for
from llm_deploy.autoscale.strategy import behaviour_of

NAMESPACE = "autoscale-hpa"
TARGETS = {"first": 10.0, "second": 0.7}
BEHAVIOUR = {
    "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 3, "periodSeconds": 10}]},
    "scaleDown": {"stabilizationWindowSeconds": 12, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 10}]},
}
LEAST, MOST = 2, 9
SLACK = 8.0
"""Seconds by which the controller may be later or sooner than the simulation: its sync, and a busy machine."""


@dataclass(frozen=True)
class Phase:
    seconds: float
    first: float | None
    second: float | None


PHASES = (
    Phase(10, 20, 1.4),  # as wanted
    Phase(10, 21.5, 1.4),  # within the tolerance
    Phase(30, 80, 1.4),  # eight, three at a time
    Phase(8, None, 0.2),  # one metric is missing, the other asks for fewer: no change
    Phase(8, None, None),
    Phase(45, 15, 1.0),  # two, after the window, two at a time
    Phase(20, 15, 3.4),  # the second metric asks for five
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Gauges]]:
    with cluster(NAMESPACE) as found, external_metrics(found, tmp_path_factory.mktemp("certificates")) as gauges:
        yield found, gauges


def manifests() -> list[dict[str, Any]]:
    labels = {"app": "idle"}
    container = {"name": "idle", "image": "llm-lab/pause:1", "imagePullPolicy": "Never"}
    metrics = [
        {
            "type": "External",
            "external": {
                "metric": {"name": name},
                "target": {"type": "AverageValue", "averageValue": f"{value * 1000:.0f}m"},
            },
        }
        for name, value in TARGETS.items()
    ]
    idle = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "idle"}
    return [
        {
            **{key: idle[key] for key in ("apiVersion", "kind")},
            "metadata": {"name": "idle"},
            "spec": {
                "replicas": LEAST,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
                },
            },
        },
        {
            "apiVersion": "autoscaling/v2beta2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "idle"},
            "spec": {
                "scaleTargetRef": idle,
                "minReplicas": LEAST,
                "maxReplicas": MOST,
                "metrics": metrics,
                "behavior": BEHAVIOUR,
            },
        },
    ]


def simulated() -> list[tuple[float, int]]:
    """Return (seconds, replicas) of each change."""
    scaler, replicas, changes, begin = Autoscaler(behaviour_of(BEHAVIOUR, LEAST, MOST)), LEAST, [], 0.0
    for phase in PHASES:
        for sync in range(int(phase.seconds / SYNC_SECONDS)):
            now = begin + sync * SYNC_SECONDS
            usages = {"first": phase.first, "second": phase.second}
            proposals = [
                None if usage is None else replicas_for(Target("average", TARGETS[name]), usage, replicas, replicas)
                for name, usage in usages.items()
            ]
            wanted = scaler.decide(now, replicas, propose(replicas, proposals))
            if wanted != replicas:
                changes.append((now, wanted))
            replicas = wanted
        begin += phase.seconds
    return changes


def test_the_controller_decides_as_the_simulation(world: tuple[Cluster, Gauges]) -> None:
    on, gauges = world
    gauges.values = {"first": PHASES[0].first, "second": PHASES[0].second}
    on.apply(*manifests())
    until("the autoscaler is active", lambda: condition(on, "ScalingActive") == "True", 90)
    seen: list[tuple[float, int]] = []
    begun, end = time.monotonic(), 0.0
    for phase in PHASES:
        gauges.values = {"first": phase.first, "second": phase.second}
        end += phase.seconds
        while (now := time.monotonic() - begun) < end:
            replicas = on.replicas("deployment/idle")
            if replicas != (seen[-1][1] if seen else LEAST):
                seen.append((now, replicas))
            time.sleep(0.25)
    expected = simulated()
    assert [replicas for _, replicas in seen] == [replicas for _, replicas in expected], (seen, expected)
    for (real, _), (virtual, _) in zip(seen, expected, strict=True):
        assert abs(real - virtual) <= SLACK, (seen, expected)


def condition(on: Cluster, kind: str) -> str:
    found = on.get("hpa.v2beta2.autoscaling/idle").get("status", {}).get("conditions") or []
    return next((str(each["status"]) for each in found if each["type"] == kind), "")
