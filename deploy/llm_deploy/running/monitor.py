"""The monitor's HTTP API, which is Prometheus's with traces in addition."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Any

from llm_deploy.errors import DeployError
from llm_deploy.running.http import ask


@dataclass(frozen=True)
class Monitor:
    url: str
    key: str = ""

    def series(self, expression: str) -> list[dict[str, Any]]:
        """Return the vector of a PromQL expression now."""
        query = urllib.parse.urlencode({"query": expression})
        return list(self._get(f"/api/v1/query?{query}")["data"]["result"])

    def value(self, expression: str) -> float | None:
        """Return the first value of an expression now; None if it has none."""
        found = self.series(expression)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> dict[str, dict[str, str]]:
        """Return the labels of the alerts that fire, by name."""
        alerts = self._get("/api/v1/alerts")["data"]["alerts"]
        return {one["labels"]["alertname"]: one["labels"] for one in alerts if one["state"] == "firing"}

    def rules(self) -> list[dict[str, Any]]:
        """Return all alerting rules that are loaded."""
        groups = self._get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]

    def trace(self, identifier: str) -> list[dict[str, Any]]:
        """Return the spans of a trace; none if the monitor does not know it."""
        answer = ask(f"{self.url}/api/traces/{identifier}", key=self.key)
        return list(answer.json) if answer.status == 200 else []

    def _get(self, path: str) -> Any:
        answer = ask(self.url + path, key=self.key)
        if answer.status != 200:
            raise DeployError(f"the monitor at {self.url} answered {path} with {answer.status}: {answer.text[:120]}")
        return answer.json
