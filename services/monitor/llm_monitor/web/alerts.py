"""Alerts, rules and silences for the page and, in Prometheus's form, for Grafana."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_monitor.alerts.engine import AlertEngine
from llm_monitor.alerts.rules import Rule
from llm_monitor.alerts.silences import InvalidSilence
from llm_monitor.alerts.state import Alert
from llm_monitor.series.selection import Matcher
from llm_monitor.web.api import BadData, json_response

MAX_SILENCE_SECONDS = 30 * 86400.0


class SilenceRequest(BaseModel):
    """A silence that the page asks for: an alert's labels, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    matchers: dict[str, str] = Field(min_length=1, max_length=50)
    seconds: float = Field(gt=0, le=MAX_SILENCE_SECONDS)
    comment: str = Field("", max_length=500)


class AlertPages:
    """The engine's rules, alerts and silences, as JSON."""

    def __init__(self, engine: AlertEngine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/api/silences", self._list)
        app.router.add_post("/api/silences", self._add)
        app.router.add_delete("/api/silences/{id}", self._expire)

    def alerts(self) -> list[dict[str, Any]]:
        """Return the pending and firing alerts, as /api/v1/alerts lists them."""
        return [self._alert(alert) for alert in self._engine.alerts() if alert.active]

    def counts(self) -> list[dict[str, str]]:
        """Return what the badge of every page needs: the state of each active alert that no silence mutes."""
        now = self._clock()
        active = (alert for alert in self._engine.alerts() if alert.active)
        shown = (alert for alert in active if not self._engine.silences.muted_by(alert.labels, now))
        return [{"name": alert.name, "state": alert.state} for alert in shown]

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules by group, as /api/v1/rules lists them."""
        return [
            {
                "name": group.name,
                "file": "",
                "interval": group.interval,
                "rules": [self._rule(rule) for rule in group.rules],
            }
            for group in self._engine.rules.groups
        ]

    def _alert(self, alert: Alert) -> dict[str, Any]:
        return {
            "labels": dict(alert.labels),
            "annotations": alert.annotations,
            "state": alert.state,
            "activeAt": _when(alert.since),
            "value": f"{alert.value:.6g}",
            "silenced": bool(self._engine.silences.muted_by(alert.labels, self._clock())),
        }

    def _rule(self, rule: Rule) -> dict[str, Any]:
        health = self._engine.health[id(rule)]
        shown: dict[str, Any] = {
            "name": rule.name,
            "query": rule.expr.text,
            "health": "err" if health.error else "ok" if health.at else "unknown",
            "lastError": health.error,
            "evaluationTime": health.seconds,
            "lastEvaluation": _when(health.at),
            "labels": {name: text.text for name, text in rule.labels.items()},
            "type": "alerting" if rule.alert else "recording",
        }
        if not rule.alert:
            return shown
        active = [alert for alert in self._engine.alerts_of(rule) if alert.active]
        states = {alert.state for alert in active}
        return shown | {
            "state": "firing" if "firing" in states else "pending" if states else "inactive",
            "duration": rule.hold,
            "keepFiringFor": rule.keep_firing_for,
            "annotations": {name: text.text for name, text in rule.annotations.items()},
            "alerts": [self._alert(alert) for alert in active],
        }

    async def _list(self, _: web.Request) -> web.Response:
        return json_response([silence.dump() for silence in self._engine.silences])

    async def _add(self, request: web.Request) -> web.Response:
        """Handle POST /api/silences: {"matchers": {label: value}, "seconds": 3600, "comment": ""}."""
        try:
            wanted = SilenceRequest.model_validate_json(await request.read())
            now = self._clock()
            matchers = [Matcher(name, "=", value) for name, value in wanted.matchers.items()]
            made = self._engine.silences.add(matchers, starts=now, ends=now + wanted.seconds, comment=wanted.comment)
        except (ValidationError, InvalidSilence) as error:
            raise BadData(f"no silence: {error}") from None
        return json_response(made.dump())

    async def _expire(self, request: web.Request) -> web.Response:
        try:
            self._engine.silences.expire(request.match_info["id"], self._clock())
        except KeyError:
            return json_response({"error": "there is no such silence"}, status=404)
        return web.Response(status=204)


def _when(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
