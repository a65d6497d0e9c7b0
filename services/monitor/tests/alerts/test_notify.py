from __future__ import annotations

import asyncio

import pytest

from llm_monitor.alerts import notify
from llm_monitor.alerts.notify import ATTEMPTS, QUEUE, GroupingNotifier
from llm_monitor.alerts.receivers import DeliveryError, Notification
from llm_monitor.alerts.settings import AlertSettings
from llm_monitor.alerts.state import Alert, State
from llm_monitor.series import labels_of

SETTINGS = AlertSettings(group_wait=5, group_interval=30, repeat_interval=100)


class Fake:
    resend = 60.0

    def __init__(self, *, grouped: bool = True) -> None:
        self.grouped = grouped
        self.sent: list[tuple[float, list[str]]] = []
        self.errors: list[DeliveryError] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, notification: Notification) -> None:
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        alerts = sorted(f"{dict(a.labels)['instance']} {a.state}" for a in notification.alerts)
        self.sent.append((notification.at, alerts))


def alert(instance: str, state: State = "firing", name: str = "Down", since: float = 0) -> Alert:
    labels = labels_of({"alertname": name, "instance": instance, "job": "engine"})
    return Alert(name=name, labels=labels, since=since, value=1, state=state)


async def deliver(notifier: GroupingNotifier) -> None:
    """Let the deliveries run until nothing is left to do."""
    task = asyncio.create_task(notifier.run())
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_alerts_of_a_group_are_one_notification() -> None:
    fake = Fake()
    notifier = GroupingNotifier(SETTINGS, {"fake": fake})
    for at in range(10):
        present = [alert("a")] + ([alert("b"), alert("c", name="Other")] if at >= 3 else [])
        notifier.update([*present, alert("d", "pending")], at)
    await deliver(notifier)
    assert fake.sent == [(5, ["a firing", "b firing"]), (8, ["c firing"])]


async def test_news_of_a_group_wait_for_its_interval_and_repetition_for_its_own() -> None:
    fake = Fake()
    notifier = GroupingNotifier(SETTINGS, {"fake": fake})
    for at in range(200):
        notifier.update([alert("a")] + ([alert("b")] if at >= 10 else []), at)
    await deliver(notifier)
    assert fake.sent == [(5, ["a firing"]), (35, ["a firing", "b firing"]), (135, ["a firing", "b firing"])]


async def test_a_resolution_is_sent_once_and_only_to_those_who_were_notified() -> None:
    fake = Fake()
    notifier = GroupingNotifier(SETTINGS, {"fake": fake})
    for at in range(300):
        state: State = "firing" if at < 20 else "resolved"
        notifier.update([alert("a", state), alert("b", "resolved")], at)
    await deliver(notifier)
    assert fake.sent == [(5, ["a firing"]), (35, ["a resolved"])]


async def test_an_alert_that_resolves_before_it_was_sent_is_no_news() -> None:
    fake = Fake()
    notifier = GroupingNotifier(SETTINGS, {"fake": fake})
    for at in range(100):
        notifier.update([alert("a", "firing" if at < 3 else "resolved")], at)
    await deliver(notifier)
    assert fake.sent == []


async def test_after_a_restart_nobody_is_told_twice_and_everybody_of_the_end() -> None:
    fake = Fake()
    notifier = GroupingNotifier(SETTINGS, {"fake": fake})
    restored = alert("a")
    restored.notified = True
    for at in range(50):
        restored.state = "firing" if at < 20 else "resolved"
        notifier.update([restored], at)
    await deliver(notifier)
    assert fake.sent == [(20, ["a resolved"])]


async def test_an_alert_that_ended_while_no_monitor_ran_is_resolved() -> None:
    fake = Fake()
    notifier = GroupingNotifier(SETTINGS, {"fake": fake})
    restored = alert("a", "resolved")
    restored.notified = True
    for at in range(50):
        notifier.update([restored], at)
    await deliver(notifier)
    assert fake.sent == [(5, ["a resolved"])]


async def test_an_alert_that_fires_again_is_news() -> None:
    fake = Fake()
    notifier = GroupingNotifier(SETTINGS, {"fake": fake})
    for at in range(100):
        again = at >= 60
        notifier.update([alert("a", "firing" if at < 20 or again else "resolved", since=60 if again else 0)], at)
    await deliver(notifier)
    assert [states for _, states in fake.sent] == [["a firing"], ["a resolved"], ["a firing"]]


async def test_an_ungrouped_receiver_gets_all_alerts_again_and_again() -> None:
    fake = Fake(grouped=False)
    notifier = GroupingNotifier(SETTINGS, {"fake": fake})
    for at in range(130):
        notifier.update([alert("a"), alert("c", name="Other")] if at < 70 else [alert("a", "resolved")], at)
    await deliver(notifier)
    assert fake.sent == [
        (0, ["a firing", "c firing"]),
        (60, ["a firing", "c firing"]),
        (70, ["a resolved"]),
    ]


async def test_a_slow_receiver_holds_up_nobody_and_its_queue_is_bounded() -> None:
    slow, quick = Fake(), Fake()
    slow.gate.clear()
    settings = AlertSettings(group_wait=0, group_interval=0)
    notifier = GroupingNotifier(settings, {"slow": slow, "quick": quick})
    task = asyncio.create_task(notifier.run())
    for at in range(QUEUE + 20):
        notifier.update([alert("a", since=at)], at)
        for _ in range(4):
            await asyncio.sleep(0)
    assert len(quick.sent) == QUEUE + 20
    assert notifier.deliveries[0].dropped == 19  # one is in its hands
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_delivery_is_tried_again_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "FIRST_RETRY", 0.0)
    fake = Fake()
    notifier = GroupingNotifier(AlertSettings(group_wait=0, group_interval=0), {"fake": fake})
    (delivery,) = notifier.deliveries
    fake.errors = [DeliveryError("down")] * 2
    notifier.update([alert("a")], 0)
    await deliver(notifier)
    assert (delivery.delivered, delivery.failed, delivery.last_error) == (1, 0, "")
    fake.errors = [DeliveryError("down")] * ATTEMPTS
    notifier.update([alert("a", since=1)], 1)
    await deliver(notifier)
    assert (delivery.delivered, delivery.failed, delivery.last_error) == (1, 1, "down")
    fake.errors = [DeliveryError("refused", final=True)]
    notifier.update([alert("a", since=2)], 2)
    await deliver(notifier)
    assert (delivery.failed, len(fake.errors)) == (2, 0)


async def test_a_notification_in_the_queue_does_not_change_with_its_alert() -> None:
    fake = Fake()
    notifier = GroupingNotifier(AlertSettings(group_wait=0), {"fake": fake})
    changing = alert("a")
    notifier.update([changing], 0)
    changing.state = "resolved"
    await deliver(notifier)
    assert fake.sent == [(0, ["a firing"])]
