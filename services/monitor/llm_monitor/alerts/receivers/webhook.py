"""A webhook: the JSON of Alertmanager's webhook, so that what takes those takes ours.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

from typing import Any

import aiohttp

from llm_monitor.alerts.receivers.receiver import Notification, post, secret, timestamp
from llm_monitor.alerts.settings import WebhookSettings
from llm_monitor.alerts.state import Alert


class Webhook:
    grouped = True
    resend = 0.0

    def __init__(self, settings: WebhookSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session

    async def send(self, notification: Notification) -> None:
        await post(self._session, secret(self._settings.url_file), message(notification), name="the webhook")


def message(notification: Notification) -> dict[str, Any]:
    group = dict(notification.group)
    return {
        "version": "4",
        "groupKey": "{}:{" + ", ".join(f'{name}="{value}"' for name, value in group.items()) + "}",
        "truncatedAlerts": 0,
        "status": "firing" if notification.firing else "resolved",
        "receiver": "webhook",
        "groupLabels": group,
        "commonLabels": _common([dict(alert.labels) for alert in notification.alerts]),
        "commonAnnotations": _common([alert.annotations for alert in notification.alerts]),
        "externalURL": notification.external_url,
        "alerts": [_alert(alert, notification) for alert in notification.alerts],
    }


def _alert(alert: Alert, notification: Notification) -> dict[str, Any]:
    return {
        "status": alert.state,
        "labels": dict(alert.labels),
        "annotations": alert.annotations,
        "startsAt": timestamp(alert.since),
        "endsAt": timestamp(alert.resolved_at),
        "generatorURL": notification.external_url,
        "value": alert.value if abs(alert.value) < float("inf") else str(alert.value),
    }


def _common(each: list[dict[str, str]]) -> dict[str, str]:
    first, *others = each or [{}]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
