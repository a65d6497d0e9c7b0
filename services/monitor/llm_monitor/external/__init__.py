"""Kubernetes's external metrics API: named expressions that a HorizontalPodAutoscaler scales on."""

from llm_monitor.external.serve import serve
from llm_monitor.external.settings import ExternalMetricsSettings

__all__ = ["ExternalMetricsSettings", "serve"]
