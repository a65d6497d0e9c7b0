"""Evaluation of rules, each second, on the samples that the dashboard shows.

The semantics are Prometheus's, so that the same rule fires at the same second there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from llm_monitor.alerts.results import Results, Write, Written
from llm_monitor.alerts.rules import Rule, RuleGroup, Rules
from llm_monitor.alerts.silences import Silence, Silences
from llm_monitor.alerts.state import Alert
from llm_monitor.alerts.store import StateFile
from llm_monitor.promql import EvaluationError, Vector, instant
from llm_monitor.series import Labels, Source, labels_of
from llm_monitor.series.selection import NAME

logger = logging.getLogger(__name__)

INTERVAL: Final = 1.0
SAVE_INTERVAL: Final = 10.0
MAX_ALERTS: Final = 10_000
"""Alerts of one rule at most; a rule that yields more is in error."""


class Notifier(Protocol):
    """Takes the alerts after each evaluation; must return at once."""

    def update(self, alerts: list[Alert], at: float) -> None: ...


@dataclass(slots=True)
class Health:
    """How the last evaluation of a rule went."""

    at: float = 0.0
    seconds: float = 0.0
    error: str = ""


class AlertEngine:
    """The rules and their alerts. Not thread-safe: evaluated in the event loop that reads it."""

    def __init__(
        self,
        rules: Rules,
        source: Source,
        *,
        now: Callable[[], float] = time.time,
        notifier: Notifier | None = None,
        write: Write | None = None,
        state: StateFile | None = None,
    ) -> None:
        """`write` takes recorded series and `ALERTS` if `source` reads them back; else the engine keeps them itself."""
        self.rules = rules
        self.silences = Silences()
        self.health: dict[int, Health] = {id(rule): Health() for rule in rules}
        results = Results(source)
        self.source: Source = source if write else results
        """The source with recorded series and `ALERTS` in it."""
        self._write = write or results.write
        self._now = now
        self._notifier = notifier
        self._state = state
        self._alerts: dict[int, dict[Labels, Alert]] = {id(rule): {} for rule in rules.alerts}
        self._due: dict[int, float] = {}
        if state is not None:
            self._restore(state.load())

    def alerts(self) -> list[Alert]:
        """Return the alerts of all rules: pending, firing, and those resolved within the last minutes."""
        return [alert for alerts in self._alerts.values() for alert in alerts.values()]

    def alerts_of(self, rule: Rule) -> list[Alert]:
        return list(self._alerts[id(rule)].values())

    def evaluate(self, at: float) -> None:
        """Evaluate the groups that are due, write their results, and hand the alerts to the notifier."""
        for group in self._due_groups(at):
            for number, rule in enumerate(group.rules):
                self._take(rule, f"{group.name}/{number}", self._compute(rule, at), at)
        self._tell(at)
        if self._state is not None:
            self._state.save(self._dump(at))

    async def run(self) -> None:
        """Evaluate each second until cancelled.

        Groups with a longer interval look far back, into the history on disk, so a thread computes them.
        """
        while True:
            at = self._now()
            for group in self._due_groups(at):
                for number, rule in enumerate(group.rules):
                    slow = group.interval > INTERVAL
                    result = await asyncio.to_thread(self._compute, rule, at) if slow else self._compute(rule, at)
                    self._take(rule, f"{group.name}/{number}", result, at)
            self._tell(at)
            if self._state is not None:
                await asyncio.to_thread(self._state.save, self._dump(at))
            await asyncio.sleep(INTERVAL - self._now() % INTERVAL)

    def _due_groups(self, at: float) -> list[RuleGroup]:
        """Return the groups to evaluate now, the frequent ones first: they do not wait for the slow ones."""
        due = []
        for group in self.rules.groups:
            next_time = self._due.get(id(group), at)
            if at >= next_time or at < next_time - group.interval:  # the clock was set back
                self._due[id(group)] = at - at % group.interval + group.interval
                due.append(group)
        return sorted(due, key=lambda group: group.interval)

    def _compute(self, rule: Rule, at: float) -> Vector | None:
        """Return the result of a rule's expression; None if it is in error."""
        health, begin = self.health[id(rule)], time.perf_counter()
        try:
            return instant(rule.expr, self.source, at)
        except EvaluationError as error:
            self._failed(rule, str(error))
        except Exception as error:
            logger.exception("rule %s", rule.name)
            health.error = f"{type(error).__name__}: {error}"
        finally:
            health.at, health.seconds = at, time.perf_counter() - begin
        return None

    def _take(self, rule: Rule, writer: str, vector: Vector | None, at: float) -> None:
        """Use a result. Without one, states stay as they are: a rule in error neither fires nor resolves."""
        if vector is None:
            return
        try:
            self._write(writer, at, self._alert(rule, vector, at) if rule.alert else _recorded(rule, vector))
            self.health[id(rule)].error = ""
        except EvaluationError as error:
            self._failed(rule, str(error))

    def _failed(self, rule: Rule, error: str) -> None:
        health = self.health[id(rule)]
        if health.error != error:
            logger.warning("rule %s cannot be evaluated: %s", rule.name, error)
        health.error = error

    def _tell(self, at: float) -> None:
        self.silences.forget(at)
        if self._notifier is not None:
            self._notifier.update([a for a in self.alerts() if not self.silences.muted_by(a.labels, at)], at)

    def _alert(self, rule: Rule, vector: Vector, at: float) -> Written:
        """Bring the alerts of a rule to the present and return its `ALERTS` samples."""
        alerts = self._alerts[id(rule)]
        holding = _labelled(rule, vector)
        for labels, (value, texts) in holding.items():
            alert = alerts.get(labels)
            if alert is None or not alert.active:
                alert = alerts[labels] = Alert(name=rule.alert, labels=labels, since=at, value=value)
            alert.annotations = texts
            alert.holds(rule, at, value)
        for labels in [each for each in alerts if each not in holding]:
            if not alerts[labels].ended(rule, at):
                del alerts[labels]
        return [
            (labels_of({**dict(alert.labels), NAME: "ALERTS", "alertstate": alert.state}), 1.0)
            for alert in alerts.values()
            if alert.active
        ]

    def _dump(self, at: float) -> dict[str, Any]:
        alerts = [alert for alert in self.alerts() if alert.active]
        pending = any(alert.state == "pending" for alert in alerts)
        return {
            # Coarse, so that the file is not written each second; only the time of pending alerts needs it.
            "at": at - at % SAVE_INTERVAL if pending else None,
            # Not the values, for the same reason: the next evaluation has them.
            "alerts": [alert.dump() | {"value": 0.0, "annotations": {}} for alert in alerts],
            "silences": [silence.dump() for silence in self.silences],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Take over what an earlier process saved; what is no alert or no rule any more is left out.

        The time without a monitor does not count towards a pending alert's `for`.
        """
        by_name = {rule.alert: self._alerts[id(rule)] for rule in self.rules.alerts}
        absence = self._now() - (state.get("at") or self._now())
        for values in state.get("alerts", ()):
            with suppress(TypeError, ValueError, KeyError):
                alert = Alert.load(values)
                alert.since += absence if alert.state == "pending" else 0.0
                by_name[alert.name][alert.labels] = alert
        for values in state.get("silences", ()):
            with suppress(TypeError, ValueError, KeyError):
                self.silences.restore([Silence.load(values)])


def _labelled(rule: Rule, vector: Vector) -> dict[Labels, tuple[float, dict[str, str]]]:
    """Return value and annotations of each series for which the alert's condition holds, by the alert's labels."""
    if len(vector.labels) > MAX_ALERTS:
        raise EvaluationError(f"{len(vector.labels)} series are more than the {MAX_ALERTS} alerts that a rule can have")
    found: dict[Labels, tuple[float, dict[str, str]]] = {}
    for series, value in zip(vector.labels, vector.values[:, 0].tolist(), strict=True):
        own = {name: text for name, text in series if name != NAME}
        added = {name: template.render(own, value) for name, template in rule.labels.items()}
        labels = labels_of({**own, **added, "alertname": rule.alert})
        if labels in found:
            raise EvaluationError(f"two alerts have the same labels: {dict(labels)}")
        found[labels] = value, {name: template.render(own, value) for name, template in rule.annotations.items()}
    return found


def _recorded(rule: Rule, vector: Vector) -> Written:
    values = vector.values[:, 0].tolist()
    written: dict[Labels, float] = {}
    for series, value in zip(vector.labels, values, strict=True):
        own = dict(series)
        added = {name: template.render(own, value) for name, template in rule.labels.items()}
        written[labels_of({**own, **added, NAME: rule.record})] = value
    if len(written) < len(values):
        raise EvaluationError("two recorded series have the same labels")
    return list(written.items())
