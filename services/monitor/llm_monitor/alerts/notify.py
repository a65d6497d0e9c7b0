"""Grouping of alerts, and their way to the receivers.

A group is the alerts with the same values of `group_by`. It is sent after `group_wait`, again after `group_interval` if
an alert came or went, and after `repeat_interval` if it still fires. Each receiver has a task and a bounded queue of
its own, so that a slow one delays neither evaluation nor the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from llm_monitor.alerts.receivers.receiver import DeliveryError, Notification, Receiver
from llm_monitor.alerts.settings import AlertSettings
from llm_monitor.alerts.state import Alert

logger = logging.getLogger(__name__)

QUEUE: Final = 100
"""Notifications that wait for one receiver; the oldest is dropped, and counted, when another one comes."""
ATTEMPTS: Final = 6
FIRST_RETRY: Final = 1.0
"""Seconds until the first retry; each further one waits twice as long."""

GroupKey = tuple[tuple[str, str], ...]
Identity = tuple[object, ...]


@dataclass(slots=True)
class _Group:
    due: float
    """When its next notification can be sent."""
    sent: dict[Identity, str] = field(default_factory=dict)
    """State, as sent last, of each alert."""
    sent_at: float | None = None


class GroupingNotifier:
    """Turns the alerts of each evaluation into notifications."""

    def __init__(self, settings: AlertSettings, receivers: Mapping[str, Receiver]) -> None:
        self._settings = settings
        self._groups: dict[GroupKey, _Group] = {}
        self.deliveries = [Delivery(name, receiver) for name, receiver in receivers.items() if receiver.grouped]
        self.streams = [Delivery(name, receiver) for name, receiver in receivers.items() if not receiver.grouped]
        """Receivers that group by themselves: they get all alerts, every `resend` seconds."""
        self._resend: dict[str, tuple[float, frozenset[object]]] = {}

    def update(self, alerts: list[Alert], at: float) -> None:
        """Queue the notifications that are due."""
        relevant = [alert for alert in alerts if alert.state != "pending"]
        groups: dict[GroupKey, list[Alert]] = {}
        for alert in relevant:
            groups.setdefault(self._key(alert), []).append(alert)
        for key, members in groups.items():
            self._update_group(key, members, at)
        for key in self._groups.keys() - groups.keys():
            del self._groups[key]
        for stream in self.streams:
            self._update_stream(stream, relevant, at)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for delivery in (*self.deliveries, *self.streams):
                tasks.create_task(delivery.run())

    def _key(self, alert: Alert) -> GroupKey:
        labels = dict(alert.labels)
        return tuple((name, labels.get(name, "")) for name in self._settings.group_by)

    def _update_group(self, key: GroupKey, members: Sequence[Alert], at: float) -> None:
        group = self._groups.get(key)
        if group is None:
            if all(alert.state == "resolved" and not alert.notified for alert in members):
                return
            group = self._groups[key] = _Group(due=at + self._settings.group_wait)
            # Notified by the process before this one.
            group.sent = {_identity(alert): "firing" for alert in members if alert.notified}
            group.sent_at = at if group.sent else None
        # A resolution is news only to those who heard of the alert.
        news = [a for a in members if a.state == "firing" or group.sent.get(_identity(a)) == "firing"]
        states = {_identity(alert): alert.state for alert in news}
        changed = any(group.sent.get(identity) != state for identity, state in states.items())
        repeat = group.sent_at is not None and at - group.sent_at >= self._settings.repeat_interval
        still = any(state == "firing" for state in states.values())
        if at < group.due or not (changed or (repeat and still)):
            return
        group.sent = {_identity(a): a.state for a in members if _identity(a) in states or _identity(a) in group.sent}
        group.sent_at, group.due = at, at + self._settings.group_interval
        for alert in news:
            alert.notified = alert.state == "firing"
        notification = _notification(key, news, at, self._settings.external_url)
        for delivery in self.deliveries:
            delivery.put(notification)

    def _update_stream(self, stream: Delivery, alerts: Sequence[Alert], at: float) -> None:
        states = frozenset((_identity(alert), alert.state) for alert in alerts)
        sent_at, sent = self._resend.get(stream.name, (-float("inf"), frozenset()))
        if states and (states != sent or at - sent_at >= stream.receiver.resend):
            self._resend[stream.name] = at, states
            stream.put(_notification((), alerts, at, self._settings.external_url))


class Delivery:
    """The queue of one receiver, and the task that empties it."""

    def __init__(self, name: str, receiver: Receiver) -> None:
        self.name = name
        self.receiver = receiver
        self.delivered = 0
        self.failed = 0
        self.dropped = 0
        self.last_error = ""
        self._queue: asyncio.Queue[Notification] = asyncio.Queue(QUEUE)

    def put(self, notification: Notification) -> None:
        if self._queue.full():
            self._queue.get_nowait()
            self.dropped += 1
        self._queue.put_nowait(notification)

    async def run(self) -> None:
        """Deliver what is queued, with retries, until cancelled."""
        while True:
            notification = await self._queue.get()
            await self._deliver(notification)

    async def _deliver(self, notification: Notification) -> None:
        wait = FIRST_RETRY
        for attempt in range(ATTEMPTS):
            try:
                await self.receiver.send(notification)
            except DeliveryError as error:
                self.last_error = str(error)
                logger.warning("receiver %s, attempt %d of %d: %s", self.name, attempt + 1, ATTEMPTS, error)
                if error.final or attempt == ATTEMPTS - 1:
                    break
                await asyncio.sleep(wait)
                wait *= 2
            else:
                self.delivered += 1
                self.last_error = ""
                return
        self.failed += 1


def _identity(alert: Alert) -> Identity:
    return (alert.labels, alert.since)


def _notification(key: GroupKey, alerts: Sequence[Alert], at: float, url: str) -> Notification:
    # Alerts change with the next evaluation; a notification in a queue does not.
    copies = tuple(replace(alert, annotations=dict(alert.annotations)) for alert in alerts)
    return Notification(key, copies, at, url)
