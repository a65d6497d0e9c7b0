"""The handlers of external.metrics.k8s.io/v1beta1, which the HorizontalPodAutoscaler's controller asks for values.

The API answers with an error where there is no number: an unknown name, a target that is not scraped, a NaN. The
controller then keeps the number of replicas. A zero in its place would scale the fleet down silently.

https://github.com/kubernetes/metrics describes the types; the API server checks the caller's rights (RBAC) first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

from llm_monitor.external.selector import parse_selector
from llm_monitor.promql import EvaluationError
from llm_monitor.series.selection import NAME
from llm_monitor.web.api import json_response
from llm_monitor.web.queries import Queries

GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
ROOT = f"/apis/{GROUP_VERSION}"
MAX_VALUE = 2**63 / 1000
"""Kubernetes counts in thousandths, in 64 bits."""
log = logging.getLogger(__name__)


class Refused(Exception):
    """There is no value; the status is HTTP's, the reason is one of Kubernetes's."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class ExternalMetrics:
    """Values of named expressions at this moment."""

    def __init__(self, queries: Queries, metrics: Mapping[str, str], namespaces: Collection[str]) -> None:
        self._queries = queries
        self._metrics = metrics
        self._namespaces = namespaces

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get(ROOT, self._resources)
        app.router.add_get(f"{ROOT}/namespaces/{{namespace}}/{{metric}}", self._values)

    async def _resources(self, _: web.Request) -> web.Response:
        """Answer discovery. The API server also calls this to learn whether the API is available."""
        resources = [
            {"name": name, "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
            for name in self._metrics
        ]
        kind = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION}
        return json_response({**kind, "resources": resources})

    async def _values(self, request: web.Request) -> web.Response:
        namespace, metric = request.match_info["namespace"], request.match_info["metric"]
        try:
            items = await self._items(namespace, metric, request.query.get("labelSelector", ""))
        except Refused as error:
            log.warning("external metric %s for namespace %s: %s", metric, namespace, error)
            return failure(error.status, error.reason, str(error))
        kind = {"kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}}
        return json_response({**kind, "items": items})

    async def _items(self, namespace: str, metric: str, selector: str) -> list[dict[str, Any]]:
        """Return a value for each series that the selector matches. Raise Refused if there is none."""
        if metric not in self._metrics:
            known = ", ".join(sorted(self._metrics))
            raise Refused(404, "NotFound", f"no external metric {metric}; there are {known}")
        if namespace not in self._namespaces and "*" not in self._namespaces:
            raise Refused(403, "Forbidden", f"namespace {namespace} gets no metrics; see external_metrics.namespaces")
        try:
            matches = parse_selector(selector)
        except ValueError as error:
            raise Refused(400, "BadRequest", str(error)) from None
        at = self._queries.clock()
        try:
            vector = await self._queries.instant(self._metrics[metric], at)
        except EvaluationError as error:
            raise Refused(503, "ServiceUnavailable", f"{metric} cannot be evaluated: {error}") from None
        values = [
            ({name: text for name, text in labels if name != NAME}, value)
            for labels, value, present in zip(vector.labels, vector.values[:, -1], vector.present[:, -1], strict=True)
            if present
        ]
        found = [(labels, float(value)) for labels, value in values if matches(labels)]
        if not found:
            raise Refused(503, "ServiceUnavailable", f"{metric} has no data now for {selector or 'any labels'}")
        return [item(metric, labels, value, at) for labels, value in found]


def item(metric: str, labels: Mapping[str, str], value: float, at: float) -> dict[str, Any]:
    """Return one ExternalMetricValue. Raise Refused for a value that is no finite number of 64 bits."""
    if not math.isfinite(value) or abs(value) >= MAX_VALUE:
        raise Refused(503, "ServiceUnavailable", f"{metric} is {value}, which is no number to scale on")
    timestamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metricName": metric, "metricLabels": dict(labels), "timestamp": timestamp, "value": quantity(value)}


def quantity(value: float) -> str:
    """Return a number as a Kubernetes quantity in thousandths, rounded up as Kubernetes rounds."""
    return f"{math.ceil(Decimal(repr(value)) * 1000)}m"


def failure(status: int, reason: str, message: str) -> web.Response:
    """Return an error as Kubernetes's clients expect it."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return json_response({**body, "message": message, "reason": reason, "code": status}, status=status)
