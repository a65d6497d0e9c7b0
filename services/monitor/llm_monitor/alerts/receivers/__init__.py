"""Receivers of notifications: a webhook, Slack, e-mail, Alertmanager.

receiver   what they share: a notification, and how a delivery fails
"""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from llm_monitor.alerts.receivers.alertmanager import Alertmanager
from llm_monitor.alerts.receivers.email import Email
from llm_monitor.alerts.receivers.receiver import DeliveryError, Notification, Receiver
from llm_monitor.alerts.receivers.slack import Slack
from llm_monitor.alerts.receivers.webhook import Webhook
from llm_monitor.alerts.settings import EmailSettings, ReceiverSettings, SlackSettings, WebhookSettings

__all__ = ["DeliveryError", "Notification", "Receiver", "make"]


def make(settings: Sequence[ReceiverSettings], session: aiohttp.ClientSession) -> dict[str, Receiver]:
    """Return the configured receivers by a name for logs and metrics."""
    return {f"{each.type}-{number}": _make(each, session) for number, each in enumerate(settings)}


def _make(settings: ReceiverSettings, session: aiohttp.ClientSession) -> Receiver:
    match settings:
        case WebhookSettings():
            return Webhook(settings, session)
        case SlackSettings():
            return Slack(settings, session)
        case EmailSettings():
            return Email(settings)
    return Alertmanager(settings, session)
