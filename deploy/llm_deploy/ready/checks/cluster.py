"""Checks of what only a cluster has: disruption budgets, autoscaling, network policies, service accounts."""

from __future__ import annotations

import json
from typing import Any

from llm_deploy.ready.check import Check, Finding, Subject, judged
from llm_deploy.running.cluster import Cluster

CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
"""Where version 1 of the API, the default of clusters before 1.23, has what `status.conditions` holds since."""
ONLY = ("kubernetes",)
PAGE = "deploy/README.md"


def _cluster(subject: Subject) -> Cluster:
    assert isinstance(subject.deployment, Cluster)
    return subject.deployment


def budgets(subject: Subject) -> Finding:
    """A budget protects if it never allows the eviction of all pods it covers."""
    found = {one["metadata"]["name"]: one["status"] for one in _cluster(subject).items("poddisruptionbudgets")}
    faults = [f"{role} has no budget" for role in ("engine", "gateway") if role in subject.roles and role not in found]
    for name, status in found.items():
        allowed, pods = status.get("disruptionsAllowed", 0), status.get("expectedPods", 0)
        faults += [f"{name} allows {allowed} of {pods} pods to be evicted at once"] if pods and allowed >= pods else []
    seen = (
        f"{name}: {status.get('disruptionsAllowed', 0)} of {status.get('expectedPods', 0)} pods"
        for name, status in found.items()
    )
    return judged(faults, ", ".join(seen))


def autoscaling(subject: Subject) -> Finding:
    """An autoscaler works if it reads its metrics; one whose query matches nothing says so in its conditions."""
    found = _cluster(subject).items("horizontalpodautoscalers")
    faults = [] if found else ["there is no HorizontalPodAutoscaler"]
    for one in found:
        older = json.loads(one["metadata"].get("annotations", {}).get(CONDITIONS, "[]"))
        conditions = {each["type"]: each for each in one["status"].get("conditions", older)}
        active = conditions.get("ScalingActive", {"status": "Unknown", "message": "no condition yet"})
        if active["status"] != "True":
            faults.append(f"{one['metadata']['name']}: {active.get('message', '')[:100]}")
    return judged(faults, ", ".join(one["metadata"]["name"] for one in found))


def network(subject: Subject) -> Finding:
    found = _cluster(subject).items("networkpolicies")
    default = [one for one in found if not one["spec"].get("podSelector") and not one["spec"].get("ingress")]
    return judged([] if default else ["no policy denies by default"], f"{len(found)} policies, one denies by default")


def accounts(subject: Subject) -> Finding:
    # The monitor finds pods through the API server.
    pods = [pod for pod in _cluster(subject).items("pods") if _role(pod) != "monitor"]
    with_token = [
        pod["metadata"]["name"] for pod in pods if pod["spec"].get("automountServiceAccountToken") is not False
    ]
    return judged([f"{name} mounts a token" for name in with_token], f"{len(pods)} pods without a token")


def _role(pod: dict[str, Any]) -> str:
    return str(pod["metadata"].get("labels", {}).get("app.kubernetes.io/name", ""))


CHECKS = (
    Check(name="disruption-budgets", asserts="a drain of nodes leaves enough pods", how="status of the budgets",
          page=PAGE, run=budgets, kinds=ONLY),
    Check(name="autoscaling", asserts="autoscalers read their metrics", how="condition ScalingActive", page=PAGE,
          run=autoscaling, kinds=ONLY,
          covers=("Autoscaling by load", "Autoscaling triggers correctly under load")),
    Check(name="network-policies", asserts="what is not allowed is denied", how="kubectl get networkpolicies",
          page=PAGE, run=network, kinds=ONLY),
    Check(name="no-tokens", asserts="pods hold no token of the cluster, but for the monitor's",
          how="kubectl get pods", page=PAGE, run=accounts, kinds=ONLY, severity="recommended"),
)  # fmt: skip
