"""Slack's incoming webhooks, which Mattermost and Rocket.Chat take as well."""

from __future__ import annotations

import aiohttp

from llm_monitor.alerts.receivers.receiver import Notification, post, secret
from llm_monitor.alerts.settings import SlackSettings

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
COLOURS = {"critical": "#d55e00", "warning": "#e69f00", "resolved": "#009e73"}


class Slack:
    grouped = True
    resend = 0.0

    def __init__(self, settings: SlackSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session

    async def send(self, notification: Notification) -> None:
        await post(self._session, secret(self._settings.url_file), message(notification), name="Slack")


def message(notification: Notification) -> dict[str, object]:
    severities = {dict(alert.labels).get("severity", "warning") for alert in notification.firing}
    worst = "critical" if "critical" in severities else "warning" if severities else "resolved"
    text = "\n".join(notification.lines()).translate(_ESCAPES)
    return {
        "text": notification.title.translate(_ESCAPES),
        "attachments": [{"color": COLOURS[worst], "text": text, "fallback": text}],
    }
