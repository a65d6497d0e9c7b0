"""The shipped autoscalers, read from their manifests: expressions, targets and behaviour."""

from __future__ import annotations

from typing import Any

import yaml

from llm_deploy import paths
from llm_deploy.autoscale.hpa import Behaviour
from llm_deploy.autoscale.strategy import behaviour_of

COMPONENTS = paths.DEPLOY / "kubernetes" / "components"
SERVICES = ("engine", "gateway")


def manifest(component: str, name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((COMPONENTS / component / f"{name}.yaml").read_text(encoding="utf-8")))


def external_metrics() -> dict[str, str]:
    """Return metric name -> PromQL, as the monitor serves them to the HorizontalPodAutoscalers."""
    return dict(manifest("autoscaling-hpa", "external-metrics")["external_metrics"]["metrics"])


def hpa_targets(name: str) -> dict[str, float]:
    """Return metric name -> average per replica."""
    metrics = [each["external"] for each in manifest("autoscaling-hpa", name)["spec"]["metrics"]]
    return {each["metric"]["name"]: quantity(each["target"]["averageValue"]) for each in metrics}


def keda_targets(name: str) -> dict[str, float]:
    """Return PromQL -> average per replica."""
    triggers = [each["metadata"] for each in manifest("autoscaling-keda", name)["spec"]["triggers"]]
    return {each["query"]: float(each["threshold"]) for each in triggers}


def hpa_behaviour(name: str) -> Behaviour:
    spec = manifest("autoscaling-hpa", name)["spec"]
    return behaviour_of(spec["behavior"], spec["minReplicas"], spec["maxReplicas"])


def quantity(text: str) -> float:
    """Return the number of a Kubernetes quantity in units or thousandths."""
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)
