"""Alertmanager's API v2. It groups, silences and routes by itself, so it gets every alert again and again.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

from typing import Any

import aiohttp

from llm_monitor.alerts.receivers.receiver import Notification, post, timestamp
from llm_monitor.alerts.settings import AlertmanagerSettings
from llm_monitor.alerts.state import Alert

RESEND = 60.0
LIFETIMES = 4
"""Resends after which Alertmanager takes an alert as resolved if it hears nothing: the monitor itself is gone."""


class Alertmanager:
    grouped = False
    resend = RESEND

    def __init__(self, settings: AlertmanagerSettings, session: aiohttp.ClientSession) -> None:
        self._url = settings.url.rstrip("/") + "/api/v2/alerts"
        self._session = session

    async def send(self, notification: Notification) -> None:
        alerts = [_alert(alert, notification) for alert in notification.alerts]
        await post(self._session, self._url, alerts, name="Alertmanager")


def _alert(alert: Alert, notification: Notification) -> dict[str, Any]:
    ends = notification.at + LIFETIMES * RESEND if alert.state == "firing" else alert.resolved_at
    return {
        "labels": dict(alert.labels),
        "annotations": alert.annotations,
        "startsAt": timestamp(alert.since),
        "endsAt": timestamp(ends),
        "generatorURL": notification.external_url,
    }
