"""A collector and an alert engine over some targets, and what they see of an incident."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Self

from llm_monitor.alerts.engine import AlertEngine
from llm_monitor.alerts.results import HeadWriter
from llm_monitor.alerts.rules import Rules
from llm_monitor.alerts.state import Alert
from llm_monitor.collect import Collector, target_of
from llm_monitor.series.head import Head
from llm_monitor.testing.incidents import Incident, hasty_rules

CALM_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an incident showed."""

    alert: str
    instance_right: bool
    hold: float
    """The rule's `for`, seconds."""
    fired_after: float
    """Seconds from the incident's begin to the alert."""
    resolved_after: float
    """Seconds from its end to the alert's end."""
    others: tuple[str, ...]
    """Further alerts that fired."""


class Watch:
    """Rules are evaluated at each scrape, so that a hasty one is not late."""

    def __init__(self, rules: Rules, targets: tuple[str, ...]) -> None:
        head = Head()
        self.engine = AlertEngine(rules, head, write=HeadWriter(head).write)
        self._collector = Collector([target_of(each) for each in targets], head)
        self._collector.on_cycle(self._evaluate)
        self._changed = asyncio.Event()
        self.fired: dict[str, Alert] = {}
        """The first alert of each rule that fired."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._collector.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def seconds(self, count: float) -> None:
        end = time.time() + count
        await self.until(lambda: time.time() >= end, count + 60)

    def _evaluate(self, at: float) -> None:
        self.engine.evaluate(at)
        for alert in self.engine.alerts():
            if alert.state == "firing":
                self.fired.setdefault(alert.name, alert)
        self._changed.set()


async def quiet(incidents: Sequence[AbstractAsyncContextManager[Incident]], seconds: float) -> list[str]:
    """Watch the targets of several incidents that do not happen; return the alerts that fire."""
    async with AsyncExitStack() as stack:
        targets = [target for each in incidents for target in (await stack.enter_async_context(each)).targets]
        watch = await stack.enter_async_context(Watch(hasty_rules(1.0, 1.0), tuple(targets)))
        await watch.seconds(seconds)
        return sorted(watch.fired)


async def observe(
    name: str,
    incident: AbstractAsyncContextManager[Incident],
    *,
    haste: float = 1.0,
    interval: float = 0.25,
    calm: float = CALM_SECONDS,
    timeout: float = 120.0,
) -> Outcome:
    """Cause an incident after some calm seconds, wait for its alert, end it, and wait until all is resolved."""
    rules = hasty_rules(haste, interval)
    rule = next(rule for rule in rules.alerts if rule.name == name)
    async with incident as real, Watch(rules, real.targets) as watch:
        await watch.seconds(calm)
        assert not watch.fired, f"in calm times: {list(watch.fired)}"
        begin = time.time()
        await real.begin()
        await watch.until(lambda: name in watch.fired, timeout)
        alert, end = watch.fired[name], time.time()
        await real.end()
        await watch.until(lambda: all(each.state == "resolved" for each in watch.engine.alerts()), timeout)
        assert alert.fired_at is not None
        return Outcome(
            alert=name,
            instance_right=dict(alert.labels)["instance"] == real.victim,
            hold=rule.hold,
            fired_after=alert.fired_at - begin,
            resolved_after=time.time() - end,
            others=tuple(each for each in watch.fired if each != name),
        )
